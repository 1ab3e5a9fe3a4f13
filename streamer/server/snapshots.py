"""Every stream's ring on disk: when it is written, what else must be known to go on, what is refused."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import structlog

from musc_online import snapshot
from musc_online.errors import SnapshotError, UnreadableError
from streamer.errors import WireError
from streamer.server.ledger import Accounts
from streamer.server.outbox import Outbox
from streamer.server.snapshot_books import Books
from streamer.server.snapshot_files import SUFFIX, Kept, extra_of, file_name, header_of, summary
from streamer.server.stream import Line
from streamer.server.streams import Lines
from streamer.server.threads import Worker, run_there
from streamer.wire.frame import NO_STREAM

log = structlog.get_logger()

Job = Callable[[], None]
Copied = Callable[[Line], snapshot.Snapshot | None]
Result = TypeVar("Result")


class Snapshots(Worker):
    """Writes what changed every `every_s` seconds; other threads may ask for it at once.

    State is copied in the matching thread, one stream at a time, and written in the asking one: scoring
    waits for the copy and never for the disk, and memory for at most one copy is needed.

    Args:
        folder: of the files, as `prepare` left it; None saves and restores nothing.
        every_s: seconds between rounds.
        lines: the open streams.
        accounts: whose tallies go on after a restart.
        between_frames: runs something in the matching thread.
        outbox: where failures are told.
        failed: called if the thread dies.
    """

    def __init__(
        self,
        folder: Path | None,
        every_s: float,
        lines: Lines,
        accounts: Accounts,
        between_frames: Callable[[Job], None],
        outbox: Outbox,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("snapshots", failed)
        self._folder, self._every_s = folder, every_s
        self._lines, self._accounts, self._books = lines, accounts, Books(outbox)
        self._between_frames = between_frames
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()

    @property
    def failed_text(self) -> str | None:
        """Why the last snapshot could not be written; None once one could."""
        return self._books.failed_text

    def work(self) -> None:
        """Write what changed, now and then, until stopped."""
        while self._folder is not None and not self._stopping.wait(self._every_s):
            self._save(self._changed(), self._copied_between_frames)

    def stop(self) -> None:
        """End, after the file being written."""
        self._stopping.set()
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
        before = self._books.counts["failures"]
        written = self._save(self._lines.known(), self._copied_between_frames)
        if self._books.counts["failures"] != before:
            raise WireError("snapshot_failed", self.failed_text or "snapshot: a file could not be written")
        return written

    def save_last(self) -> None:
        """Write what changed, once the matching thread has ended."""
        if self._folder is not None:
            self._save(self._changed(), self._copied)

    def put_away(self, line: Line, due: Callable[[Line], bool], rest: Callable[[Line], None]) -> None:
        """Write a stream's ring and let go of it, if `due` says so before and after; as `save_now`.

        Args:
            due, rest: called in the matching thread; `rest` only while the file holds the ring as it is.
        """

        def copied(line: Line) -> snapshot.Snapshot | None:
            return self._there(lambda: self._copied(line, asleep=True) if due(line) else None)

        def rest_if_still_due() -> None:
            if due(line) and not line.unsaved:
                rest(line)

        with self._one_at_a_time:
            if self._write(line, copied) is not None:
                self._there(rest_if_still_due)

    def restore(self, line: Line) -> dict[str, Any] | None:
        """Put a stream's snapshot, if there is one, into its new detector; in the thread that owns it.

        Returns:
            The tally of then; None where nothing was restored. What is damaged or foreign is set aside.

        Raises:
            CapacityError: the ring does not fit in `ring.max_bytes`; the file is left.
            UnreadableError: the file cannot be read just now; it is left.
        """
        path = self._path(line.name)
        if path is None or line.detector is None or line.emptied:
            return None
        try:
            if not snapshot.exists(path):
                if line.asleep:
                    self._books.lost(path, line.name)
                    line.forget_scored()
                return None
            saved = snapshot.read(path)
            kept = Kept(saved.state["extra"], line.name)
            snapshot.restore(line.detector, saved)
        except SnapshotError as error:
            self._books.refused(path, line.name, str(error))
            if line.asleep:
                line.forget_scored()
            return None
        line.resume(kept.scored, kept.unpublished, kept.origins)
        line.state = line.detector.status()
        self._books.restored(line.name, line.state["images"])
        return kept.tally

    def glance(self, line: Line) -> dict[str, Any] | None:
        """Know a stream that sleeps on by its snapshot's header; returns as `restore` does."""
        path = self._path(line.name)
        if path is None:
            return None
        try:
            state = header_of(path)
            kept, shown = Kept(state["extra"], line.name), summary(state)
        except SnapshotError as error:
            self._books.refused(path, line.name, str(error))
            return None
        except UnreadableError as error:
            log.warning("snapshot_left", stream=line.name, text=str(error))
            return None
        line.resume(kept.scored, kept.unpublished, ())
        line.state = shown
        return kept.tally

    def streams(self) -> Iterator[tuple[str, bool]]:
        """Streams with a snapshot, the newest first, and whether they slept; the unreadable is set aside."""
        if self._folder is None:
            return
        files = [path for path in self._folder.iterdir() if path.name.endswith(SUFFIX)]
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                extra = header_of(path)["extra"]
                yield extra["stream"], extra.get("asleep") is True
            except SnapshotError as error:
                self._books.refused(path, NO_STREAM, str(error))
            except UnreadableError as error:
                log.warning("snapshot_left", text=str(error))

    def forget(self, line: Line) -> None:
        """Delete the file of a stream that was emptied on purpose; not in the matching thread."""
        path = self._path(line.name)
        if path is not None:
            with self._one_at_a_time:
                if line.emptied:  # else a ring of after that was put to sleep meanwhile
                    path.unlink(missing_ok=True)
                    line.unsaved = True

    def status(self) -> dict[str, Any]:
        """Files written, failed, refused, restored; when the last was written; why the last one failed."""
        return {**self._books.status(), "path": None if self._folder is None else str(self._folder)}

    def _changed(self) -> list[Line]:
        return [line for line in self._lines.known() if line.unsaved]

    def _save(self, lines: list[Line], copied: Copied) -> list[dict[str, Any]]:
        written = []
        for line in lines:
            with self._one_at_a_time:
                facts = self._write(line, copied)
            if facts is not None:
                written.append(facts)
        return written

    def _write(self, line: Line, copied: Copied) -> dict[str, Any] | None:
        path = self._path(line.name)
        try:
            copy = copied(line)
            if copy is None or path is None:
                return None
            snapshot.write(copy, path)
        except Exception as error:  # no room for the copy, a full disk: scoring matters more
            line.unsaved = True
            self._books.failed(line.name, error)
            return None
        return self._books.written(line.name, path, copy)

    def _copied(self, line: Line, *, asleep: bool = False) -> snapshot.Snapshot | None:
        """The state of a stream, in the thread that owns its detector; None before its first frame."""
        if line.detector is None or line.detector.ring is None:
            return None
        line.unsaved = False
        tally = self._accounts.streams().get(line.name, {})
        return snapshot.capture(line.detector, extra_of(line, tally, asleep=asleep))

    def _copied_between_frames(self, line: Line) -> snapshot.Snapshot | None:
        return self._there(lambda: self._copied(line))

    def _there(self, work: Callable[[], Result]) -> Result | None:
        return run_there(self._between_frames, work, self._stopping.is_set)

    def _path(self, stream: str) -> Path | None:
        return None if self._folder is None else self._folder / file_name(stream)
