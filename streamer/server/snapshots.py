"""Every stream's ring on disk: when it is written, what else must be known to go on, what is refused."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import structlog

from musc_online import snapshot
from musc_online.detector import Detector
from musc_online.errors import CapacityError, SnapshotError, UnreadableError
from streamer.errors import WireError
from streamer.server.journals import Journal, beginning, files, stem_of
from streamer.server.outbox import Outbox
from streamer.server.outcomes import LastFrame, Ledger, Tally
from streamer.server.replays import Chain, Refused, Replay, chain, replay, survey
from streamer.server.snapshot_files import (
    SUFFIX,
    Kept,
    SnapshotTally,
    add_maps,
    bound_meta,
    extra_of,
    file_name,
    header_of,
    joined,
    newest_first,
    summary,
)
from streamer.server.stream import Stream
from streamer.server.streams import Streams
from streamer.server.threads import Worker, run_there
from streamer.wire.frame import NO_STREAM

log = structlog.get_logger()

_BESIDE_RING = 2 * 2**30
# Bytes of a snapshot besides what `ring.max_bytes` bounds: ids, `meta`, scores on their way out.
_UNKNOWN = "of before the precision was noted: taken as computed in the one that is configured now"
_META = "the oldest frames' meta is beyond what a snapshot holds: after a restart their revisions echo none"

Job = Callable[[], None]
Copied = Callable[[Stream], snapshot.Snapshot | None]
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
        self._between_frames = between_frames
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()
        self._due = threading.Event()
        self._journals, self._durable = journals

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

        def copied(stream: Stream) -> snapshot.Snapshot | None:
            return self._there(lambda: self._copied(stream, asleep=True) if due(stream) else None)

        def release_if_still_due() -> None:
            if due(stream) and not stream.unsaved:
                release(stream)

        with self._one_at_a_time:
            if self._write(stream, copied) is not None:
                self._there(release_if_still_due)

    def restore(self, stream: Stream) -> dict[str, Any] | None:
        """Put a stream's snapshot, if there is one, into its new detector; in the thread that owns it.

        Returns:
            The tally of then; None where nothing was restored. What is damaged or foreign is set aside.

        Raises:
            CapacityError: the ring does not fit in `ring.max_bytes`; the file is left.
            UnreadableError: the file cannot be read just now; it is left.
        """
        path = self._path(stream.name)
        if path is None or stream.detector is None or stream.emptied:
            return None
        saved = self._read(stream, path)
        kept = None if saved is None else saved[1]
        found = self._chain(stream, path, None if kept is None else kept.number)
        if found.empty and saved is not None:  # of before a reset that was cut off by a kill
            path.unlink(missing_ok=True)
            saved = kept = None
        if saved is not None:
            kept = self._restore_snapshot(stream, stream.detector, path, *saved)
            if kept is None:
                found = found.without("follows a snapshot that was refused")
        if kept is None and stream.asleep and not found.files:
            stream.forget_scored()
        return self._replay(stream, stream.detector, found, kept)

    def _read(self, stream: Stream, path: Path) -> tuple[snapshot.Snapshot, Kept] | None:
        """A stream's snapshot; None where there is none that can be used."""
        try:
            if not snapshot.exists(path):
                if stream.asleep and not files(path.parent, _stem(path)):
                    self._tally.lost(path, stream.name)
                return None
            saved = snapshot.read(path, int(stream.config.ring.max_bytes) + _BESIDE_RING)
            return saved, Kept(saved.state["extra"], stream.name, saved.arrays)
        except SnapshotError as error:
            self._tally.refused(path, stream.name, str(error))
        except KeyError as error:
            self._tally.refused(path, stream.name, f"{path}: has no {error}")
        return None

    def _restore_snapshot(
        self, stream: Stream, detector: Detector, path: Path, saved: snapshot.Snapshot, kept: Kept
    ) -> Kept | None:
        try:
            snapshot.restore(detector, saved)
        except SnapshotError as error:
            self._tally.refused(path, stream.name, str(error))
            return None
        except MemoryError:
            raise CapacityError(f"{path}: there is no memory for its ring") from None
        if saved.state["fingerprint"].get("precision") is None and detector.precision is not None:
            log.warning("snapshot_precision_unknown", stream=stream.name, text=_UNKNOWN, file=path.name)
        stream.resume(kept.scored, kept.unpublished, kept.origins)
        known = set(kept.scored)
        stream.resume_replayed((), [score for score in kept.waiting if score.frame_id not in known])
        self._tally.restored(stream.name, detector.status()["images"])
        return kept

    def _replay(
        self, stream: Stream, detector: Detector, found: Chain, kept: Kept | None
    ) -> dict[str, Any] | None:
        """Do again what came since; the tally of then, None where there is nothing of before."""
        again = Replay(stream, detector, stream.was_scored)
        done = replay(found, again)
        self._refuse(stream, done.refused)
        stream.resume_replayed(again.published, again.waiting.values(), again.marked)
        if again.changes:
            stream.unsaved = True
            self._tally.replayed(stream.name, again.changes)
        stream.journal = self._journal(
            stream, number=done.number, empty=kept is None and not again.changes, size=done.size
        )
        if kept is None and not again.changes:
            for _, old in found.files:  # of a reset, and nothing came after it
                old.unlink(missing_ok=True)
            return None
        stream.state = detector.status()
        tally = Tally()
        for score, scored_ns in again.published.values():
            tally.score(LastFrame(score.frame_id, scored_ns, score.pred_label))
        return joined(None if kept is None else kept.tally, tally)

    def _chain(self, stream: Stream, path: Path, number: int | None) -> Chain:
        return chain(path.parent, _stem(path), stream.name, number)

    def _refuse(self, stream: Stream, refused: list[Refused]) -> None:
        for one in refused:
            then = "the ring is as it was before it"
            self._tally.refused(one.path, stream.name, one.text, one.aside, then)

    def _journal(self, stream: Stream, *, number: int, empty: bool, size: int = 0) -> Journal | None:
        path = self._path(stream.name)
        if path is None:
            return None
        if stream.journal is not None:
            stream.journal.close()
        made = Journal(
            path.parent,
            _stem(path),
            stream.name,
            writes=self._journals,
            durable=self._durable,
            number=number,
            empty=empty,
            due=self._due.set,
        )
        made.size = size
        return made

    def restore_asleep(self, stream: Stream) -> dict[str, Any] | None:
        """Know a stream that sleeps on by its snapshot's header; returns as `restore` does."""
        path = self._path(stream.name)
        if path is None:
            return None
        try:
            kept, shown = None, {**stream.state, "state": "asleep", "bytes": 0}
            if snapshot.exists(path):  # else there is but a journal, and no room yet for what it holds
                state = header_of(path)
                kept, shown = Kept(state["extra"], stream.name), summary(state)
            found = survey(self._chain(stream, path, None if kept is None else kept.number))
        except SnapshotError as error:
            self._tally.refused(path, stream.name, str(error))
            return None
        except UnreadableError as error:
            log.warning("snapshot_left", stream=stream.name, text=str(error))
            return None
        if kept is not None:
            stream.resume(kept.scored, kept.unpublished, ())
        stream.resume_replayed(found.published, ())
        stream.journal = self._journal(stream, number=found.number, empty=False)
        stream.state = shown
        return joined(None if kept is None else kept.tally, Tally())

    def streams(self) -> Iterator[tuple[str, bool]]:
        """Streams with a snapshot, the newest first, and whether they slept; the unreadable is set aside."""
        if self._folder is None:
            return
        seen = set()
        journals = {stem_of(path): (number, path) for number, path in reversed(files(self._folder))}
        for path in newest_first(self._folder):
            try:
                extra = header_of(path)["extra"]
                seen.add(_stem(path))
                yield extra["stream"], extra.get("asleep") is True and _stem(path) not in journals
            except SnapshotError as error:
                self._tally.refused(path, NO_STREAM, str(error))
            except UnreadableError as error:
                seen.add(_stem(path))
                log.warning("snapshot_left", text=str(error))
        for stem, (number, path) in sorted(journals.items()):
            if stem not in seen:
                yield from self._of_journal(number, path)

    def _of_journal(self, number: int, path: Path) -> Iterator[tuple[str, bool]]:
        """The stream of a journal without a snapshot."""
        try:
            said = beginning(path, number)
            if said is None:
                path.unlink()
            elif _stem(Path(file_name(said.stream))) != stem_of(path):
                raise SnapshotError(f"{path}: says it is of stream '{said.stream}'")
            else:
                yield said.stream, False
        except SnapshotError as error:
            self._tally.refused(path, NO_STREAM, str(error), then="what it holds is not in the ring")
        except OSError as error:
            log.warning("snapshot_left", text=f"{path}: cannot be read just now ({error.strerror})")

    def forget(self, stream: Stream) -> None:
        """Delete the file of a stream that was emptied on purpose; not in the matching thread."""
        path = self._path(stream.name)
        if path is not None:
            with self._one_at_a_time:
                if stream.emptied:  # else a ring of after that was put to sleep meanwhile
                    path.unlink(missing_ok=True)
                    stream.unsaved = True
                    if stream.journal is not None and stream.journal.emptied_at is not None:
                        stream.journal.drop_before(stream.journal.emptied_at)

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
            with self._one_at_a_time:
                facts = self._write(stream, copied)
            if facts is not None:
                written.append(facts)
        return written

    def _write(self, stream: Stream, copied: Copied) -> dict[str, Any] | None:
        path = self._path(stream.name)
        try:
            copy = copied(stream)
            if copy is None or path is None:
                return None
            n_cut = bound_meta(copy.state["extra"])
            if n_cut:
                log.warning("snapshot_meta_left_out", stream=stream.name, frames=n_cut, text=_META)
            snapshot.write(copy, path)
        except Exception as error:  # no room for the copy, a full disk: scoring matters more
            stream.unsaved = True
            self._tally.failed(stream.name, error)
            return None
        if stream.journal is not None:
            stream.journal.drop_before(copy.state["extra"]["journal"])
        return self._tally.written(stream.name, path, copy)

    def _copied(self, stream: Stream, *, asleep: bool = False) -> snapshot.Snapshot | None:
        """The state of a stream, in the thread that owns its detector; None before its first frame."""
        if stream.detector is None or stream.detector.ring is None:
            return None
        stream.unsaved = False
        tally = self._ledger.streams().get(stream.name, {})
        number = 0 if stream.journal is None else stream.journal.rotate()
        waiting = stream.waiting()  # first: what goes out meanwhile is known as scored all the same
        extra = extra_of(stream, tally, waiting, asleep=asleep, number=number)
        copy = snapshot.capture(stream.detector, extra)
        add_maps(copy, waiting)
        return copy

    def _tell_troubles(self) -> None:
        """What the journals could not write, told by a thread that may wait."""
        for stream in self._streams.known():
            trouble = None if stream.journal is None else stream.journal.take_trouble()
            if trouble is not None:
                self._tally.failed(stream.name, SnapshotError(trouble))

    def _copied_between_frames(self, stream: Stream) -> snapshot.Snapshot | None:
        return self._there(lambda: self._copied(stream))

    def _there(self, work: Callable[[], Result]) -> Result | None:
        return run_there(self._between_frames, work, self._stopping.is_set)

    def _path(self, stream: str) -> Path | None:
        return None if self._folder is None else self._folder / file_name(stream)


def _stem(path: Path) -> str:
    """What the names of a snapshot's journals begin with."""
    return path.name.removesuffix(SUFFIX)
