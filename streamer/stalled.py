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


class Stalled:
    """Sets how long the next connection may stall; for the thread of the socket.

    A peer whose queue is full does not see that we have hung up: each connection that is made anew
    leaves it one more, full of old messages. So the patience is twice as long each time, and as at first
    when the peer takes something, or a connection has lived for longer than it can stall.

    Args:
        socket: of `streamer.sockets.connect`, connected to `endpoint` with `stalled_ms`.
    """

    def __init__(self, socket: Socket, endpoint: str, stalled_ms: int) -> None:
        self._socket, self._endpoint, self._first_ms = socket, endpoint, stalled_ms
        self.patience_ms = stalled_ms
        self._since, self._is_up = time.monotonic(), True
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
        now = time.monotonic()
        if not has_room:
            if self._is_up and self._blocked_since is None:
                self._blocked_since = now
            return
        takes = self._blocked_since is not None and now - self._blocked_since > _BLOCKED_S
        if self._is_up and (takes or not self._may_have_stalled(now)):
            self._anew(self._first_ms)
        self._blocked_since = None

    def close(self) -> None:
        """Stop watching; before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(0)

    def _has_changed(self, event: int) -> None:
        now, was_up = time.monotonic(), self._is_up
        self._is_up, self._blocked_since = event == zmq.EVENT_HANDSHAKE_SUCCEEDED, None
        if self._is_up:
            self._since = now
        elif was_up:
            self._anew(2 * self.patience_ms if self._may_have_stalled(now) else self._first_ms)

    def _may_have_stalled(self, now: float) -> bool:
        return now - self._since < 2 * self.patience_ms / 1000 + _FILLS_S

    def _anew(self, patience_ms: int) -> None:
        """libzmq takes the option for connections that are asked for later only."""
        if patience_ms == self.patience_ms:
            return
        self.patience_ms = self._socket.tcp_maxrt = patience_ms
        self._is_up = False
        self._socket.disconnect(self._endpoint)
        self._socket.connect(self._endpoint)
