"""A camera that loses acks and a screen that misses nothing, both let go of a server while it is down."""

import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgpack
import zmq

from bench.load.publisher import pictures
from streamer.errors import StreamerError

_PATIENCE_S = 300.0
_RESEND_S = 0.5
_BUSY_S = 0.1
_LOSE_EVERY = 5
_POLL_MS = 10
_QUIET_MS = 300
"""So long nothing more comes from a connection whose other end is closed: what it had sent is here."""


class _Client(threading.Thread):
    """A thread with a socket to a server, connected and disconnected by another thread."""

    def __init__(self, kind: int) -> None:
        super().__init__(daemon=True)
        self._kind = kind
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._changed = threading.Condition()
        self._wanted: str | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._ended = False
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self.join()
        self._context.destroy(linger=0)

    def connect(self, endpoint: str) -> None:
        """Talk to this server."""
        with self._changed:
            self._wanted = endpoint
            self._changed.notify_all()

    def disconnect(self) -> None:
        """Take what has come from the server, which has ended, and close the connection."""
        with self._changed:
            self._wanted = None
            self._wait(lambda: self._socket is None, "its socket could not be closed")

    def run(self) -> None:
        """Talk while connected."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._wanted or self._socket)
                if self._ended:
                    break
                wanted = self._wanted
            if wanted is not None and self._socket is None:
                self._socket = self._open(wanted)
            elif wanted is None and self._socket is not None:
                while self._socket.poll(_QUIET_MS):
                    self._take(self._socket)
                self._socket.close(0)
                with self._changed:
                    self._socket = None
                    self._changed.notify_all()
            elif self._socket is not None:
                self._turn(self._socket)
        if self._socket is not None:
            self._socket.close(0)

    def _open(self, endpoint: str) -> "zmq.Socket[bytes]":
        made = self._context.socket(self._kind)
        made.linger, made.rcvhwm, made.sndhwm = 0, 0, 0
        made.connect(endpoint)
        return made

    def _turn(self, connection: "zmq.Socket[bytes]") -> None:
        if connection.poll(_POLL_MS):
            self._take(connection)

    def _take(self, connection: "zmq.Socket[bytes]") -> None:
        raise NotImplementedError

    def _wait(self, done: Any, what: str) -> None:
        if not self._changed.wait_for(done, _PATIENCE_S):
            raise StreamerError(f"stops: {what} within {_PATIENCE_S:g} s")


class Screen(_Client):
    """Hears a stream's scores; `connect` returns once it does.

    Attributes:
        heard: how often a score of each frame was.
    """

    def __init__(self, stream: str) -> None:
        self.heard: Counter[Any] = Counter()
        self._prefix = f"{stream}/score"
        self._up = False
        super().__init__(zmq.SUB)

    def connect(self, endpoint: str) -> None:
        """Hear this server, from its first score on."""
        super().connect(endpoint)
        with self._changed:
            self._wait(lambda: self._up, "no heartbeat came")

    def disconnect(self) -> None:
        """Take what the server, which has ended, had published."""
        super().disconnect()
        self._up = False

    def wait_heard(self, frame_id: Any) -> None:
        """Wait for a frame's score."""
        with self._changed:
            self._wait(lambda: frame_id is None or frame_id in self.heard, f"frame {frame_id} was not heard")

    def _open(self, endpoint: str) -> "zmq.Socket[bytes]":
        made = super()._open(endpoint)
        made.subscribe(self._prefix.encode())
        made.subscribe(b"-/status")
        return made

    def _take(self, connection: "zmq.Socket[bytes]") -> None:
        topic, header, *_ = connection.recv_multipart()
        with self._changed:
            self._up = True
            if topic.decode() == self._prefix:
                self.heard[msgpack.unpackb(header)["frame_id"]] += 1
            self._changed.notify_all()


@dataclass
class _Open:
    send_at: float = 0.0
    lost: bool = False


class LossyCamera(_Client):
    """A reliable sender by hand, as docs/wire.md has it, of which each fifth ack never arrives.

    Attributes:
        sent: frames, with the ids 0, 1, 2...
        acknowledged: as scored.
        acks_lost: how many were.
        last_scored: the frame acknowledged last.
    """

    def __init__(self, stream: str, window: int) -> None:
        self.sent = self.acknowledged = self.acks_lost = 0
        self.last_scored: Any = None
        self._stream, self._window = stream, window
        self._pictures = pictures(48, 0)
        self._unacknowledged: OrderedDict[int, _Open] = OrderedDict()
        self._finishing = False
        super().__init__(zmq.DEALER)

    def connect(self, endpoint: str) -> None:
        """Send to this server, at once what no server has acknowledged."""
        with self._changed:
            for one in self._unacknowledged.values():
                one.send_at = 0.0
        super().connect(endpoint)

    def wait_acknowledged(self, more: int) -> None:
        """Wait until so many more frames are acknowledged."""
        with self._changed:
            wanted = self.acknowledged + more
            self._wait(lambda: self.acknowledged >= wanted, f"{more} frames were not acknowledged")

    def finish(self) -> None:
        """Send no more; wait for all acks."""
        with self._changed:
            self._finishing = True
            self._wait(lambda: not self._unacknowledged, "frames were not acknowledged")

    def _turn(self, connection: "zmq.Socket[bytes]") -> None:
        now = time.monotonic()
        with self._changed:
            while not self._finishing and len(self._unacknowledged) < self._window:
                self._unacknowledged[self.sent] = _Open()
                self.sent += 1
            due = [number for number, one in self._unacknowledged.items() if one.send_at <= now]
            for number in due:
                self._unacknowledged[number].send_at = now + _RESEND_S
        for number in due:
            header = {"v": 1, "kind": "frame", "stream": self._stream, "frame_id": number, "encoding": "png"}
            connection.send_multipart([msgpack.packb(header), self._pictures[number % len(self._pictures)]])
        super()._turn(connection)

    def _take(self, connection: "zmq.Socket[bytes]") -> None:
        answer = msgpack.unpackb(connection.recv())
        with self._changed:
            one = self._unacknowledged.get(answer["frame_id"])
            if one is None:
                return
            if answer["status"] != "scored":
                if answer["status"] in {"busy", "dropped"}:
                    one.send_at = time.monotonic() + _BUSY_S
                return
            if not one.lost and answer["frame_id"] % _LOSE_EVERY == 0:
                one.lost = True
                self.acks_lost += 1
                return
            del self._unacknowledged[answer["frame_id"]]
            self.acknowledged += 1
            self.last_scored = answer["frame_id"]
            self._changed.notify_all()
