"""CURVE: who has no key, the wrong key or another role's key gets nothing in and nothing out."""

import contextlib
import errno
import re
import stat
from pathlib import Path

import msgpack
import pytest
import zmq
from click.testing import CliRunner
from streamer_support import PATIENCE_S, backbone, header, picture, png, serving, small_config, until

from streamer import auth
from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.keys import main as keys_main
from streamer.publish import Publisher
from streamer.reliable import ReliablePublisher
from streamer.server import allow_list
from streamer.server.service import Service
from streamer.sockets import is_local
from streamer.subscribe import Subscriber

__all__ = ["backbone"]

CLIENTS = {"camera": "publishers", "screen": "subscribers", "operator": "controllers"}


@pytest.fixture
def folder(tmp_path):
    auth.create_keys(tmp_path / "keys", CLIENTS)
    return tmp_path / "keys"


def keys_of(folder, name):
    return auth.load_client(folder / "clients" / f"{name}.key_secret", folder / "server.key")


@pytest.fixture
def locked(folder, backbone):
    with serving(small_config(security={"keys": str(folder)}), backbone) as service:
        yield service


def test_keys_are_made_once_and_readable_by_their_owner_only(tmp_path):
    made = CliRunner().invoke(keys_main, [str(tmp_path / "k")])
    assert made.exit_code == 0
    secrets = list((tmp_path / "k").rglob("*.key_secret"))
    assert len(secrets) == 4
    assert (
        CliRunner().invoke(keys_main, [str(tmp_path / "k"), "--page", "page-1", "--bridge", "mqtt"]).exit_code
        == 0
    )
    assert (tmp_path / "k" / "pages" / "page-1.key").exists()
    assert (tmp_path / "k" / "bridges" / "mqtt.key").exists()
    secrets = list((tmp_path / "k").rglob("*.key_secret"))
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)
    before = {path: path.read_bytes() for path in secrets}
    again = CliRunner().invoke(keys_main, [str(tmp_path / "k")])
    assert again.exit_code == 0
    assert {path: path.read_bytes() for path in secrets} == before


def test_known_keys_work_end_to_end(locked, folder):
    endpoints = locked.endpoints
    with Subscriber(
        endpoints["scores"], keys=keys_of(folder, "screen"), wait_s=PATIENCE_S, timeout_s=PATIENCE_S
    ) as screen:
        while screen.receive().kind != "status":
            pass
        with Publisher(
            endpoints["frames"], "line", keys=keys_of(folder, "camera"), wait_s=PATIENCE_S
        ) as camera:
            camera.send(picture(0), "a")
            message = screen.receive()
            while message.kind == "status":
                message = screen.receive()
            assert (message.kind, message["frame_id"]) == ("score", "a")
    status = ask(
        {"kind": "status"}, endpoints["control"], keys=keys_of(folder, "operator"), timeout_s=PATIENCE_S
    )
    assert status["scored"] == 1


@pytest.mark.parametrize("role", ["pages", "bridges"])
def test_a_page_or_bridge_reads_and_asks_and_sends_nothing(locked, folder, role):
    auth.create_keys(folder, {f"one-of-{role}": role})
    keys, endpoints = keys_of(folder, f"one-of-{role}"), locked.endpoints
    with Subscriber(endpoints["scores"], keys=keys, wait_s=PATIENCE_S, timeout_s=PATIENCE_S) as page:
        assert page.receive().kind == "status"
    assert status_by(locked, folder, f"one-of-{role}")["scored"] == 0
    with pytest.raises(StreamerError, match="CURVE"):
        Publisher(endpoints["frames"], "line", keys=keys, wait_s=1.5)


