"""A TCP relay before a real port, whose bytes can be held up: a switch that relearns, a firewall rule."""

import socket
import threading
from contextlib import suppress

from streamer_support import PATIENCE_S


class Relay:
    """Passes connections on to a port of this machine; while held, bytes of neither side go on.

    Args:
        endpoint: `tcp://127.0.0.1:PORT` of the real port.

    Attributes:
        endpoint: its own.
    """

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        self._to = (host, int(port))
        self._open = threading.Event()
        self._open.set()
        self._ending = False
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._open.set()
        for one in [self._listening, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def hold(self) -> None:
        """From now on nothing goes on."""
        self._open.clear()

    def release(self) -> None:
        """What was held goes on, and all that follows."""
        self._open.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._ending:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._to, timeout=PATIENCE_S)
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self._open.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
