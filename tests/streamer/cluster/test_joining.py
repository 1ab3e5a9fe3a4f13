"""A cluster that others run: joined with its token, and refused unless it refuses whoever has none."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from head_support import TOKEN, head
from streamer_support import until

from musc_online.config_service import Engine
from streamer.errors import StreamerError

ray = pytest.importorskip("ray")
from streamer.cluster import joining, start  # noqa: E402  (needs ray)

ROOT = Path(__file__).resolve().parents[3]
GATE = """
import os, sys, ray
from musc_online.config_service import Engine
from streamer.cluster.start import connect
def failed(error):
    print(f"died: {error}", flush=True)
    os._exit(1)
cluster = connect(Engine(name="ray", address=sys.argv[1], token=sys.argv[2]), failed)
class Busy:
    def pid(self):
        return os.getpid()
    def work(self):
        while True:
            pass
busy = ray.remote(Busy).options(**cluster.options(1.0)).remote()
pid = ray.get(busy.pid.remote())
held = busy.work.remote()
print(pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets lie in it."""
    made = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture(autouse=True)
def no_token_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def refused(address: str, token: Path | None = None) -> str:
    def failed(error: BaseException) -> None:
        raise AssertionError(error)

    with pytest.raises(StreamerError) as error:
        start.connect(Engine(name="ray", address=address, token=token), failed)
    assert "\n" not in str(error.value)
    assert not ray.is_initialized()
    return str(error.value)


@pytest.mark.parametrize(
    "address",
    ["auto", "ray://127.0.0.1:10001", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "a b:6379", "::1:1"],
)
def test_addresses_that_are_none(address: str) -> None:
    assert refused(address).startswith(
        f"engine.address: got {address!r}, expected host:port of the head's GCS"
    )


def test_nobody_answers() -> None:
    line = refused("127.0.0.1:1")
    assert line == (
        "engine.address: 127.0.0.1:1: nobody answers (Connection refused); start the head there first: "
        "RAY_AUTH_MODE=token ray start --head --port=1"
    )


def test_tokens_that_cannot_be_used(token: Path, tmp_path: Path) -> None:
    def line(path: Path | None) -> str:
        with pytest.raises(StreamerError) as error:
            joining.environment(path)
        return str(error.value)

    assert line(None).startswith("engine.token: the cluster's token is missing")
    assert (
        line(tmp_path / "none")
        == f"engine.token: {tmp_path / 'none'} cannot be read (No such file or directory)"
    )
    assert line(tmp_path).startswith(f"engine.token: {tmp_path} is no file of a token")
    token.chmod(0o640)
    assert line(token) == (
        f"engine.token: {token} can be read or written by others than its owner (mode 0640); "
        f"chmod 600 {token}"
    )
    token.chmod(0o600)
    token.write_text("\n")
    assert line(token) == f"engine.token: {token} holds no token, expected one word"
    token.write_text("two words")
    assert line(token) == f"engine.token: {token} holds no token, expected one word"
    token.write_bytes("ü".encode())
    assert line(token) == f"engine.token: {token} cannot be read (is not ASCII)"
    token.write_text(f"{TOKEN}\n")
    assert joining.environment(token) == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


@pytest.mark.parametrize("named", [True, False])
def test_a_token_where_ray_looks_is_for_its_owner_alone(
    named: bool, token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    if named:
        path = token
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    else:
        path.parent.mkdir()
        token.rename(path)
    assert joining.environment(None) == {"RAY_AUTH_MODE": "token"}
    path.chmod(0o644)
    with pytest.raises(StreamerError) as error:
        joining.environment(None)
    key = "RAY_AUTH_TOKEN_PATH" if named else "engine.token"
    assert str(error.value) == (
        f"{key}: {path} can be read or written by others than its owner (mode 0644); chmod 600 {path}"
    )
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)  # which Ray takes instead
    assert joining.environment(None) == {"RAY_AUTH_MODE": "token"}


@pytest.mark.slow
def test_an_open_cluster_is_refused(folder: Path, token: Path) -> None:
    with head(folder, None) as (address, _):
        assert refused(address, token) == (
            f"engine.address: {address}: the cluster lets in whoever reaches it, and runs their code; start "
            "every node of it with RAY_AUTH_MODE=token and the same token"
        )
        assert refused(address).startswith("engine.token: the cluster's token is missing")


@pytest.mark.slow
def test_a_cluster_is_joined(folder: Path, token: Path) -> None:
    """It goes on when its gate is killed, without the gate's actors; the head's end is told."""
    wrong = token.with_name("wrong")
    wrong.write_text("0" * 64)
    wrong.chmod(0o600)
    with head(folder, TOKEN) as (address, _):
        assert refused(address, wrong) == (
            f"engine.token: the cluster at {address} has another token; expected its own"
        )
        told: list[BaseException] = []
        cluster = start.connect(Engine(name="ray", address=address, token=token), told.append)
        assert (cluster.own, cluster.address) == (False, address)
        assert cluster.threads(2.0) == 2
        assert cluster.options(0.5, 0.25)["num_cpus"] == 0.5
        assert "RAY_AUTH_TOKEN" not in os.environ
        cluster.close()
        assert told == []

        for _ in range(2):  # the second finds nothing of the first
            gate, pid = gate_process(address, token)
            gate.kill()
            gate.communicate()
            until(lambda pid=pid: not Path(f"/proc/{pid}").exists())
        gate, _ = gate_process(address, token)
        for one in gcs_of(folder):
            os.kill(one, signal.SIGKILL)
        out, _ = gate.communicate()
        assert [line for line in out.splitlines() if line.startswith("died: ")] == [out.splitlines()[-1]]
        assert f"died: engine: Ray's head at {address} is gone: " in out
        assert gate.returncode == 1


def gate_process(address: str, token: Path) -> tuple["subprocess.Popen[str]", int]:
    gate = subprocess.Popen(
        [sys.executable, "-c", GATE, address, str(token)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert gate.stdout is not None
    return gate, int(gate.stdout.readline())


def gcs_of(folder: Path) -> list[int]:
    """The GCS alone: its raylet, beside the gate, goes on."""
    found = []
    for about in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = about.read_bytes()
        except OSError:
            continue
        if b"gcs_server" in command.partition(b"\0")[0] and str(folder).encode() in command:
            found.append(int(about.parent.name))
    return found
