"""Nothing lost: frames are kept until the detector acknowledges them, and sent again until it does."""

import math
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from streamer.auth import ClientKeys
from streamer.doubt import Doubt
from streamer.errors import FrameId, NoRoom, StreamerError, WireError
from streamer.images import Pixels
from streamer.sender import Sender
from streamer.wire.checks import BitDepth
from streamer.wire.frame import Limits, unpack

RELIABLE = "tcp://127.0.0.1:5554"

_DEFAULTS = Limits()
_MAX_ACK = 64 * 1024
_LIVE_WINDOW = 4
_SILENT_S = 30.0
"""A connection whose peer is gone is closed sooner; a peer that is there and silent has not got the frame."""
HUNG_UP = "hung_up"
"""Stands for a code where the detector closes the connection whenever the frame comes."""
_PASSING = frozenset({"rate_limited", "internal"})
"""Codes of refusals without an id that say nothing of the frame: it comes again, and may be taken then."""


@dataclass(eq=False)
class _Unacknowledged:
    parts: list[bytes]
    seq: int
    send_at: float
    """0 before it was sent."""
    until: float
    """When it is too old to be sent again."""
    sent_on: int = -1
    """The connection that it is under way on; -1 for none: it was answered, and is to be sent again."""


class ReliablePublisher(Sender):
    """As `streamer.publish.Publisher`, over DEALER: survives a restart of the detector, loses nothing.

    A detector that is down is waited for, however long. One that answers and will not have a frame ends that
    frame's wait: it is in `refused`, also where the answer could not name it.

    Args:
        endpoint: the detector's `transport.reliable`.
        stream: its name.
        encoding: of arrays: `jpeg`, `png` or `raw`.
        keys: CURVE keys where the detector asks for them.
        wait_s: how long the detector may take to answer the first connection; later it may take for ever.
        window: frames sent and not acknowledged yet, at most; keep it below the detector's `transport.queue`.
        resend_s: a frame not acknowledged for so long is sent again. The detector scores it once.
        bit_depth: of frames of more than 8 bits, as for `Publisher`.
        limits: the detector's `limits`, where its configuration has others than the defaults.
        live: frames are of a live camera, and what is late is worth less than what is new: `send` finds no
            room while the detector is not connected, and the window is of 4 frames at most, so that no more
            are old when it is back.
        max_age_s: a frame that was taken so long ago is not sent again: it is given up; None sends all again
            until they are acknowledged.

    Attributes:
        acknowledged: frames that were scored, and whose scores are published.
        refused: code of each frame's `error` that the detector will never score, by frame id; `HUNG_UP` where
            it closes the connection each time the frame comes, as it does far above its `limits`.
        resent: how often a frame was sent again.
        given_up: frames that were sent, not acknowledged, and then too old to be sent again. The detector may
            have scored some of them all the same, where it could not say so any more.
    """

    def __init__(
        self,
        endpoint: str = RELIABLE,
        stream: str = "camera",
        *,
        encoding: str = "png",
        keys: ClientKeys | None = None,
        wait_s: float = 10.0,
        window: int = 16,
        resend_s: float = 5.0,
        bit_depth: BitDepth = "auto",
        limits: Limits = _DEFAULTS,
        live: bool = False,
        max_age_s: float | None = None,
    ) -> None:
        # Two copies of the window fit: resends must not block on frames a dead connection still holds. No
        # identity: one that the detector still holds for a dead connection would leave the next one unread.
        super().__init__(
            zmq.DEALER,
            endpoint,
            stream,
            encoding=encoding,
            keys=keys,
            wait_s=wait_s,
            bit_depth=bit_depth,
            limits=limits,
            hwm=2 * window,
            timeout_ms=0,
            connected_only=live,
        )
        self._live, self._max_age_s = live, math.inf if max_age_s is None else max_age_s
        self.acknowledged, self.resent = 0, 0
        self.refused: dict[FrameId, str] = {}
        self._full_window, self._resend_s = window, resend_s
        self._window = min(window, _LIVE_WINDOW) if live else window
        self._open: OrderedDict[FrameId, _Unacknowledged] = OrderedDict()
        self._doubt = Doubt(resend_s)
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_SUCCEEDED,
            # A name of its own: that of the monitor which watched the first handshake may not be free yet.
            f"inproc://reliable-{uuid.uuid4()}",
        )
        self._hung_up, self._connection = False, 0

    def send(
        self,
        frame: Pixels | bytes,
        frame_id: FrameId | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        capture_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> FrameId:
        """Send one frame; waits while `window` frames are not acknowledged.

        Args:
            frame: as for `Publisher.send`.
            frame_id: as for `Publisher.send`.
            meta: as for `Publisher.send`.
            capture_ns: as for `Publisher.send`.
            timeout_s: how long to wait for room; None for ever.

        Returns:
            The frame's id.

        Raises:
            WireError: the detector would refuse the frame, its id, time or `meta`; the text names which.
            NoRoom: not within `timeout_s`; the frame was not taken.
        """
        taken, parts = self._message(frame, frame_id, meta, capture_ns)
        if taken in self._open:
            raise WireError("duplicate", f"frame_id: {taken!r} is not acknowledged yet")
        self._wait(self._is_free, timeout_s, NoRoom)
        age_s = 0.0 if capture_ns is None else (time.time_ns() - capture_ns) / 1e9
        until = time.monotonic() + self._max_age_s - age_s
        self._open[taken] = _Unacknowledged(parts, self._seq, 0.0, until)
        self._turn(0)
        if self._live and taken in self._open and self._open[taken].send_at == 0:
            del self._open[taken]  # the connection was lost since
            self._doubt.clear(taken)
            raise NoRoom(f"{self._endpoint}: the detector is not connected")
        self._seq += 1
        return taken

    def has_room(self, timeout_s: float) -> bool:
        """Whether a frame can be sent without waiting: fewer than `window` are not acknowledged.

        Whenever it is asked, acknowledgements are taken, and what is due is sent again.

        Args:
            timeout_s: how long to wait for room, seconds.

        Returns:
            Whether there is room now.
        """
        end = time.monotonic() + timeout_s
        self._turn(0)
        while not (is_free := self._is_free()) and time.monotonic() < end:
            self._turn(50)
        return is_free

    def keep_all(self) -> None:
        """See `Sender.keep_all`: the whole window is used, and kept while the detector is away."""
        self._live, self._window = False, self._full_window

    def _is_free(self) -> bool:
        """Whether a frame is taken; of a live camera only where it can go out now."""
        if len(self._open) >= self._window:
            return False
        return not self._live or (not self._doubt.is_open and bool(self._socket.poll(0, zmq.POLLOUT)))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every frame is acknowledged or refused.

        Raises:
            StreamerError: some are not within `timeout_s`.
        """
        self._wait(lambda: not self._open, timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Wait as `flush` does, then close, whatever the outcome."""
        try:
            self.flush(timeout_s)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close at once."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        super().abandon()

    def _wait(
        self, done: Callable[[], bool], timeout_s: float | None, late: type[StreamerError] = StreamerError
    ) -> None:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        self._turn(0)
        while not done():
            if end is not None and time.monotonic() >= end:
                raise late(f"{self._endpoint}: {len(self._open)} frames not acknowledged in {timeout_s} s")
            self._turn(50)

    def _turn(self, wait_ms: int) -> None:
        """Take the acks that came, send what is due."""
        self._watch_connection()
        if self._socket.poll(wait_ms):
            try:
                while True:
                    self._take(self._socket.recv_multipart())
            except zmq.Again:
                pass
        now = time.monotonic()
        due = [frame_id for frame_id, waiting in self._open.items() if waiting.send_at <= now]
        for frame_id in self._doubt.chosen(due, now):
            waiting = self._open[frame_id]
            if waiting.send_at > 0 and now > waiting.until:
                self._is_too_old(frame_id, waiting, now)
                continue
            try:
                self._socket.send_multipart(waiting.parts)
            except zmq.Again:
                return
            self.resent += waiting.send_at > 0
            waiting.send_at, waiting.sent_on = now + self._resend_s, self._connection

    def _is_too_old(self, frame_id: FrameId, waiting: _Unacknowledged, now: float) -> None:
        """Give it up; but not where it is still under way: others would only wait behind it, and grow old."""
        if waiting.sent_on == self._connection and now < waiting.until + _SILENT_S:
            waiting.send_at = now + self._resend_s
            return
        del self._open[frame_id]
        self._doubt.clear(frame_id)
        self.given_up += 1

    def _watch_connection(self) -> None:
        """Notice a detector that hangs up on us and takes the connection again at once.

        So it does with a message far above its limits, which it never reads. One that is down refuses at
        least one connection first.
        """
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                if self._live or not self._hung_up:
                    # What it had not acknowledged went with the connection.
                    for waiting in self._open.values():
                        waiting.send_at = min(waiting.send_at, time.monotonic())
                if self._hung_up:
                    self._refused_without_id(HUNG_UP)
            self._hung_up = event == zmq.EVENT_DISCONNECTED
            self._connection += self._hung_up

    def _take(self, parts: list[bytes]) -> None:
        try:
            answer = unpack(parts[0], _MAX_ACK)
        except WireError:
            return
        frame_id, status = self._meant(answer), answer.get("status")
        if frame_id is None:
            if status == "refused" and answer.get("frame_id") is None:
                self._refused_without_id(str(answer.get("code")))
            return
        if status in {"busy", "dropped"}:
            # Not now: soon again, but not at once, or the detector would do nothing but refuse.
            waiting = self._open[frame_id]
            waiting.send_at, waiting.sent_on = time.monotonic() + min(0.2, self._resend_s), -1
            self._doubt.acquit(frame_id)
            return
        del self._open[frame_id]
        self._doubt.clear(frame_id)
        if status == "scored":
            self.acknowledged += 1
        else:
            self.refused[frame_id] = str(answer.get("code"))

    def _meant(self, answer: Mapping[str, Any]) -> FrameId | None:
        """Which open frame an answer is about: by its id, or by its `seq` where the id could not be read."""
        frame_id, seq = answer.get("frame_id"), answer.get("seq")
        if isinstance(frame_id, str | int):
            return frame_id if frame_id in self._open else None
        if seq is None:
            return None
        return next((name for name, waiting in self._open.items() if waiting.seq == seq), None)

    def _refused_without_id(self, code: str) -> None:
        """One of the open frames is refused, and we are not told which."""
        if not self._open or code in _PASSING:
            return
        # Who hung up answers nothing that was under way, and a camera's new pictures wait for the end.
        frame_id, is_out = self._doubt.accuse(self._open, quiet=code != HUNG_UP or not self._live)
        if frame_id is None:
            return
        if is_out:
            del self._open[frame_id]
            self.refused[frame_id] = code
        else:
            self._open[frame_id].send_at = time.monotonic()