@pytest.mark.parametrize("name", ["none", "unknown", "other role"])
def test_nothing_in(locked, folder, tmp_path, name):
    keys = peer(folder, tmp_path, name, other="screen")
    for kind, port in ((Publisher, "frames"), (ReliablePublisher, "reliable")):
        with pytest.raises(StreamerError, match="CURVE"):
            kind(locked.endpoints[port], "line", keys=keys, wait_s=1.5)
    # Without waiting for the handshake, too: frames pushed blindly never arrive.
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.linger = 0
    if keys is not None:
        socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = (
            keys.server,
            keys.public,
            keys.secret,
        )
    socket.connect(locked.endpoints["frames"])
    # Turned away already, as may happen on a busy machine, it has nobody to send to and would wait for ever.
    with contextlib.suppress(zmq.Again):
        socket.send_multipart([msgpack.packb(header("intruder")), png(picture(1))], zmq.DONTWAIT)
    with Publisher(
        locked.endpoints["frames"], "line", keys=keys_of(folder, "camera"), wait_s=PATIENCE_S
    ) as camera:
        camera.send(picture(0), "a")
    until(lambda: locked.ledger.totals()["scored"] == 1)
    assert locked.ledger.totals()["received"] == 1
    with pytest.raises(StreamerError, match="no answer"):
        ask({"kind": "shutdown"}, locked.endpoints["control"], keys=keys, timeout_s=1)
    socket.close()
    context.term()


@pytest.mark.parametrize("name", ["none", "unknown", "other role"])
def test_nothing_out(locked, folder, tmp_path, name):
    keys = peer(folder, tmp_path, name, other="camera")
    with (
        Subscriber(locked.endpoints["scores"], keys=keys, timeout_s=1.5) as intruder,
        Publisher(
            locked.endpoints["frames"], "line", keys=keys_of(folder, "camera"), wait_s=PATIENCE_S
        ) as camera,
    ):
        camera.send(picture(0), "a")
        until(lambda: locked.ledger.totals()["scored"] == 1)
        assert intruder.receive() is None


def peer(folder, tmp_path, name, other):
    if name == "none":
        return None
    if name == "other role":
        return keys_of(folder, other)
    auth.create_keys(tmp_path / "elsewhere", {"camera": "publishers"})
    secret = tmp_path / "elsewhere" / "clients" / "camera.key_secret"
    return auth.load_client(secret, folder / "server.key")


def test_keys_come_and_go_without_a_restart(locked, folder):
    def status(name, timeout_s=PATIENCE_S):
        return status_by(locked, folder, name, timeout_s)

    (folder / "controllers" / "half-copied.key").write_text("curve\n    public-key")
    auth.create_keys(folder, {"second": "controllers"})
    assert status("second")["scored"] == 0
    assert status("operator")["scored"] == 0
    (folder / "controllers" / "second.key").unlink()
    with pytest.raises(StreamerError, match="no answer"):
        status("second", 2)
    assert status("operator")["scored"] == 0


def status_by(service, folder, name, timeout_s=PATIENCE_S):
    keys = keys_of(folder, name)
    return ask({"kind": "status"}, service.endpoints["control"], keys=keys, timeout_s=timeout_s)


def test_a_folder_that_cannot_be_read_for_once_shuts_out_nobody(locked, folder, monkeypatch):
    assert status_by(locked, folder, "operator")["scored"] == 0

    def out_of_descriptors(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    for part in ((Path, "glob"), (allow_list, "read_keys")):
        with monkeypatch.context() as patch:
            patch.setattr(*part, out_of_descriptors)
            assert status_by(locked, folder, "operator")["scored"] == 0
            with pytest.raises(StreamerError, match="no answer"):
                status_by(locked, folder, "camera", 2)
    assert status_by(locked, folder, "operator")["scored"] == 0


def test_a_service_that_can_admit_nobody_any_more_ends(folder, backbone):
    service = Service(small_config(security={"keys": str(folder)}), backbone)
    service.start()
    service._authenticator.stop()
    assert service.wait(PATIENCE_S)
    assert "who may connect" in str(service.failure)
    service._authenticator = None  # or it is missed again
    service.failure = None
    service.stop()


def test_a_role_that_is_no_folder_is_one_line(folder, backbone):
    (folder / "publishers" / "camera.key").unlink()
    (folder / "publishers").rmdir()
    (folder / "publishers").write_text("")
    with pytest.raises(StreamerError, match=r"security\.keys: .*publishers .*musc-online keys"):
        Service(small_config(security={"keys": str(folder)}), backbone)


def everything(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--publisher", "../../evil"],
        ["--publisher", "/evil"],
        ["--subscriber", ".."],
        ["--subscriber", ".hidden"],
        ["--controller", ""],
        ["--controller", "a\nb"],
        ["--publisher", "x" * 65],
        ["--publisher", "good", "--controller", "bad/name"],
        ["--publisher", "one", "--subscriber", "one"],
        ["--publisher", "one", "--subscriber", "two", "--controller", "two"],
        ["--subscriber", "screen", "--page", "screen"],
    ],
)
def test_a_name_is_a_plain_one_and_has_one_role(arguments, tmp_path):
    folder = tmp_path / "deep" / "keys"
    done = CliRunner().invoke(keys_main, [str(folder), *arguments])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*")), "nothing is written, nowhere"


