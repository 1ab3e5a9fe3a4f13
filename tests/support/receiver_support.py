"""The other side of `tcp_bridge`: notes what it is sent, and can go away, come back and refuse."""

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from bridge_support import Arrival

from streamer.process import free_port

BRIDGE = "tcp_bridge"


@pytest.fixture
def own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started find the bridges of `tests/support`."""
    monkeypatch.setenv(
        "PYTHONPATH",
        os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH")))),
    )


class Receiver:
    """Listens on a port of its own, which it keeps while it is away.

    Attributes:
        items: what it got and acknowledged, in its order.
        got: what it got, acknowledged or not.
        refuses: whether it refuses an item.
        holds: what it says nothing to while `answers` is cleared; by default to anything.
        answers: cleared while it reads and says nothing.
        cuts: whether it cuts whoever comes off at once.
    """

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.got: list[dict[str, Any]] = []
        self.refuses: Callable[[dict[str, Any]], bool] = lambda _: False
        self.holds: Callable[[dict[str, Any]], bool] = lambda _: True
        self.cuts = False
        self.answers = threading.Event()
        self.answers.set()
        self.n_connections = 0
        self._server: socketserver.ThreadingTCPServer | None = None
        # None that the system hands out: it stays ours while nobody listens.
        self.port = int(free_port().rpartition(":")[2])
        self._open: list[socket.socket] = []

    def arrivals(self) -> list[Arrival]:
        return [Arrival.of(item["header"]) for item in list(self.items) if item["kind"] == "verdict"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in list(self.items) if item["kind"] == kind]

    def start(self) -> None:
        receiver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                receiver.n_connections += 1
                if receiver.cuts:
                    return
                receiver._open.append(self.connection)
                with suppress(OSError):
                    for line in self.rfile:
                        answer = receiver._answer(json.loads(line))
                        self.wfile.write(answer)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads, block_on_close = True, True, False

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Go away in the middle: connections are cut, nobody listens."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.cut_off()
        self.answers.set()

    def cut_off(self) -> None:
        """Cut the connections that stand."""
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def _answer(self, item: dict[str, Any]) -> bytes:
        self.got.append(item)
        while self.holds(item) and not self.answers.wait(0.1):
            if self._server is None:
                return b""
        if self.refuses(item):
            return b"refused\n"
        self.items.append(item)
        return b"ok\n"


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
