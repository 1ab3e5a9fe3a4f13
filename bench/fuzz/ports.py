"""Who talks to a server under attack: one that sends nonsense to every port, and two that behave."""

import contextlib
import socket
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np
import zmq

from bench.fuzz.messages import Malformed
from bench.load.publisher import pictures
from streamer.errors import StreamerError
from streamer.process import ServerProcess
from streamer.publish import Publisher
from streamer.reliable import ReliablePublisher
from streamer.sockets import socket_endpoint

_PATIENCE_MS = 300_000
_LOOK_MS = 1_000
_GOOD_S = 60.0
_SHARES = {
    "frames": 0.5,
    "reliable": 0.2,
    "imagezmq": 0.1,
    "imagezmq_subscribe": 0.1,
    "control": 0.09,
    "tcp": 0.01,
}


class Attacker:
    """Sends malformed messages, each to a port drawn at random; reads what comes back and ignores it.

    Args:
        seed: the same one sends the same messages to the same ports.
    """

    def __init__(self, seed: int) -> None:
        self.sent: Counter[str] = Counter()
        self._rng = np.random.default_rng(seed)
        self._draw = Malformed(seed, "fuzz")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._endpoints: Mapping[str, str] = {}
        publisher = self._socket("imagezmq_subscribe", zmq.PUB)
        publisher.bind("tcp://127.0.0.1:*")
        self.publishes_at = socket_endpoint(publisher)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def connect(self, endpoints: Mapping[str, str]) -> None:
        """To the server's ports."""
        self._endpoints = endpoints
        self._socket("frames", zmq.PUSH).connect(endpoints["frames"])
        for name in ("reliable", "imagezmq", "control"):
            self._socket(name, zmq.DEALER).connect(endpoints[name])

    def send(self, server: ServerProcess) -> None:
        """One malformed message.

        Raises:
            ServerError: the server is down.
            StreamerError: it takes nothing any more.
        """
        port = str(self._rng.choice(list(_SHARES), p=list(_SHARES.values())))
        if port == "tcp":
            self._nonsense_bytes()
        else:
            self._message(port, server)
        self.sent[port] += 1

    def _message(self, port: str, server: ServerProcess) -> None:
        if port == "control":
            parts = [b"", self._draw.control()] if self._rng.integers(20) else [self._draw.control()]
        elif port in ("frames", "reliable"):
            parts = self._draw.frame()
        else:
            parts = self._draw.imagezmq()
            if port == "imagezmq" and self._rng.integers(20):
                parts = [b"", *parts]
        connection = self._sockets[port]
        waited = 0
        while not connection.poll(_LOOK_MS, zmq.POLLOUT):
            waited += _LOOK_MS
            if not server.pid or waited > _PATIENCE_MS:
                raise StreamerError(f"{port}: the server takes nothing within {_PATIENCE_MS / 1000:g} s")
        connection.send_multipart(parts)
        while port not in ("frames", "imagezmq_subscribe") and connection.poll(0):
            connection.recv_multipart()

    def _nonsense_bytes(self) -> None:
        """Something that is no ZMTP at all, to a port at random."""
        host, _, number = (
            str(self._rng.choice(list(self._endpoints.values()))).removeprefix("tcp://").rpartition(":")
        )
        # The server may hang up while we talk: that is its right.
        with contextlib.suppress(OSError), socket.create_connection((host, int(number)), 10) as raw:
            start = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03" if self._rng.integers(2) else b""
            raw.sendall(start + self._rng.bytes(int(self._rng.integers(1, 400))))

    def _socket(self, name: str, kind: int) -> "zmq.Socket[bytes]":
        made = self._context.socket(kind)
        made.linger, made.sndhwm, made.sndtimeo, made.rcvtimeo = 0, 100, _PATIENCE_MS, _PATIENCE_MS
        self._sockets[name] = made
        return made


class Regulars:
    """Two cameras that behave, one of them reliable; every frame of theirs must be scored."""

    PREFIX = "good-"

    def __init__(self, endpoints: Mapping[str, str], seed: int) -> None:
        self.sent = 0
        self.streams = [f"{self.PREFIX}plain", f"{self.PREFIX}reliable"]
        self._payloads = pictures(64, seed)
        self._plain = Publisher(endpoints["frames"], self.streams[0])
        self._reliable = ReliablePublisher(endpoints["reliable"], self.streams[1], resend_s=30.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plain.close()
        self._reliable.abandon()

    def send(self) -> None:
        """A frame of each.

        Raises:
            StreamerError: the server takes none, or acknowledges none, for a minute.
        """
        senders: list[Publisher | ReliablePublisher] = [self._plain, self._reliable]
        for sender in senders:
            payload = self._payloads[self.sent % len(self._payloads)]
            sender.send(payload, self.sent // 2, timeout_s=_GOOD_S)
            self.sent += 1

    def flush(self) -> None:
        """Wait for the acks."""
        self._reliable.flush(_GOOD_S)
