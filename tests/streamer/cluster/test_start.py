"""A cluster of our own: on loopback, closed to whoever has no token, gone with its gate however that ends."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from streamer_support import until

from musc_online.config_service import Engine
from streamer.errors import StreamerError

ray = pytest.importorskip("ray")
from streamer.cluster import joining, own, start  # noqa: E402  (needs ray)

SUPPORT = Path(__file__).resolve().parents[2] / "support"
ROOT = Path(__file__).resolve().parents[3]


class Asked:
    """An actor that says where it is."""

    def where(self) -> tuple[int, str, str | None]:
        import streamer  # noqa: PLC0415

        return os.getpid(), str(streamer.__file__), os.environ.get("OMP_WAIT_POLICY")

    def end(self) -> None:
        os._exit(3)


def unexpected(error: BaseException) -> None:
    raise AssertionError(error)


def ray_processes() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def listening(processes: list[psutil.Process]) -> set[str]:
    """Addresses where any of them waits for connections, over TCP and UDP."""
    sockets = [one for process in processes for one in process.net_connections("inet") if not one.raddr]
    return {one.laddr.ip.removeprefix("::ffff:") for one in sockets}


def token_of(processes: list[psutil.Process]) -> str:
    """The one that the head was started with."""
    (head,) = (one for one in processes if one.name() == "gcs_server")
    return head.environ()["RAY_AUTH_TOKEN"]


def test_a_cluster_of_our_own(capfd: pytest.CaptureFixture[str]) -> None:
    before, environment = signal.getsignal(signal.SIGTERM), dict(os.environ)
    environment.pop("PYTHONBREAKPOINT", None)  # Ray leaves its own, of earlier clusters too
    others, open_before = set(ray_processes()), listening([psutil.Process()])
    cluster = start.connect(Engine(name="ray"), unexpected)
    try:
        assert {
            name: value for name, value in os.environ.items() if name != "PYTHONBREAKPOINT"
        } == environment
        assert signal.getsignal(signal.SIGTERM) == before
        actor = ray.remote(Asked).options(**cluster.options(cpus=64.0)).remote()
        pid, streamer_of_actor, waits = ray.get(actor.where.remote())
        assert Path(streamer_of_actor).is_relative_to(ROOT)
        assert waits == "PASSIVE"
        assert cluster.threads(64.0) == len(os.sched_getaffinity(0))

        processes = [one for one in ray_processes() if one not in others]
        assert pid in {one.pid for one in processes}
        assert {"gcs_server", "raylet"} <= {one.name() for one in processes}
        assert listening(processes) == {"127.0.0.1"}
        assert listening([psutil.Process()]) - open_before <= {"127.0.0.1"}
        token = token_of(processes)
        assert len(token) == 64
        assert not any(token in argument for one in processes for argument in one.cmdline())
        shown: dict[str, str | None] = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        joining.prove_closed(cluster.address, shown)
        with pytest.raises(StreamerError, match="has another token"):
            joining.prove_closed(cluster.address, {**shown, "RAY_AUTH_TOKEN": "0" * 64})

        (node,) = cluster.nodes()
        assert (node.address, node.alive, node.is_head, node.draining) == ("127.0.0.1", True, True, False)
        pinned = ray.remote(Asked).options(**cluster.options(1.0, node=node.id)).remote()
        assert ray.get(pinned.where.remote())[0] != pid
        with pytest.raises(start.LOST):
            ray.get(actor.end.remote())
        with pytest.raises(start.LOST):  # it is not made again
            ray.get(actor.where.remote())
    finally:
        cluster.close()
    cluster.close()
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)
    said = capfd.readouterr()
    assert said.err == ""
    assert [
        line for line in said.out.splitlines() if "[warning" not in line
    ] == []  # structlog's, unconfigured


@pytest.mark.slow
def test_clusters_one_after_the_other() -> None:
    """Each has a token of its own, and none of the last one's."""
    tokens = set()
    for _ in range(2):
        cluster = start.connect(Engine(name="ray"), unexpected)
        try:
            tokens |= {token_of(ray_processes())}
            avoided = cluster.options(1.0, avoid={cluster.nodes()[0].id})
            nowhere = ray.remote(Asked).options(**avoided).remote()
            ready, _ = ray.wait([nowhere.where.remote()], timeout=1.0)
            assert not ready
        finally:
            cluster.close()
    assert len(tokens) == 2


@contextmanager
def child(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, str(SUPPORT / "gate_child.py"), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # no session of its own: there Linux hangs up on whom it finds with a stopped child
    )
    assert process.stdin is not None
    assert process.stdout is not None
    facts: dict[str, Any] = {}
    try:
        facts = json.loads(process.stdout.readline())
        yield process, facts
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        for pid in map(int, facts.get("processes", ())):
            if psutil.pid_exists(pid):
                psutil.Process(pid).kill()


