"""The HTTP server behind `metrics.endpoint`: one thread, few connections, nobody waits for a slow peer."""

import asyncio
import contextlib
import hmac
import io
import socket as sockets
from collections.abc import Callable, Iterable
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import Any
from urllib.parse import unquote

from streamer.progress import Progress
from streamer.server.logs import RateLimitedLog
from streamer.server.threads import Worker
from streamer.sockets import is_local

App = Callable[[dict[str, Any], Callable[[str, list[tuple[str, str]]], Any]], Iterable[bytes]]
"""What `prometheus_client.make_wsgi_app` makes."""

_CONNECTIONS = 256
_ACCEPTED_AT_ONCE = 64
# Between two looks at what has come in. Far fewer than connections, so that who asks at once is read before
# newer connections take its place.
_WAITING = 1024
# To be accepted: beyond that the system makes peers try again a second later.
_HEAD_BYTES = 8 * 1024
_PATIENCE_S = 5.0
# For a whole request and its answer.


class Scrapes(Worker):
    """Answers requests with a WSGI app, one after the other, each on a connection of its own.

    A peer that says nothing, or reads nothing, is cut off after `_PATIENCE_S`, and sooner where there are too
    many connections: the one that has waited longest makes room.

    Args:
        app: asked in this thread.
        host: a name or an address; an IPv6 address without brackets.
        port: 0 takes a free one.
        token: what a scrape must show as its bearer token; None for none.
        failed: told of an error of the thread itself.
        progress: what it is at; None for one of its own.

    Raises:
        OSError: the address is taken, or is none.
    """

    def __init__(
        self,
        app: App,
        host: str,
        port: int,
        token: str | None,
        failed: Callable[[BaseException], None],
        progress: Progress | None = None,
    ) -> None:
        super().__init__("metrics", failed, progress)
        self._app, self._token = app, token
        # A page in a browser must not read what is on loopback, under whatever name it knows this machine.
        self._local_names_only = is_local(f"tcp://{host}:{port}")
        family, _, _, _, address = sockets.getaddrinfo(host, port, type=sockets.SOCK_STREAM)[0]
        self._socket = sockets.create_server(address[:2], family=family, backlog=_ACCEPTED_AT_ONCE)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._open: dict[asyncio.StreamWriter, None] = {}
        self._log = RateLimitedLog()

    def stop(self) -> None:
        """Answer no more, and end."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the thread has died
            self._loop.call_soon_threadsafe(self._stopping.set)
        self.join()

    def work(self) -> None:
        """Answer until stopped."""
        self._loop.set_exception_handler(self._told)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._socket.close()
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._connected, sock=self._socket, limit=_HEAD_BYTES, backlog=_ACCEPTED_AT_ONCE
        )
        # asyncio takes one number for both; the queue of the system costs us nothing.
        self._socket.listen(_WAITING)
        await self._stopping.wait()
        server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > _CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                writer.write(await self._answer(reader))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # a slow peer, or one that is gone
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, rest = head.partition(b"\r\n")
            method, target, _ = line.decode("latin-1").split(" ")
            headers = parse_headers(io.BytesIO(rest))
        except asyncio.LimitOverrunError:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except (ValueError, HTTPException):
            return _response(HTTPStatus.BAD_REQUEST)
        refused = self._refused(headers)
        return refused if refused is not None else self._ask(method, target, headers)

    def _refused(self, headers: Message) -> bytes | None:
        if self._local_names_only and not _is_local_name(headers.get("Host", "localhost")):
            return _response(HTTPStatus.FORBIDDEN, text="Host: expected localhost or a loopback address\n")
        if self._token is not None and not _shows(headers.get("Authorization", ""), self._token):
            return _response(
                HTTPStatus.UNAUTHORIZED, [("WWW-Authenticate", 'Bearer realm="metrics"')],
                text="Authorization: expected the bearer token of the keys' metrics.token\n",
            )  # fmt: skip
        return None

    def _ask(self, method: str, target: str, headers: Message) -> bytes:
        path, _, query = target.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "HTTP_ACCEPT": headers.get("Accept", ""),
            "HTTP_ACCEPT_ENCODING": headers.get("Accept-Encoding", ""),
        }
        said: list[tuple[str, list[tuple[str, str]]]] = []
        try:
            with self.progress.step("scrape"):
                body = b"".join(self._app(environ, lambda status, fields: said.append((status, fields))))
        except Exception:
            self._log.warning("scrape_failed", "internal", exc_info=True)
            return _response(HTTPStatus.INTERNAL_SERVER_ERROR)
        return _message(said[0][0], said[0][1], body)

    def _told(self, _: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        # No descriptor left to accept with, for one: asyncio tries again by itself a second later.
        self._log.warning("scrape_failed", "connection", error=str(what.get("exception") or what["message"]))


def _is_local_name(host: str) -> bool:
    name, _, port = host.rpartition(":")
    return is_local(f"tcp://{name if port.isdigit() else host}:0")


def _shows(authorization: str, token: str) -> bool:
    scheme, _, shown = authorization.partition(" ")
    same = hmac.compare_digest(shown.strip().encode("utf-8", "replace"), token.encode())
    return same and scheme.lower() == "bearer"


def _response(status: HTTPStatus, fields: Iterable[tuple[str, str]] = (), text: str = "") -> bytes:
    named = [*fields, ("Content-Type", "text/plain; charset=utf-8")]
    return _message(f"{status.value} {status.phrase}", named, text.encode())


def _message(status: str, fields: Iterable[tuple[str, str]], body: bytes) -> bytes:
    named = [*fields, ("Content-Length", str(len(body))), ("Connection", "close")]
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
