"""A publisher's second connection, for what it says of its source: frames that wait hold up none of it."""

import threading
import time

import zmq

from streamer.auth import ClientKeys
from streamer.errors import WireError
from streamer.sockets import Context, Socket, connect
from streamer.wire.frame import unpack
from streamer.wire.source import SourceMessage, pack_source

_ROOM = 8
_LINGER_MS = 500
"""The last word, that a source has ended, is on its way when its publisher closes."""
_OLD_S = 60.0
"""A detector of before is not told again for so long: it answers each time that it does not know the kind."""
_MAX_ANSWER = 64 * 1024


class SourcePort:
    """Tells a detector how a source is; safe from any thread, connects with the first word.

    Nothing is kept for a detector that is down: by the time it is back it would be old.

    Args:
        context: of the publisher; ended by its owner, after `close`.
        kind: of socket, as the publisher's own: `zmq.PUSH` or `zmq.DEALER`.
        endpoint: the detector's.
        keys: CURVE keys where the detector asks for them.
    """

    def __init__(self, context: Context, kind: int, endpoint: str, keys: ClientKeys | None) -> None:
        self._context, self._kind, self._endpoint, self._keys = context, kind, endpoint, keys
        self._lock = threading.Lock()
        self._socket: Socket | None = None
        self._closed = False
        self._not_before = 0.0

    def tell(self, message: SourceMessage, timeout_s: float) -> bool:
        """Send a word that the detector would not refuse; whether it went out within `timeout_s`.

        Raises:
            StreamerError: the endpoint cannot be used.
        """
        with self._lock:
            if self._closed or time.monotonic() < self._not_before:
                return False
            if self._socket is None:
                self._socket = connect(
                    self._context,
                    self._kind,
                    self._endpoint,
                    keys=self._keys,
                    hwm=_ROOM,
                    linger_ms=_LINGER_MS,
                    connected_only=True,
                )
            self._hear(self._socket)
            self._socket.sndtimeo = round(1000 * timeout_s)
            try:
                self._socket.send_multipart(pack_source(message))
            except zmq.Again:
                return False
            return True

    def close(self) -> None:
        """Close; what is told later goes nowhere."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _hear(self, socket: Socket) -> None:
        """Only a detector of before answers, to say that it does not know the kind."""
        while self._kind == zmq.DEALER and socket.poll(0):
            try:
                answer = unpack(socket.recv_multipart(zmq.DONTWAIT)[0], _MAX_ANSWER)
            except (WireError, zmq.Again):
                continue
            if answer.get("code") == "unknown_kind":
                self._not_before = time.monotonic() + _OLD_S
