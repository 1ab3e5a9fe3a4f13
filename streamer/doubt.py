"""Which of several frames a detector will not have, where its refusal does not say which."""

import time
from collections.abc import Iterable

from streamer.errors import FrameId

_STRIKES = 3


class Doubt:
    """After such a refusal the frames that were open are sent one at a time, until it is known which it was.

    First all are left alone for a while, so that what is under way is answered. Then a frame is out only when
    it was refused several times in a row while no other was sent: no good frame is given up.

    Args:
        quiet_s: seconds that the frames are left alone for.
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s, self._quiet_until = quiet_s, 0.0
        self._suspects: dict[FrameId, int] = {}
        self._probe: FrameId | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames are sent one at a time, and others wait for that."""
        return bool(self._suspects)

    def accuse(self, frames: Iterable[FrameId], *, quiet: bool = True) -> tuple[FrameId | None, bool]:
        """A refusal came that names no frame.

        Args:
            frames: all that are open.
            quiet: whether what is under way may still be answered, and is waited for.

        Returns:
            The frame that it is about, None while that is not known; and whether the frame is out, or to be
            sent again at once.
        """
        probe, self._probe = self._probe, None
        if probe is None:
            if not self._suspects:
                self._suspects = dict.fromkeys(frames, 0)
                self._quiet_until = time.monotonic() + self._quiet_s if quiet else 0.0
            return None, False
        self._suspects[probe] += 1
        if self._suspects[probe] < _STRIKES:
            return probe, False
        self._suspects.clear()
        return probe, True

    def clear(self, frame_id: FrameId) -> None:
        """A frame was answered by name, for good."""
        self._suspects.pop(frame_id, None)
        if self._probe == frame_id:
            self._probe = None

    def acquit(self, frame_id: FrameId) -> None:
        """A frame was answered by name, and comes again: it is not the one, so far."""
        if frame_id in self._suspects:
            self._suspects[frame_id] = 0

    def chosen(self, due: list[FrameId], now: float) -> list[FrameId]:
        """Of the frames that are due those to send now: all of them, or in doubt at most one."""
        if not self._suspects:
            return due
        if now < self._quiet_until or (self._probe is not None and self._probe not in due):
            return []
        if self._probe is not None:  # no answer at all: it comes again after the others
            self._suspects[self._probe] = self._suspects.pop(self._probe)
        self._probe = next((frame_id for frame_id in self._suspects if frame_id in due), None)
        return [] if self._probe is None else [self._probe]