def test_a_name_keeps_its_role(tmp_path):
    auth.create_keys(tmp_path, {"one": "publishers"})
    before = everything(tmp_path)
    with pytest.raises(StreamerError, match="subscriber: got 'one', which is one of the publishers already"):
        auth.create_keys(tmp_path, {"new": "publishers", "one": "subscribers"})
    assert everything(tmp_path) == before


def test_keys_that_are_there_are_never_written_over(tmp_path):
    auth.create_keys(tmp_path, {"one": "publishers"})
    before = everything(tmp_path)
    # The secret has gone to the camera's own machine, where it belongs: a new pair would lock it out.
    del before["clients/one.key_secret"]
    (tmp_path / "clients" / "one.key_secret").unlink()
    assert auth.create_keys(tmp_path, {"one": "publishers"}) == []
    assert everything(tmp_path) == before
    (tmp_path / "server.key_secret").unlink()
    with pytest.raises(StreamerError, match=r"server\.key: is there without server\.key_secret"):
        auth.create_keys(tmp_path, {"two": "publishers"})
    del before["server.key_secret"]
    assert everything(tmp_path) == before


def test_links_are_not_followed_and_nobody_else_may_read(tmp_path):
    folder, elsewhere = tmp_path / "keys", tmp_path / "elsewhere"
    auth.create_keys(folder, {"one": "publishers"})
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir()) if path.is_dir()} == {0o700}
    (folder / "clients" / "two.key_secret").symlink_to(elsewhere)
    with pytest.raises(StreamerError, match=r"two\.key_secret: cannot be written \(File exists\)"):
        auth.create_keys(folder, {"two": "subscribers"})
    assert not elsewhere.exists()
    (folder / "controllers").rmdir()
    elsewhere.mkdir()
    (folder / "controllers").symlink_to(elsewhere)
    with pytest.raises(StreamerError, match="controllers: cannot be written"):
        auth.create_keys(folder, {"three": "controllers"})
    assert not list(elsewhere.iterdir())


def test_half_a_key_option_is_an_error(folder):
    with pytest.raises(StreamerError, match="go together"):
        auth.client_keys(folder / "clients" / "camera.key_secret", None)
    assert auth.client_keys(None, None) is None
    with pytest.raises(StreamerError, match=r"musc-online keys"):
        auth.load_server(folder / "nowhere")


def test_what_is_local():
    local = ["tcp://127.0.0.1:5555", "tcp://localhost:1", "ipc:///tmp/x", "inproc://x", "tcp://127.9.9.9:*"]
    open_ = ["tcp://*:5555", "tcp://0.0.0.0:1", "tcp://192.168.1.4:1", "tcp://eth0:1", "tcp://example.org:1"]
    assert [is_local(endpoint) for endpoint in local + open_] == [True] * len(local) + [False] * len(open_)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("public-key\nsecret-key\n", "a line with a key has no '='"),
        ("public-key = 'short'\n", "the public key has 5 characters, expected 40 of Z85"),
        (f"public-key = '{'~' * 40}'\n", "the public key has 40 characters, expected 40 of Z85"),
        (f"public-key = '{'#' * 40}'\n", "the public key has 40 characters, expected 40 of Z85"),
        ("nothing of the kind\n", "No public key found"),
        ("", "No public key found"),
    ],
)
@pytest.mark.parametrize("which", ["server.key_secret", "clients/camera.key_secret", "server.key"])
def test_a_damaged_key_file_is_one_line_that_names_it(tmp_path, text, says, which):
    """A line without '=' was an IndexError."""
    auth.create_keys(tmp_path, {"camera": "publishers"})
    (tmp_path / which).write_text(text)
    secret, server = tmp_path / "clients" / "camera.key_secret", tmp_path / "server.key"
    load = (lambda: auth.load_server(tmp_path)) if which == "server.key_secret" else None
    with pytest.raises(StreamerError, match=f"{which}: no .*{re.escape(says)}") as caught:
        (load or (lambda: auth.load_client(secret, server)))()
    assert "\n" not in str(caught.value)
