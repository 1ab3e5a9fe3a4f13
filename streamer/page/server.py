"""The server of the page: its socket, how long a browser may take, and how it ends."""

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from streamer.errors import StreamerError
from streamer.page.config import Listen

_HEAD_S = 10.0
_HEAD_BYTES = 16 * 1024
_HEARD_BYTES = 4096
_READ_S = 20.0
_END_S = 3


class _Read(asyncio.Protocol):
    """A connection that is cut where its browser takes nothing of what waits for it for 20 seconds.

    It would keep its place, and an export its own, for as long as it likes.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Paused as soon as anything waits: also what is closed stays open until the last byte is taken.
        transport.set_write_buffer_limits(high=1, low=0)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(_READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_read()
        super().connection_lost(exc)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class _Sockets(_Read, WebSocketsSansIOProtocol):
    """WebSockets whose browsers read."""


class _Patient(_Read, H11Protocol):
    """A connection that is closed where a request's head takes longer than ten seconds.

    uvicorn itself waits for ever, and who only connects would take all places.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_more()
        elif self._waiting is None:
            self._wait()

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(_HEAD_S, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        idle = self.cycle is None or self.cycle.response_complete
        # A WebSocket has taken its transport over from here.
        if idle and self.transport.get_protocol() is self:
            self.transport.close()


@dataclass(frozen=True)
class Told:
    """Who is told how far the server is, in its loop: they return at once.

    Attributes:
        ready: requests are answered.
        turn: ten times a second, as long as the loop gets on.
        ending: it ends.
    """

    ready: Callable[[], object]
    turn: Callable[[], object]
    ending: Callable[[], object]


class Server(uvicorn.Server):
    """uvicorn's, ended by the first SIGTERM, SIGINT or SIGHUP in order, and by nothing raised."""

    def __init__(self, config: uvicorn.Config, told: Told) -> None:
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's, told when it is over."""
        await super().startup(sockets)
        self._told.ready()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's, ten times a second."""
        self._told.turn()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's, told when it begins."""
        self._told.ending()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        """A service that was told to end has ended well: uvicorn would raise the signal once more."""
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup` ignores it
            numbers.append(signal.SIGHUP)
        for number in numbers:
            signal.signal(number, self.handle_exit)
        yield


def bind(listen: Listen) -> socket.socket:
    """The socket that browsers connect to.

    Raises:
        StreamerError: the port is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listen.host, listen.port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise StreamerError(
            f"listen.address: cannot bind {listen.address} ({error.strerror or error}); is another page "
            "running? set listen.address (--listen) to a free port"
        ) from None
    return bound


def url_of(listen: Listen, bound: socket.socket) -> str:
    """Where a browser finds the page: its address, or the first of its names where it listens everywhere."""
    host, port = bound.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (compared, not bound)
        host = listen.hosts[0] if listen.hosts else socket.gethostname()
    elif listen.tls_cert is not None and listen.hosts:
        host = listen.hosts[0]  # a certificate is for a name
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if listen.tls_cert is None else 'https'}://{shown}:{port}"


def run(app: Any, listen: Listen, bound: socket.socket, told: Told) -> None:
    """Serve until a signal.

    Args:
        app: ASGI.
        told: how far it is.

    Raises:
        StreamerError: the TLS files cannot be used.
    """
    config = uvicorn.Config(
        app,
        http=_Patient,
        ws=_Sockets,
        ws_max_size=_HEARD_BYTES,
        ws_max_queue=4,
        ws_per_message_deflate=False,
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=listen.connections,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=_END_S,
        ssl_certfile=listen.tls_cert,
        ssl_keyfile=listen.tls_key,
    )
    try:
        config.load()
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if type(error) is OSError and error.strerror else str(error)
        raise StreamerError(
            f"listen.tls_cert, listen.tls_key: {listen.tls_cert}, {listen.tls_key} cannot be used "
            f"({reason}); expected a certificate and its key without a pass phrase, as PEM"
        ) from None

    Server(config, told).run(sockets=[bound])
