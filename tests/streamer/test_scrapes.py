"""The port of Prometheus: whom it answers, where it may be bound, and what silent peers cost it."""

import contextlib
import socket
import stat
import threading

import pytest
from click.testing import CliRunner
from streamer_support import PATIENCE_S, backbone, control, scrape, serving, small_config

from streamer import auth
from streamer.errors import StreamerError
from streamer.keys import main as keys_main
from streamer.server.service import Service

__all__ = ["backbone"]

LOCAL = {"endpoint": "127.0.0.1:0"}


def get(service, *lines, start="GET /metrics HTTP/1.1"):
    """The whole answer to a request of these lines, as text."""
    host, _, port = service.endpoints["metrics"].rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S) as connection:
        connection.sendall("\r\n".join([start, *lines, "", ""]).encode())
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(2**16):
                answer += piece
    return answer.decode()


@pytest.fixture
def folder(tmp_path):
    auth.create_keys(tmp_path / "keys", {"operator": "controllers"})
    return tmp_path / "keys"


@pytest.mark.parametrize("endpoint", ["0.0.0.0:0", "[::]:0", "192.0.2.1:9464", "somewhere.example:9464"])
def test_beyond_loopback_it_is_bound_by_decision_only(backbone, endpoint):
    service = Service(small_config(metrics={"endpoint": endpoint}), backbone)
    with pytest.raises(StreamerError, match=r"metrics\.endpoint: got .* transport\.insecure: true"):
        service.start()


def test_somebody_may_decide_so(backbone):
    config = small_config(metrics={"endpoint": "0.0.0.0:0"}, transport={"insecure": True})
    with serving(config, backbone) as service:
        assert "musc_uptime_seconds" in scrape(service)


@pytest.mark.parametrize(
    "endpoint", ["9464", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:٣", "not an address:80", "\udc80:80"]
)
def test_a_malformed_address_names_its_key(backbone, endpoint):
    config = small_config(metrics={"endpoint": endpoint}, transport={"insecure": True})
    with pytest.raises(StreamerError, match=r"metrics\.endpoint: "):
        Service(config, backbone).start()


def test_ipv6_stands_in_brackets(backbone):
    with serving(small_config(metrics={"endpoint": "[::1]:0"}), backbone) as service:
        assert service.endpoints["metrics"].startswith("[::1]:")
        assert "musc_uptime_seconds" in get(service, "Host: [::1]:9464")


def test_with_keys_a_scrape_shows_the_token(backbone, folder):
    token = (folder / "metrics.token").read_text().strip()
    config = small_config(metrics={"endpoint": "0.0.0.0:0"}, security={"keys": str(folder)})
    with serving(config, backbone) as service:
        for shown in (None, f"Bearer {token[:-1]}", "Bearer", f"Basic {token}", token, "Bearer ü"):
            answer = get(service, "Host: a", *([] if shown is None else [f"Authorization: {shown}"]))
            assert answer.startswith("HTTP/1.1 401 ")
            assert "musc_" not in answer
        for scheme in ("Bearer", "bearer"):
            answer = get(service, "Host: a", f"Authorization: {scheme} {token}")
            assert answer.startswith("HTTP/1.1 200 OK")
            assert "musc_uptime_seconds" in answer


def test_the_token_is_made_once_for_its_owner_only(tmp_path):
    folder = tmp_path / "keys"
    auth.create_keys(folder, {"camera-1": "publishers"})
    path = folder / "metrics.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = auth.load_token(folder)
    assert len(token) >= 32
    auth.create_keys(folder, {"camera-2": "publishers"})
    assert auth.load_token(folder) == token


def test_a_folder_of_before_gets_a_token_and_nobody_else_a_key(backbone, tmp_path):
    folder = tmp_path / "keys"
    auth.create_keys(folder, {"camera-1": "publishers"})
    (folder / "metrics.token").unlink()
    config = small_config(metrics=LOCAL, security={"keys": str(folder)})
    with pytest.raises(StreamerError, match=rf"metrics\.endpoint: .*musc-online keys {folder}"):
        Service(config, backbone).start()
    made = CliRunner().invoke(keys_main, [str(folder)])
    assert (made.exit_code, made.stdout.split()) == (0, [str(folder / "metrics.token")])
    with serving(config, backbone) as service:
        assert get(service).startswith("HTTP/1.1 401 ")


@pytest.mark.parametrize("text", ["", "short", "two words that are long enough", "ü" * 40, "a" * 20 + "\nb"])
def test_what_is_no_token_is_refused_in_a_line(folder, text):
    (folder / "metrics.token").write_text(text, encoding="utf-8")
    with pytest.raises(StreamerError, match=r"metrics\.token"):
        auth.load_token(folder)


def test_a_page_in_a_browser_reads_nothing_from_loopback(backbone):
    with serving(small_config(metrics=LOCAL), backbone) as service:
        assert get(service, "Host: rebound.example:9464").startswith("HTTP/1.1 403 ")
        for host in ("localhost:9464", "localhost", "127.0.0.1", "127.0.0.1:9464", "[::1]:9464", "[::1]"):
            assert get(service, f"Host: {host}").startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("start", "lines", "status"),
    [
        ("GET /metrics HTTP/1.1", ["X: " + "y" * 20_000], 431),
        ("GET /metrics HTTP/1.1", ["X: y"] * 500, 400),
        ("GET", [], 400),
        ("\0\xff\0", [], 400),
        ("POST /metrics HTTP/1.1", [], 405),
        ("GET /metrics?name[]=musc_degraded HTTP/1.1", [], 200),
    ],
)
def test_whatever_is_asked_something_is_answered(backbone, start, lines, status):
    with serving(small_config(metrics=LOCAL), backbone) as service:
        assert get(service, *lines, start=start).startswith(f"HTTP/1.1 {status} ")
        assert "musc_degraded" in get(service)


def test_hundreds_of_silent_peers_cost_little_and_hold_up_nobody(backbone):
    with serving(small_config(metrics=LOCAL), backbone) as service, contextlib.ExitStack() as held:
        before = threading.active_count()
        host, _, port = service.endpoints["metrics"].rpartition(":")
        for number in range(400):
            silent = held.enter_context(socket.create_connection((host, int(port)), PATIENCE_S))
            if number % 2:
                silent.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")  # and no end of it
        assert "musc_uptime_seconds" in scrape(service)
        assert threading.active_count() == before
        assert len(service.metrics._server._open) <= 256
        assert control(service, "status")["state"] == "ready"
