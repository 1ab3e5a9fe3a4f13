"""Streams without frames give up memory and place; their rings wait on disk for the next frame."""

import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from streamer.server.engine import Keeper
from streamer.server.stream import Stream
from streamer.server.streams import Streams
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
        streams: the open streams.
        snapshots: where the rings sleep; stopped before this is.
        failed: called if the thread dies.
    """

    def __init__(
        self,
        after_s: float | None,
        streams: Streams,
        snapshots: Keeper,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("sleep", failed, snapshots.progress)
        self._after_s, self._streams, self._snapshots = after_s, streams, snapshots
        self._stopping = threading.Event()

    def work(self) -> None:
        """Look for idle streams now and then, until stopped."""
        while self._after_s is not None and not self._stopping.wait(min(self._after_s / _LOOKS, _LOOK_S)):
            self.look()

    def look(self) -> None:
        """Put to sleep what has had no frame for long enough; not in the matching thread."""
        due = [stream for stream in self._streams.known() if self._due(stream)]
        for stream in due:
            if self._stopping.is_set() or not self._streams.may_sleep():
                break
            with self.progress.step("sleep"):
                self._try_to_sleep(stream)
        if any(stream.asleep for stream in due):
            with self.progress.step("give memory back"):
                _give_back()

    def stop(self) -> None:
        """End, after the stream being put to sleep."""
        self._stopping.set()
        self.join()

    def _try_to_sleep(self, stream: Stream) -> None:
        self._snapshots.save_and_release(stream, self._due, self._release)
        if not stream.asleep:
            stream.used_at = time.monotonic()

    def _due(self, stream: Stream) -> bool:
        if self._after_s is None or not stream.has_ring or not stream.idle:
            return False
        return time.monotonic() - stream.used_at >= self._after_s

    def _release(self, stream: Stream) -> None:
        size = stream.state.get("bytes", 0)
        if self._streams.put_to_sleep(stream.name) is None:
            log.warning("stream_stays_awake", stream=stream.name, text="limits.sleeping streams are asleep")
            return
        stream.release_ring()
        log.info("stream_asleep", stream=stream.name, images=stream.state["images"], freed_bytes=size)


def _give_back() -> None:
    """Have the C library hand what was freed to the system, where it is one that keeps it (glibc)."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
