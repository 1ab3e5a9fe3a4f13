"""Every stream's ring on disk: when it is written, what else must be known to go on, what is refused."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from musc_online import snapshot
from streamer.errors import WireError
from streamer.server.outbox import Outbox
from streamer.server.outcomes import Ledger
from streamer.server.restoring import Restorer
from streamer.server.saving import Copied, Saver, copied
from streamer.server.snapshot_tally import SnapshotTally
from streamer.server.stream import Stream
from streamer.server.streams import Streams
from streamer.server.threads import Worker, run_there

_LOOK_S = 0.5
Job = Callable[[], None]
Result = TypeVar("Result")


class Snapshots(Worker):
    """Writes what changed every `every_s` seconds; other threads may ask for it at once.

    State is copied in the matching thread, one stream at a time, and written in the asking one: scoring
    waits for the copy and never for the disk, and memory for at most one copy is needed.

    Args:
        folder: of the files, as `prepare` left it; None saves and restores nothing.
        every_s: seconds between rounds.
        journals: whether changes in between are written down, and whether each waits for the disk.
        streams: the open streams.
        ledger: whose tallies go on after a restart.
        between_frames: runs something in the matching thread.
        outbox: where failures are told.
        failed: called if the thread dies.
    """

    def __init__(
        self,
        folder: Path | None,
        every_s: float,
        journals: tuple[bool, bool],
        streams: Streams,
        ledger: Ledger,
        between_frames: Callable[[Job], None],
        outbox: Outbox,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("snapshots", failed)
        self._folder, self._every_s = folder, every_s
        self._streams, self._ledger, self._tally = streams, ledger, SnapshotTally(outbox)
        self._saver = Saver(folder, self._tally, self.progress)
        self._due = threading.Event()
        self.restorer = Restorer(folder, self._tally, journals, self._due.set)
        self._between_frames = between_frames
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()

    @property
    def failed_text(self) -> str | None:
        """Why the last snapshot could not be written; None once one could."""
        return self._tally.failed_text

    def work(self) -> None:
        """Write what changed, now and then, until stopped."""
        next_round = time.monotonic() + self._every_s
        while self._folder is not None and not self._stopping.is_set():
            self._due.wait(max(0.0, min(next_round - time.monotonic(), threading.TIMEOUT_MAX)))
            self._due.clear()
            with self.progress.step("snapshots"):
                self._tell_troubles()
                due = self._changed()
                if time.monotonic() < next_round:
                    due = [stream for stream in due if stream.journal and stream.journal.wants_snapshot]
                else:
                    next_round = time.monotonic() + self._every_s
                if not self._stopping.is_set():
                    self._save(due, self._copied_between_frames)

    def stop(self) -> None:
        """End, after the file being written."""
        self._stopping.set()
        self._due.set()
        self.join()

    def save_now(self) -> list[dict[str, Any]]:
        """Write every stream; for a thread other than the matching one.

        Returns:
            Stream, file name, bytes and arrivals of each file.

        Raises:
            WireError: `not_configured`, or `snapshot_failed` for the first stream that could not be written.
        """
        if self._folder is None:
            raise WireError("not_configured", "snapshot: none is configured; set snapshot.path to a folder")
        before = self._tally.counts["failures"]
        written = self._save(self._streams.known(), self._copied_between_frames)
        if self._tally.counts["failures"] != before:
            raise WireError("snapshot_failed", self.failed_text or "snapshot: a file could not be written")
        return written

    def save_last(self) -> None:
        """Write what changed, once the matching thread has ended."""
        if self._folder is not None:
            with self.progress.step("snapshots"):
                self._tell_troubles()
                self._save(self._changed(), self._copied)

    def close(self) -> None:
        """Close the journals: no score goes out any more."""
        for stream in self._streams.known():
            if stream.journal is not None:
                stream.journal.close()

    def save_and_release(
        self, stream: Stream, due: Callable[[Stream], bool], release: Callable[[Stream], None]
    ) -> None:
        """Write a stream's ring and let go of it, if `due` says so before and after; as `save_now`.

        Args:
            due, release: called in the matching thread; `release` only while the file holds the ring.
        """

        def copied_if_due(stream: Stream) -> snapshot.Snapshot | None:
            return self._there(lambda: self._copied(stream, asleep=True) if due(stream) else None)

        def release_if_still_due() -> None:
            if due(stream) and not stream.unsaved:
                release(stream)

        with self._turn():
            if self._saver.write(stream, copied_if_due) is not None:
                self._there(release_if_still_due)

    def forget(self, stream: Stream) -> None:
        """Delete the file of a stream that was emptied on purpose; not in the matching thread."""
        if self._folder is not None:
            with self._turn():
                self._saver.forget(stream)

    def status(self) -> dict[str, Any]:
        """Files written, failed, refused, restored; when the last was written; why the last one failed."""
        journals = [stream.journal.size for stream in self._streams.known() if stream.journal is not None]
        path = None if self._folder is None else str(self._folder)
        return {**self._tally.status(), "journal_bytes": sum(journals), "path": path}

    def _changed(self) -> list[Stream]:
        return [stream for stream in self._streams.known() if stream.unsaved]

    def _save(self, streams: list[Stream], copied: Copied) -> list[dict[str, Any]]:
        written = []
        for stream in streams:
            with self._turn():
                facts = self._saver.write(stream, copied)
            if facts is not None:
                written.append(facts)
        return written

    def _copied(self, stream: Stream, *, asleep: bool = False) -> snapshot.Snapshot | None:
        """The state of a stream, in the thread that owns its detector; None before its first frame."""
        return copied(stream, self._ledger.streams().get(stream.name, {}), asleep=asleep)

    def _tell_troubles(self) -> None:
        """What the journals could not write, told by a thread that may wait."""
        for stream in self._streams.known():
            self._saver.tell_trouble(stream)

    def _copied_between_frames(self, stream: Stream) -> snapshot.Snapshot | None:
        return self._there(lambda: self._copied(stream))

    def _there(self, work: Callable[[], Result]) -> Result | None:
        return run_there(self._between_frames, work, self._gives_up)

    def _gives_up(self) -> bool:
        self.progress.renew()  # the matching thread is watched by itself
        return self._stopping.is_set()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One file is written at a time; whoever writes one is watched, not who waits for that."""
        while not self._one_at_a_time.acquire(timeout=_LOOK_S):
            self.progress.renew()
        try:
            yield
        finally:
            self._one_at_a_time.release()
