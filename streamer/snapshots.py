"""Every stream's ring on disk: when it is written, what else must be known to go on, what is refused."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from musc_online import snapshot
from musc_online.errors import SnapshotError
from streamer.accounts import Accounts
from streamer.errors import WireError
from streamer.lines import Line, Lines
from streamer.outbox import Outbox, Outgoing
from streamer.snapshot_files import SUFFIX, Kept, extra_of, file_name, stream_of
from streamer.threads import Worker
from streamer.wire import NO_STREAM

log = structlog.get_logger()

Job = Callable[[], None]

_WAIT_S = 0.1


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
        self._lines, self._accounts, self._outbox = lines, accounts, outbox
        self._between_frames = between_frames
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()
        self._counts = {"written": 0, "failures": 0, "refused": 0, "restored": 0}
        self._saved_ns: int | None = None
        self.failed_text: str | None = None
        """Why the last snapshot could not be written; None once one could."""

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
        before = self._counts["failures"]
        written = self._save(self._lines.known(), self._copied_between_frames)
        if self._counts["failures"] != before:
            raise WireError("snapshot_failed", self.failed_text or "snapshot: a file could not be written")
        return written

    def save_last(self) -> None:
        """Write what changed, once the matching thread has ended."""
        if self._folder is not None:
            self._save(self._changed(), self._copied)

    def restore(self, line: Line) -> dict[str, Any] | None:
        """Put a stream's snapshot, if there is one, into its new detector; in the thread that owns it.

        Returns:
            The tally of then; None where nothing was restored. What is damaged or foreign is set aside.
        """
        path = self._path(line.name)
        if path is None or line.detector is None or line.emptied or not path.exists():
            return None
        try:
            saved = snapshot.read(path)
            kept = Kept(saved.state["extra"], line.name)
            snapshot.restore(line.detector, saved)
        except SnapshotError as error:
            self._refuse(path, line.name, str(error))
            return None
        line.resume(kept.scored, kept.unpublished, kept.origins)
        line.state = line.detector.status()
        self._counts["restored"] += 1
        log.info("snapshot_restored", stream=line.name, images=line.state["images"])
        return kept.tally

    def streams(self) -> Iterator[str]:
        """Streams that have a snapshot, the newest first; what has no readable name is set aside."""
        if self._folder is None:
            return
        files = [path for path in self._folder.iterdir() if path.name.endswith(SUFFIX)]
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                yield stream_of(path)
            except SnapshotError as error:
                self._refuse(path, NO_STREAM, str(error))

    def forget(self, line: Line) -> None:
        """Delete the file of a stream that was emptied on purpose; not in the matching thread."""
        path = self._path(line.name)
        if path is not None:
            with self._one_at_a_time:
                path.unlink(missing_ok=True)
            line.unsaved = True

    def status(self) -> dict[str, Any]:
        """Files written, failed, refused, restored; when the last was written; why the last one failed."""
        folder = None if self._folder is None else str(self._folder)
        return {**self._counts, "saved_ns": self._saved_ns, "failed": self.failed_text, "path": folder}

    def _changed(self) -> list[Line]:
        return [line for line in self._lines.known() if line.unsaved]

    def _save(
        self, lines: list[Line], copied: Callable[[Line], snapshot.Snapshot | None]
    ) -> list[dict[str, Any]]:
        written = []
        for line in lines:
            with self._one_at_a_time:
                path = self._path(line.name)
                try:
                    copy = copied(line)
                    if copy is None or path is None:
                        continue
                    snapshot.write(copy, path)
                except Exception as error:  # no room for the copy, a full disk: scoring matters more
                    line.unsaved = True
                    self._failure(line, error)
                    continue
                written.append(self._saved(line, path, copy))
        return written

    def _saved(self, line: Line, path: Path, copy: snapshot.Snapshot) -> dict[str, Any]:
        self.failed_text = None
        self._counts["written"] += 1
        self._saved_ns = copy.state["saved_ns"]
        facts = {
            "stream": line.name,
            "file": path.name,
            "bytes": sum(array.nbytes for array in copy.arrays.values()),
            "arrivals": copy.state["arrivals"],
        }
        log.info("snapshot_written", **facts)
        return facts

    def _copied(self, line: Line) -> snapshot.Snapshot | None:
        """The state of a stream, in the thread that owns its detector; None before its first frame."""
        if line.detector is None or line.detector.ring is None:
            return None
        line.unsaved = False
        return snapshot.capture(line.detector, extra_of(line, self._accounts.streams().get(line.name, {})))

    def _copied_between_frames(self, line: Line) -> snapshot.Snapshot | None:
        done, given_up = threading.Event(), threading.Event()
        copies: list[snapshot.Snapshot | None] = []
        errors: list[Exception] = []

        def job() -> None:
            try:
                if not given_up.is_set():
                    copies.append(self._copied(line))
            except Exception as error:
                errors.append(error)
            finally:
                done.set()

        self._between_frames(job)
        while not done.wait(_WAIT_S):
            if self._stopping.is_set():
                given_up.set()
                return None
        if errors:
            raise errors[0]
        return copies[0] if copies else None

    def _failure(self, line: Line, error: Exception) -> None:
        text = (
            str(error) if isinstance(error, SnapshotError) else f"snapshot: {type(error).__name__}: {error}"
        )
        self._counts["failures"] += 1
        self.failed_text = text
        log.error("snapshot_failed", stream=line.name, text=text)
        self._tell(line.name, "snapshot_failed", text)

    def _refuse(self, path: Path, stream: str, text: str) -> None:
        try:
            aside = f"set aside as {snapshot.set_aside(path).name}"
        except OSError as error:
            aside = f"could not be set aside ({error.strerror})"
        self._counts["refused"] += 1
        log.error("snapshot_refused", stream=stream, text=text, file=path.name, what_now=aside)
        self._tell(stream, "snapshot_refused", f"{text}; {aside}, the ring starts empty")

    def _tell(self, stream: str, code: str, text: str) -> None:
        header = {"stream": stream, "frame_id": None, "seq": None, "code": code, "text": text}
        self._outbox.put(Outgoing(stream, "error", header))

    def _path(self, stream: str) -> Path | None:
        return None if self._folder is None else self._folder / file_name(stream)
