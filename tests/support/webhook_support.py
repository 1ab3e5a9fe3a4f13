"""A web server that takes webhooks in the test's own process: verifies signatures, misbehaves on demand."""

import ssl
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook as Signer
from streamer_support import PATIENCE_S, until

from streamer.process import free_port

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLw3O"  # 24 bytes, of nobody
OTHER = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # what is written in two pieces comes at once
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.receiver.came(self, body)

    def do_GET(self) -> None:
        self.server.receiver.followed += 1
        self.say(200)

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    receiver: "Receiver"

    def handle_error(self, *_: Any) -> None:
        """Who was cut off is no news."""


class Receiver:
    """Answers 204 to what is signed, unless it was told otherwise.

    Args:
        tls: certificate and key, None for plain HTTP.
        secret: that signatures are verified by.

    Attributes:
        tried: id, headers and body of every request, answered or not.
        taken: the same of those that were answered with success.
        unsigned: requests whose signature does not verify.
        next: answers to the next requests, each once; then `always`.
        address: `host:port`, the same after `come_back`.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None, secret: str = SECRET) -> None:
        self._signer, self._tls = Signer(secret), tls
        self._lock = threading.Lock()
        self.tried: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.taken: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.paths: list[str] = []
        self.unsigned = self.followed = 0
        self.next: deque[Answer] = deque()
        self.always: Answer | None = None
        self.hanging = threading.Event()
        self.let_go = threading.Event()
        self._port = int(free_port().rpartition(":")[2])  # stays ours while nobody listens
        self._server: _Server | None = None

    def __enter__(self) -> "Receiver":
        self.come_back()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self.die()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.address}/told"

    def come_back(self) -> None:
        """Listen, on the port it had before."""
        self._server = _Server(("127.0.0.1", self._port), Handler)
        self._server.receiver = self
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, self._tls))
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def die(self) -> None:
        """Stop listening; connections that stand answer nothing good any more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def came(self, handler: Handler, body: bytes) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        if self._server is None:  # on a connection of before
            handler.close_connection = True
            return
        try:
            said = self._signer.verify(body, headers)
        except Exception:
            with self._lock:
                self.unsigned += 1
            handler.say(401, b"who are you")
            return
        one = (headers["webhook-id"], headers, said)
        with self._lock:
            self.tried.append(one)
            self.paths.append(handler.path)
            answer = self.next.popleft() if self.next else self.always
        if answer is not None:
            answer(handler)
            return
        with self._lock:
            self.taken.append(one)
        handler.say(204)

    def told(self) -> list[dict[str, Any]]:
        """Every item that was taken, in the order in which they came, batches taken apart."""
        with self._lock:
            taken = [body for _, _, body in self.taken]
        return [one["data"] for body in taken for one in items_of(body)]

    def wait_for(self, condition: Callable[["Receiver"], bool]) -> None:
        until(lambda: condition(self))

    def hang(self, handler: Handler) -> None:
        """An answer that does not come."""
        self.hanging.set()
        assert self.let_go.wait(PATIENCE_S)
        handler.close_connection = True


def items_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return body["data"]["items"] if body["type"] == "batch" else [body]


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda handler: handler.say(status, body, **headers)


def secret_file(folder: Path, *secrets: str) -> Path:
    path = folder / "webhook.secret"
    path.write_text("".join(f"{secret}\n" for secret in secrets or (SECRET,)), encoding="ascii")
    path.chmod(0o600)
    return path
