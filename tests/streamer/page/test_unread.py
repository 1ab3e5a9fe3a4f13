"""Browsers that take nothing of what they are answered keep no place: they are cut after 20 seconds."""

import socket
from contextlib import suppress
from urllib.parse import urlsplit

import psutil
import pytest
from streamer_support import until
from web_support import DAY_NS, PATIENCE_S, Visitor, fill, page_on, score


def unread(page, request):
    """A connection that asks and reads nothing of what it is answered."""
    asks = socket.socket()
    asks.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asks.connect(("127.0.0.1", urlsplit(page.url).port))
    asks.setblocking(False)
    with suppress(BlockingIOError):
        asks.send(request.encode())
    return asks


@pytest.mark.slow
def test_who_does_not_read_is_cut(tmp_path):
    """Two exports are written at a time; who takes nothing of one keeps no place."""
    meta = {"part_id": "ü" * 400}  # 20 MB in all: the kernel's buffers take four
    frames = [score("x" * 200 + str(n), DAY_NS + n, 0.5, meta=meta) for n in range(20_000)]
    fill(tmp_path, [], lambda store: store.take_all(frames))
    with page_on(tmp_path) as page, Visitor(page.url) as visitor:
        visitor.redeem(page.logins["viewer"])
        head = f"Host: {urlsplit(page.url).netloc}\r\nCookie: {visitor.cookie}\r\n\r\n"
        export = [unread(page, f"GET /api/export.csv HTTP/1.1\r\n{head}") for _ in range(2)]
        for one in export:
            one.settimeout(PATIENCE_S)
            assert one.recv(12) == b"HTTP/1.1 200"
        assert visitor.http.get("/api/export.csv", params={"q": "none"}).status_code == 503
        until(lambda: visitor.http.get("/api/export.csv", params={"q": "none"}).status_code == 200)
        for one in export:
            one.close()


@pytest.mark.slow
def test_a_websocket_that_does_not_read_is_cut(tmp_path):
    """Neither may it stay because it is being closed, for want of an answer to a ping."""
    fill(tmp_path, [score("a", DAY_NS, 0.5)])
    with page_on(tmp_path) as page, Visitor(page.url) as visitor:
        visitor.redeem(page.logins["operator"])
        lines = [
            "GET /ws HTTP/1.1", f"Host: {urlsplit(page.url).netloc}", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Origin: {page.url}", f"Cookie: {visitor.cookie}",
        ]  # fmt: skip
        sleeping = unread(page, "\r\n".join(lines) + "\r\n\r\n")
        port = sleeping.getsockname()[1]
        body = {"stream": "line", "key": "s:a", "decision": "good", "note": "😀" * 2000}  # 8 kB each
        process = psutil.Process(page.pid)

        def is_open():
            return any(one.raddr and one.raddr[1] == port for one in process.net_connections())

        until(is_open)
        for _ in range(750):
            visitor.post("/api/review", body)
        until(lambda: not is_open())
        sleeping.close()