def said(process: "subprocess.Popen[str]") -> str:
    """What the child still says until it ends by itself: its standard input stays open."""
    assert process.stdout is not None
    text = process.stdout.read()
    process.wait()
    return text


def ended(pids: list[int]) -> Callable[[], bool]:
    """Whether none of the processes runs any more."""
    begun = {}
    for pid in pids:
        if psutil.pid_exists(pid):
            begun[pid] = psutil.Process(pid)

    def is_so() -> bool:
        return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in begun.values())

    return is_so


def of_name(facts: dict[str, Any], name: str) -> int:
    return next(int(pid) for pid, called in facts["processes"].items() if called == name)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["gcs_server", "raylet"])
def test_a_head_that_is_killed(part: str) -> None:
    """Told in one line, the process ends with status 1, and what is left of the cluster with it."""
    with child() as (process, facts):
        all_gone = ended([int(pid) for pid in facts["processes"]])
        os.kill(of_name(facts, part), signal.SIGKILL)
        out = said(process)
        (line,) = [line for line in out.splitlines() if line.startswith("died: ")]
        assert line.startswith("died: engine: Ray's head at 127.0.0.1:")
        assert line.endswith(f"is gone: {part} (process {of_name(facts, part)}) has ended")
        assert process.returncode == 1
        until(all_gone)


@pytest.mark.slow
def test_a_head_that_hangs() -> None:
    with child("8") as (process, facts):
        os.kill(of_name(facts, "gcs_server"), signal.SIGSTOP)
        out = said(process)
        assert re.fullmatch(
            r"died: engine: Ray's head at 127\.0\.0\.1:\d+ is gone: it has not answered for \d+ s",
            next(line for line in out.splitlines() if line.startswith("died: ")),
        )
        assert process.returncode == 1


@pytest.mark.slow
def test_a_gate_that_is_killed() -> None:
    """Nothing of its cluster is left, not even an actor in the middle of its work."""
    with child() as (process, facts):
        all_gone = ended([int(pid) for pid in facts["processes"]])
        assert not all_gone()
        process.kill()
        process.wait()
        until(all_gone)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_terminal_sends_is_for_the_gate(number: signal.Signals) -> None:
    """All of a terminal's processes get it; those of Ray go on until the gate ends them."""
    with child() as (process, facts):
        os.killpg(process.pid, number)
        out = said(process)
        assert out == "ended\n"
        assert process.returncode == 0
        until(ended([int(pid) for pid in facts["processes"]]))


def test_folders_of_killed_gates_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(own, "_LONGEST_FOLDER", len(str(tmp_path)))
    held = own.Folder()
    assert held.path.parent.stat().st_mode & 0o777 == 0o700
    left = own.Folder()
    left.path.mkdir()
    os.close(left._lock)  # as the kernel does for one that was killed
    foreign = tmp_path / "musc-ray-notes"
    foreign.mkdir()
    third = own.Folder()
    assert sorted(tmp_path.iterdir()) == sorted([held.path.parent, third.path.parent, foreign])
    held.remove()
    third.remove()
    assert list(tmp_path.iterdir()) == [foreign]


def test_folders_that_are_not_ours_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(own, "_LONGEST_FOLDER", len(str(tmp_path)))
    elsewhere, opened, strange, deep = (
        tmp_path / name for name in ("elsewhere", "musc-ray-open", "musc-ray-uid", "musc-ray-deep")
    )
    for folder in (elsewhere, opened, strange, deep):
        (folder / "r").mkdir(parents=True)
        folder.chmod(0o700)
        (folder / "lock").touch()
        (folder / "lock").chmod(0o600)
    opened.chmod(0o750)
    (tmp_path / "musc-ray-link").symlink_to(elsewhere)
    at = os.open(deep / "r", os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 100):  # longer than any path may be
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    if os.geteuid() == 0:
        os.chown(strange, 12345, 12345)
    try:
        before = sorted(tmp_path.iterdir())
        mine = own.Folder()
        assert sorted(tmp_path.iterdir()) == sorted(
            one for one in [*before, mine.path.parent] if one != strange or os.geteuid() == 0
        )
        assert (elsewhere / "lock").exists()
        assert (opened / "lock").exists()
        mine.remove()
    finally:
        subprocess.run(["rm", "-rf", str(deep)], check=True)


def test_too_little_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = own.shutil.disk_usage("/")
    monkeypatch.setattr(own.shutil, "disk_usage", lambda _: usage._replace(free=64 << 20))
    with pytest.raises(StreamerError) as refused:
        start.connect(Engine(name="ray"), unexpected)
    assert str(refused.value) == (
        "engine: /dev/shm has 64 MiB free, expected at least 80 for Ray's object store; give a "
        "container more: --shm-size 1g"
    )
    monkeypatch.setattr(own.shutil, "disk_usage", lambda _: usage._replace(free=400 << 20))
    assert own.store_bytes() == 300 << 20
