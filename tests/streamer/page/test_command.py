"""`python -m streamer.page`: what the user can mend is one line and status 2; signals end it in order."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from web_support import PATIENCE_S, Visitor, certificate, page_on
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from streamer import auth
from streamer.errors import StreamerError
from streamer.page.config import PageConfig, load
from streamer.page.tokens import Tokens

ROOT = Path(__file__).parents[3]


def run(*arguments):
    """The command to its end: status, output, errors."""
    done = subprocess.run(
        [sys.executable, "-m", "streamer.page", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def refusal(*arguments):
    """The one line of a command that ends with status 2."""
    status, out, err = run(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("error: ")
    return err


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        (
            "listen",
            "address",
            "0.0.0.0:8080",
            "listen: address: got 0.0.0.0:8080, which is open to the network",
        ),
        ("listen", "address", "[::]:8080", "open to the network"),
        ("listen", "address", "line-1.example:80", "open to the network"),
        ("listen", "address", "8080", "listen.address: got '8080', expected HOST:PORT"),
        ("listen", "address", "::1:8080", "an IPv6 address stands in brackets"),
        ("listen", "address", "127.0.0.1:70000", "expected HOST:PORT"),
        ("listen", "tls_cert", "page.pem", "tls_cert and tls_key go together"),
        ("listen", "hosts", ["https://line"], "listen.hosts: got .*expected names without scheme"),
        ("listen", "proxies", ["proxy"], "listen.proxies: got .*expected IP addresses"),
        ("listen", "connections", 3, "listen.connections: got 3"),
        ("listen", "adress", "x", "unknown key 'listen.adress'; did you mean 'address'?"),
        ("detector", "key", "a", "key and server_key go together"),
        ("store", "days", 0, "store.days: got 0"),
        ("store", "max_bytes", "1KiB", "store.max_bytes"),
        ("login", "hours", float("inf"), "login.hours"),
        ("alarms", "cooldown_s", True, "alarms.cooldown_s"),
        ("log", "level", "loud", "log.level"),
        ("page", "x", 1, "unknown key 'page'"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path, section, key, value, says):
    (tmp_path / "page.yaml").write_text(yaml.safe_dump({section: {key: value}}))
    with pytest.raises(StreamerError, match=says) as caught:
        load(tmp_path / "page.yaml")
    assert str(caught.value).startswith(str(tmp_path / "page.yaml"))
    assert "\n" not in str(caught.value)


def test_the_shipped_configuration_is_the_default():
    assert load(ROOT / "configs" / "page.yaml") == PageConfig()
    assert load() == PageConfig()


def test_options_take_the_place_of_the_file(tmp_path):
    (tmp_path / "page.yaml").write_text("listen: {address: 127.0.0.1:1}\nstore: {path: here, days: 3}\n")
    found = load(
        tmp_path / "page.yaml", {"listen": {"address": "127.0.0.1:2"}, "detector": {"control": "tcp://a:1"}}
    )
    assert (found.listen.port, found.store.path, found.store.days) == (2, Path("here"), 3)
    assert found.detector.control == "tcp://a:1"


def test_what_cannot_be_used_is_one_line(tmp_path):
    store = ("--store", tmp_path / "store", "--listen", "127.0.0.1:0")
    assert "page.yaml" in refusal("--config", tmp_path / "page.yaml")
    assert "open to the network" in refusal("--listen", "0.0.0.0:0", "--store", tmp_path / "store")
    assert "go together" in refusal(*store, "--key", tmp_path / "k")
    assert "musc-online keys" in refusal(*store, "--key", tmp_path / "k", "--server-key", tmp_path / "s")
    (tmp_path / "file").write_text("")
    assert "store.path" in refusal("--store", tmp_path / "file" / "x", "--listen", "127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot bind 127.0.0.1:{port}" in refusal(
            "--store", tmp_path / "s", "--listen", f"127.0.0.1:{port}"
        )


def test_tls_files_that_cannot_be_used_are_one_line(tmp_path):
    cert, key = certificate(tmp_path, "DNS:localhost")
    for one, other in ((cert, cert), (key, key), (tmp_path / "no.pem", key), (cert, tmp_path / "no.key")):
        listen = {"address": "127.0.0.1:0", "tls_cert": str(one), "tls_key": str(other)}
        (tmp_path / "page.yaml").write_text(yaml.safe_dump({"listen": listen}))
        said = refusal("--config", tmp_path / "page.yaml", "--store", tmp_path / "store")
        assert "listen.tls_cert, listen.tls_key" in said


def test_tokens_come_and_go_by_command(tmp_path):
    store = ("--store", tmp_path / "s p")
    status, out, _ = run(*store, "--add", "anna.b@plant:operator")
    assert status == 0
    holder = Tokens(tmp_path / "s p").holder_of(out.splitlines()[-1])
    assert (holder.name, holder.role) == ("anna.b@plant", "operator")
    assert run(*store, "--remove", "anna.b@plant")[0] == 0
    assert Tokens(tmp_path / "s p").holder_of(holder.token) is None
    assert "expected one of those" in refusal(*store, "--remove", "anna.b@plant")
    for wrong in ("anna", "anna:boss", ":viewer", "a\nb:viewer", "../x:viewer"):
        assert "expected NAME:ROLE" in refusal(*store, "--add", wrong)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"a": {"role": "boss", "token": "x"}}', '{"a": {"role": "admin", "token": "short"}}'],
)
def test_a_damaged_file_of_tokens_is_one_line(tmp_path, content):
    tokens = Tokens(tmp_path)
    tokens.path.write_text(content)
    with pytest.raises(StreamerError, match=r"tokens\.json: expected .*delete it"):
        Tokens(tmp_path)
    assert tokens.holders() == [], "a running page lets nobody in"


def test_files_that_others_may_read_are_refused(tmp_path):
    Tokens(tmp_path).path.chmod(0o644)
    assert "others may read it" in refusal("--store", tmp_path, "--listen", "127.0.0.1:0")


def test_the_token_is_shown_once(tmp_path):
    with page_on(tmp_path) as page:
        first = page.log
        assert first.count("/login?token=") == 1
        assert f"\n{page.logins['admin']}\n" in first
        login = page.logins
        page.terminate()
        page.start()
        assert page.logins.keys() == login.keys()
        assert page.log.count("/login?token=") == 1, "no terminal: what a supervisor keeps is no place for it"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order_beside_open_sockets(tmp_path, number):
    with page_on(tmp_path) as page, Visitor(page.url) as viewer:
        viewer.redeem(page.logins["viewer"])
        address = f"{page.url.replace('http', 'ws', 1)}/ws"
        with connect(
            address, origin=page.url, additional_headers={"Cookie": viewer.cookie}, proxy=None
        ) as heard:
            assert json.loads(heard.recv(PATIENCE_S))["type"] == "hello"
            process = page._process
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 0
            with pytest.raises(ConnectionClosed):
                heard.recv(PATIENCE_S)
        assert page.log.strip().endswith("ended")
        page.start()
        assert viewer.get("/api/hello")["role"] == "viewer", "a session outlives the process"


def test_memory_stays_small(tmp_path):
    with page_on(tmp_path) as page, Visitor(page.url) as viewer:
        viewer.redeem(page.logins["viewer"])
        viewer.get("/api/report")
        assert page.rss() < 150 * 2**20
        modules = Path(f"/proc/{page.pid}/maps").read_text()
        assert "torch" not in modules
        assert "faiss" not in modules


def test_a_store_has_one_page(tmp_path):
    with page_on(tmp_path) as page:
        said = refusal("--store", tmp_path / "store", "--listen", "127.0.0.1:0")
        assert f"is in use by another page (process {page.pid})" in said
        page.kill()
        page.start()


def test_a_key_is_read(tmp_path):
    auth.create_keys(tmp_path / "keys", {"page-1": "pages"})
    detector = {
        "key": str(tmp_path / "keys" / "clients" / "page-1.key_secret"),
        "server_key": str(tmp_path / "keys" / "server.key"),
    }
    with page_on(tmp_path, detector=detector) as page, Visitor(page.url) as viewer:
        assert viewer.redeem(page.logins["viewer"]).get("/api/hello")["detector"]["up"] is False
