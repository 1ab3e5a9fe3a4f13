"""Subscriptions of each connection to the scores' socket: counted, and who asks for too much is cut off.

libzmq keeps every subscription, one node a byte, as long as its connection lasts, and has no limit. An XPUB
socket shows them to its owner, with the connection's descriptor.
"""

import contextlib
import os
import socket as sockets
import stat
from dataclasses import dataclass, field

import zmq

from streamer.server.logs import RateLimitedLog
from streamer.sockets import Socket

MAX_TOPICS = 1000
MAX_TOPIC_BYTES = 64 * 1024
"""Topics of one connection, and bytes of them together; the longest topic has some 140."""

MAX_SUBSCRIPTION = 512
"""Bytes of one subscription; libzmq hangs up on a longer one."""

SUBSCRIPTIONS_AHEAD = 2
"""Subscriptions of a connection that libzmq holds unread. With more, it and the connection's own thread feed
each other without end while the thread that publishes waits; and what comes from a connection that has closed
would be laid to the one that has its descriptor now. With CURVE libzmq keeps one of the two for itself."""

_AT_ONCE = 256
_NEXT_MS = 1
# The next one comes as soon as the last was read, if there is one.
_CHANGES = 10_000
# Subscriptions and their ends in a connection's life: who comes and goes without end is cut, too.
_KNOWN = 256
_DRAINED = 64 * 1024
_SUBSCRIBE, _END = b"\x01", b"\x00"


@dataclass(eq=False)
class _Connection:
    """`inode` tells it from another one that has its descriptor later."""

    inode: int
    topics: set[bytes] = field(default_factory=set)
    size: int = 0
    changes: int = 0
    cut: bool = False

    @property
    def asks_too_much(self) -> bool:
        return len(self.topics) > MAX_TOPICS or self.size > MAX_TOPIC_BYTES or self.changes > _CHANGES

    def note(self, message: bytes) -> None:
        """A subscription, or the end of one that there is."""
        self.changes += 1
        topic = message[1:]
        if message[:1] == _SUBSCRIBE and topic not in self.topics:
            self.topics.add(topic)
            self.size += len(topic)
        elif message[:1] == _END and topic in self.topics:
            self.topics.remove(topic)
            self.size -= len(topic)


class Subscriptions:
    """Reads what an XPUB socket is told, and cuts off connections above the limits: them and no others.

    Args:
        socket: bound; all subscriptions and their ends are asked for. Its owner calls `read`.
    """

    def __init__(self, socket: Socket) -> None:
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket = socket
        self._connections: dict[int, _Connection] = {}
        self._heard = False
        self._log = RateLimitedLog()

    def read(self) -> None:
        """Take note of the subscriptions that came; a bounded number a call."""
        for _ in range(_AT_ONCE):
            try:
                self._note(self._socket.recv(zmq.DONTWAIT, copy=False))
            except zmq.Again:
                if not self._heard or not self._socket.poll(_NEXT_MS):
                    self._heard = False
                    return
            else:
                self._heard = True

    def _note(self, message: zmq.Frame) -> None:
        try:
            descriptor = int(message.get("__fd"))  # type: ignore[arg-type]
            inode = _inode(descriptor)
        except zmq.ZMQError:
            return  # a connection has ended, and libzmq has forgotten what it asked for
        if inode is None:
            return
        connection = self._connections.get(descriptor)
        if connection is None or connection.inode != inode:
            if len(self._connections) >= _KNOWN:
                self._forget_closed()
            connection = self._connections[descriptor] = _Connection(inode)
        if connection.cut:
            return
        connection.note(message.bytes)
        if connection.asks_too_much:
            connection.cut = True
            connection.topics.clear()
            self._log.warning(
                "subscriber_cut", "too_many_topics", topics=MAX_TOPICS, bytes=MAX_TOPIC_BYTES,
                changes=_CHANGES, peer=str(message.get("Peer-Address")),
            )  # fmt: skip
            hang_up(descriptor, inode)

    def _forget_closed(self) -> None:
        for descriptor, connection in list(self._connections.items()):
            if _inode(descriptor) != connection.inode:
                del self._connections[descriptor]


def hang_up(descriptor: int, inode: int) -> None:
    """End a connection of libzmq's, if the descriptor still is that connection; libzmq closes it then.

    What came in before is thrown away: libzmq would read it to the end.
    """
    with contextlib.suppress(OSError):
        ours = os.dup(descriptor)  # stays the same connection, whatever becomes of the descriptor
        try:
            if _inode(ours) == inode:
                connection = sockets.socket(fileno=ours)
                try:
                    connection.shutdown(sockets.SHUT_RDWR)
                    while connection.recv(_DRAINED, sockets.MSG_DONTWAIT):
                        pass
                finally:
                    connection.detach()
        finally:
            os.close(ours)


def _inode(descriptor: int) -> int | None:
    """What tells a socket from the next one with its descriptor; None where it is none, or closed."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else None
