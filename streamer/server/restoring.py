"""Rings that come back from disk, at start and out of sleep: a snapshot, and what came after it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from musc_online import snapshot
from musc_online.detector import Detector
from musc_online.errors import SnapshotError, UnreadableError
from streamer.progress import Progress
from streamer.server.chains import Chain, Refused, chain
from streamer.server.journals import Journal, beginning, files, stem_of
from streamer.server.outcomes import LastFrame, Tally
from streamer.server.replays import Replay, Untold, replay, survey
from streamer.server.snapshot_files import (
    SUFFIX,
    Kept,
    allowed_s,
    file_name,
    header_of,
    joined,
    newest_first,
    summary,
)
from streamer.server.snapshot_tally import SnapshotTally
from streamer.server.stream import Stream
from streamer.wire.frame import NO_STREAM

log = structlog.get_logger()

_BESIDE_RING = 2 * 2**30
# Bytes of a snapshot besides what `ring.max_bytes` bounds: ids, `meta`, scores on their way out.
_UNKNOWN = "of before the precision was noted: taken as computed in the one that is configured now"


class Restorer:
    """Reads what `Snapshots` and journals wrote; what cannot be used is set aside, and told.

    Args:
        folder: of the files; None restores nothing.
        tally: counts and tells.
        journals: whether the streams' journals are written from now on, and whether each change waits for
            the disk. What is on disk is replayed all the same.
        due: called by a journal that wants a snapshot.

    Attributes:
        progress: of who wakes a stream: a large ring takes a slow disk its time, and many changes follow.
        untold: the changes of which nobody was told; None where all that a journal holds was.
    """

    def __init__(
        self, folder: Path | None, tally: SnapshotTally, journals: tuple[bool, bool], due: Callable[[], None]
    ) -> None:
        self._folder, self._tally, self._due = folder, tally, due
        self._journals, self._durable = journals
        self.progress = Progress()
        self.untold: Untold | None = None

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
            with self.progress.step("read a snapshot", allowed_s=allowed_s(_size(path))):
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
        again = Replay(stream, detector, stream.was_scored, self.progress.renew, self.untold)
        done = replay(found, again)
        self._refuse(stream, done.refused)
        earlier = sorted(again.marked - again.published.keys(), key=str)  # waiting in the snapshot
        stream.resume_replayed([*earlier, *again.published], again.waiting.values(), again.marked)
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
        since = None if self.untold is None else self.untold.since
        return chain(path.parent, _stem(path), stream.name, number, since)

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
            due=self._due,
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

    def _path(self, stream: str) -> Path | None:
        return None if self._folder is None else self._folder / file_name(stream)


def _size(path: Path) -> int:
    """Bytes of a file; 0 where that cannot be said, which whoever reads it will."""
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _stem(path: Path) -> str:
    """What the names of a snapshot's journals begin with."""
    return path.name.removesuffix(SUFFIX)
