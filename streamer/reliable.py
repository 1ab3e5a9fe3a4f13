"""Nothing lost: frames are kept until the detector acknowledges them, and sent again until it does."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import zmq

from streamer.auth import ClientKeys
from streamer.errors import FrameId, StreamerError, WireError
from streamer.images import Frame
from streamer.sender import Sender
from streamer.wire.frame import pack_frame, unpack

RELIABLE = "tcp://127.0.0.1:5554"

_MAX_ACK = 64 * 1024


@dataclass(eq=False)
class _Unacknowledged:
    parts: list[bytes]
    send_at: float


class ReliablePublisher(Sender):
    """As `streamer.publish.Publisher`, over DEALER: survives a restart of the detector, loses nothing.

    Args:
        endpoint: the detector's `transport.reliable`.
        stream: its name.
        encoding: of arrays: `jpeg`, `png` or `raw`.
        keys: CURVE keys where the detector asks for them.
        wait_s: how long the detector may take to answer the first connection; later it may take for ever.
        window: frames sent and not acknowledged yet, at most; keep it below the detector's `transport.queue`.
        resend_s: a frame not acknowledged for so long is sent again. The detector scores it once.

    Attributes:
        acknowledged: frames that were scored, and whose scores are published.
        refused: code of each frame's `error` that the detector will never score, by frame id.
        resent: how often a frame was sent again.
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
            hwm=2 * window,
            timeout_ms=0,
        )
        self.acknowledged, self.resent = 0, 0
        self.refused: dict[FrameId, str] = {}
        self._window, self._resend_s = window, resend_s
        self._open: OrderedDict[FrameId, _Unacknowledged] = OrderedDict()

    def send(
        self,
        frame: Frame | bytes,
        frame_id: FrameId | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        capture_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> FrameId:
        """Send one frame; waits while `window` frames are not acknowledged.

        Args:
            frame, frame_id, meta, capture_ns: as for `Publisher.send`.
            timeout_s: how long to wait for room; None for ever.

        Raises:
            WireError: the frame or its id cannot be sent.
            StreamerError: no room within `timeout_s`; the frame was not taken.
        """
        message = self._message(frame, frame_id, meta, capture_ns)
        if message.frame_id in self._open:
            raise WireError("duplicate", f"frame_id: {message.frame_id!r} is not acknowledged yet")
        self._wait(lambda: len(self._open) < self._window, timeout_s)
        self._seq += 1
        waiting = _Unacknowledged(pack_frame(message), 0.0)
        self._open[message.frame_id] = waiting
        self._turn(0)
        return message.frame_id

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

    def _wait(self, done: Any, timeout_s: float | None) -> None:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        self._turn(0)
        while not done():
            if end is not None and time.monotonic() >= end:
                raise StreamerError(
                    f"{self._endpoint}: {len(self._open)} frames not acknowledged in {timeout_s} s"
                )
            self._turn(50)

    def _turn(self, wait_ms: int) -> None:
        """Take the acks that came, send what is due."""
        if self._socket.poll(wait_ms):
            try:
                while True:
                    self._take(self._socket.recv_multipart())
            except zmq.Again:
                pass
        now = time.monotonic()
        for waiting in self._open.values():
            if waiting.send_at <= now:
                try:
                    self._socket.send_multipart(waiting.parts)
                except zmq.Again:
                    return
                self.resent += waiting.send_at > 0
                waiting.send_at = now + self._resend_s

    def _take(self, parts: list[bytes]) -> None:
        try:
            answer = unpack(parts[0], _MAX_ACK)
        except WireError:
            return
        frame_id, status = answer.get("frame_id"), answer.get("status")
        if not isinstance(frame_id, str | int) or frame_id not in self._open:
            return
        if status in {"busy", "dropped"}:
            # Not now: soon again, but not at once, or the detector would do nothing but refuse.
            self._open[frame_id].send_at = time.monotonic() + min(0.2, self._resend_s)
            return
        del self._open[frame_id]
        if status == "scored":
            self.acknowledged += 1
        else:
            self.refused[frame_id] = str(answer.get("code"))
