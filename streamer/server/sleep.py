"""Streams without frames give up memory and place; their rings wait on disk for the next frame."""

import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from streamer.server.snapshots import Snapshots
from streamer.server.stream import Line
from streamer.server.streams import Lines
from streamer.server.threads import Worker

log = structlog.get_logger()

_LOOKS = 4
_LOOK_S = 15.0


class Sleep(Worker):
    """Puts streams to sleep: snapshot written, then the detector dropped by the thread that owns it.

    A frame that comes meanwhile keeps the stream awake. One that comes later is queued as ever; when its turn
    comes the ring is restored, and its score is what it would have been. Where the file cannot be written the
    ring stays in memory, and `after_s` later it is tried again.

    Args:
        after_s: seconds without a frame; None puts nothing to sleep.
        lines: the open streams.
        snapshots: where the rings sleep; stopped before this is.
        failed: called if the thread dies.
    """

    def __init__(
        self,
        after_s: float | None,
        lines: Lines,
        snapshots: Snapshots,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("sleep", failed)
        self._after_s, self._lines, self._snapshots = after_s, lines, snapshots
        self._stopping = threading.Event()

    def work(self) -> None:
        """Look for idle streams now and then, until stopped."""
        while self._after_s is not None and not self._stopping.wait(min(self._after_s / _LOOKS, _LOOK_S)):
            self.look()

    def look(self) -> None:
        """Put to sleep what has had no frame for long enough; not in the matching thread."""
        due = [line for line in self._lines.known() if self._due(line)]
        for line in due:
            if self._stopping.is_set() or not self._lines.may_sleep():
                break
            self._put_to_sleep(line)
        if any(line.asleep for line in due):
            _give_back()

    def stop(self) -> None:
        """End, after the stream being put to sleep."""
        self._stopping.set()
        self.join()

    def _put_to_sleep(self, line: Line) -> None:
        self._snapshots.put_away(line, self._due, self._rest)
        if not line.asleep:
            line.used_at = time.monotonic()

    def _due(self, line: Line) -> bool:
        if self._after_s is None or line.detector is None or not line.idle:
            return False
        return time.monotonic() - line.used_at >= self._after_s

    def _rest(self, line: Line) -> None:
        size = line.state.get("bytes", 0)
        if self._lines.lay_down(line.name) is None:
            log.warning("stream_stays_awake", stream=line.name, text="limits.sleeping streams are asleep")
            return
        line.rest()
        log.info("stream_asleep", stream=line.name, images=line.state["images"], freed_bytes=size)


def _give_back() -> None:
    """Have the C library hand what was freed to the system, where it is one that keeps it (glibc)."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
