"""A connection that carries nothing is made anew, each time later, until the peer takes messages again."""

import time
import uuid

import zmq
from zmq.utils.monitor import recv_monitor_message

from streamer.sockets import Socket

_FILLS_S = 30.0
"""A connection to a peer that takes nothing is full after so long at most, and stalls from then on."""
_BLOCKED_S = 1.0
"""No room for so long, and then room on the same connection: the peer has taken something."""
_MOST_MS = 600_000
"""A stalled connection is made anew after so long at the latest, however often the peer took nothing."""


class Stalled:
    """Sets how long the next connection may stall; for the thread of the socket.

    A peer whose queue is full does not see that we have hung up: each connection that is made anew
    leaves it one more, full of old messages. So the patience is twice as long each time, and as at first
    for the connection after one whose peer took something, or that lived for longer than it can stall.
    A connection that ends while there is room has not stalled: the peer has gone, and nothing changes.

    Args:
        socket: of `streamer.sockets.connect`, connected to `endpoint` with `stalled_ms`.
    """

    def __init__(self, socket: Socket, endpoint: str, stalled_ms: int) -> None:
        self._socket, self._endpoint, self._first_ms = socket, endpoint, stalled_ms
        self.patience_ms = self.next_ms = stalled_ms
        self._since, self._is_up, self._is_taken_from = time.monotonic(), True, False
        self._blocked_since: float | None = None
        self._monitor = socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED,
            # A name of its own: that of the monitor which watched the first handshake may not be free yet.
            f"inproc://stalled-{uuid.uuid4()}",
        )

    def look(self) -> None:
        """Notice what became of the connection; whenever room is asked for."""
        has_room = bool(self._socket.poll(0, zmq.POLLOUT))
        while self._monitor.poll(0):
            self._has_changed(recv_monitor_message(self._monitor)["event"])
        if not self._is_up and self.next_ms != self.patience_ms:
            self._anew()
        now = time.monotonic()
        if not has_room:
            if self._is_up and self._blocked_since is None:
                self._blocked_since = now
            return
        takes = self._blocked_since is not None and now - self._blocked_since > _BLOCKED_S
        if self._is_up and (takes or not self._may_have_stalled(now)):
            # From the next connection on: this one works, and made anew it would lose what it carries.
            self.next_ms = self._first_ms
            self._is_taken_from = True
        self._blocked_since = None

    def close(self) -> None:
        """Stop watching; before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(0)

    def _has_changed(self, event: int) -> None:
        now, was_up, has_stalled = time.monotonic(), self._is_up, self._blocked_since is not None
        self._is_up, self._blocked_since = event == zmq.EVENT_HANDSHAKE_SUCCEEDED, None
        if self._is_up:
            self._since, self._is_taken_from = now, False
        elif was_up and (self._is_taken_from or not self._may_have_stalled(now)):
            self.next_ms = self._first_ms
        elif was_up and has_stalled:
            self.next_ms = min(2 * self.patience_ms, _MOST_MS)

    def _may_have_stalled(self, now: float) -> bool:
        return now - self._since < 2 * self.patience_ms / 1000 + _FILLS_S

    def _anew(self) -> None:
        """libzmq takes the option for connections that are asked for later only; while there is none."""
        self.patience_ms = self._socket.tcp_maxrt = self.next_ms
        self._socket.disconnect(self._endpoint)
        self._socket.connect(self._endpoint)
