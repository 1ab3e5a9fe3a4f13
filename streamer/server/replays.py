"""At start, and as a stream wakes: the changes since its snapshot, done again as the service did them."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from musc_online import journal, snapshot
from musc_online.arrays import FrameId
from musc_online.detector import Detector
from musc_online.errors import MuscError, SnapshotError
from musc_online.journal import Record
from musc_online.ring import Cut
from musc_online.score import Score
from musc_online.snapshot_file import unreadable
from musc_online.window import without_arrays
from streamer.errors import WireError
from streamer.server.chains import Chain, Refused
from streamer.server.stream import Origin, Stream
from streamer.server.words import Said, answered, say
from streamer.wire.requests import Word

_UNFIT = (MuscError, WireError, AssertionError, *snapshot.UNFIT)


class Listener(Protocol):
    """Hears of changes done again: `streamer.server.telling.Telling`, or nobody."""

    def happened(self, stream: Stream, detector: Detector) -> int:
        """What came about by itself, and last scores; how many of these."""
        ...

    def scores(self, stream: Stream, detector: Detector, scores: list[Score]) -> None:
        """Revisions and finals."""
        ...

    def word(self, stream: Stream, word: Word, said: Said) -> None:
        """What an operator said."""
        ...


class _Nobody:
    """All was told in the run that wrote the journal."""

    def happened(self, stream: Stream, detector: Detector) -> int:
        detector.take_events()
        detector.take_accepted()
        return len(detector.take_finals())

    def scores(self, stream: Stream, detector: Detector, scores: list[Score]) -> None:
        pass

    def word(self, stream: Stream, word: Word, said: Said) -> None:
        pass


_NOBODY = _Nobody()


@dataclass(frozen=True)
class Again:
    """A change done again: its number and kind, the frame's id, the word's answer or how many are final."""

    number: int
    kind: str
    frame_id: FrameId | None = None
    answer: Any = None


@dataclass(frozen=True)
class Untold:
    """Changes of which nobody was told: from number `since` on.

    `listener` hears of each what would have been told, but for the score of a frame; then `done` is called.
    """

    since: int
    listener: Listener
    done: Callable[[Again], None]


class Replay:
    """Does again what a journal holds, as the service did it, and tells nobody what was told.

    Args:
        moved: called before each change.
        untold: who hears of what was not told; None if all was.

    Attributes:
        begins: number of the change that comes first.
        published: scores that were out already, without their arrays, and when they were given.
        waiting: those nobody saw yet, by frame id.
        marked: ids of which the journal, or the history, says that their scores are out.
        changes: how many there were.
    """

    def __init__(
        self,
        stream: Stream,
        detector: Detector,
        was_scored: Callable[[FrameId], bool],
        moved: Callable[[], object] = bool,
        untold: Untold | None = None,
    ) -> None:
        self.begins = 0
        self.published: dict[FrameId, tuple[Score, int]] = {}
        self.waiting: dict[FrameId, Score] = {}
        self.marked: set[FrameId] = set()
        self.changes = 0
        self._stream, self._detector, self._was_scored = stream, detector, was_scored
        self._moved, self._untold = moved, untold
        self._said: dict[FrameId, tuple[Score, int]] = {}

    def apply(self, record: Record) -> None:
        """Do one change again.

        Raises:
            MuscError, WireError: it cannot be done in this ring.
            KeyError, TypeError, ValueError, AttributeError: it is none.
        """
        self._moved()
        fields = record.fields
        if fields["kind"] == "published":
            self._mark(fields["frame_id"])
            return
        number = self.begins + self.changes
        self.changes += 1
        untold = self._untold if self._untold is not None and number >= self._untold.since else None
        done = self._change(number, record, _NOBODY if untold is None else untold.listener)
        if untold is not None:
            untold.done(done)

    def _change(self, number: int, record: Record, listener: Listener) -> Again:
        kind = record.fields["kind"]
        if kind == "frame":
            frame_id = self._frame(record.fields, record.arrays)
            self._come_due(listener)
            return Again(number, "frame", frame_id)
        if kind == "word":
            word = Word(**record.fields["word"])
            said = say(self._detector, word)
            listener.word(self._stream, word, said)
            self._come_due(listener)
            answer = answered(self._stream.name, word, said, self._detector.status())
            return Again(number, "word", answer=answer)
        if kind == "flush":
            scores = self._detector.flush()
            listener.scores(self._stream, self._detector, scores)
            left = listener.happened(self._stream, self._detector)
            return Again(number, "flush", answer=len(scores) + left)
        raise SnapshotError(f"kind: got {str(kind)[:40]!r}, expected frame, word, flush or published")

    def _come_due(self, listener: Listener) -> None:
        listener.happened(self._stream, self._detector)
        if self._detector.revise_due:
            listener.scores(self._stream, self._detector, self._detector.revise())
            listener.happened(self._stream, self._detector)

    def _frame(self, fields: dict[str, Any], arrays: dict[str, Any]) -> FrameId:
        if "fingerprint" in fields:
            snapshot.check_fingerprint(self._detector, fields["fingerprint"])
        frame_id, shape, cut = snapshot.check_id(fields["frame_id"]), fields["shape"], fields["cut"]
        origin = Origin(fields["seq"], int(fields["capture_ns"]), dict(fields["meta"]))
        score = self._detector.step_tokens(
            arrays["tokens"],
            arrays["token"],
            frame_id,
            frame_shape=(int(shape[0]), int(shape[1])),
            contrast=fields["contrast"],
            cut=None if cut is None else Cut(int(cut[0]), bool(cut[1])),
        )
        self._stream.remember(frame_id, origin)
        self._said[frame_id] = (score, int(fields["ns"]))
        if self._was_scored(frame_id):  # the history has its score: killed before that could be noted here
            self._mark(frame_id)
        else:
            self.waiting[frame_id] = score
        return frame_id

    def _mark(self, frame_id: FrameId) -> None:
        self.marked.add(frame_id)
        self.waiting.pop(frame_id, None)
        if frame_id in self._said:
            score, scored_ns = self._said.pop(frame_id)
            self.published[frame_id] = without_arrays(score), scored_ns


@dataclass(frozen=True)
class Replayed:
    """What became of a chain: the number of the next change, bytes kept, and what was refused."""

    number: int
    size: int
    refused: list[Refused]


def replay(found: Chain, again: Replay) -> Replayed:
    """Do a chain's changes again, up to the first that cannot be; what follows it is set aside.

    A last record that was cut short is cut off. The files that are left hold what was done.

    Raises:
        UnreadableError: a file cannot be read just now; they are left as they are.
    """
    number, size, refused = found.begins, 0, list(found.refused)
    again.begins = number
    rest = list(found.files)
    while rest:
        begins, path = rest.pop(0)
        if begins != number:
            refused.append(Refused(path, f"{path}: begins with change {begins}, expected {number}"))
            break
        before = again.changes
        ends, trouble = _replay_file(path, again)
        number += again.changes - before
        if trouble is None:
            _cut_off(path, ends)
            size += ends
            continue
        refused.append(Refused(path, trouble, _copied_aside(path, ends)))
        size += ends
        break
    refused += [Refused(path, f"{path}: follows what could not be replayed") for _, path in rest]
    return Replayed(number, size, refused)


@dataclass(frozen=True)
class Survey:
    """What a chain holds, nothing being done again: ids whose scores are out, number of the next change."""

    published: list[FrameId]
    number: int


def survey(found: Chain) -> Survey:
    """Look through a chain as far as it can be read."""
    published, number = [], found.begins
    with suppress(OSError, *_UNFIT):
        for _, path in found.files:
            for record in journal.records(path, arrays=False):
                if record.fields["kind"] == "published":
                    published.append(snapshot.check_id(record.fields["frame_id"]))
                else:
                    number += record.fields["kind"] != "begin"
    return Survey(published, number)


def _replay_file(path: Path, again: Replay) -> tuple[int, str | None]:
    """How far the file is good, and why not further.

    Raises:
        UnreadableError: it cannot be read just now.
    """
    ends = 0
    try:
        for record in journal.records(path):
            if ends:  # the first says whose file it is
                before = again.changes
                try:
                    again.apply(record)
                except _UNFIT as error:
                    again.changes = before
                    reason = str(error) if isinstance(error, MuscError | WireError) else repr(error)
                    return ends, f"{path}: the change at byte {record.begins} cannot be done again ({reason})"
            ends = record.ends
    except journal.DamagedError as error:
        return ends, str(error)
    except OSError as error:
        raise unreadable(path, error) from None
    return ends, None


def _cut_off(path: Path, ends: int) -> None:
    if path.stat().st_size > ends:
        with path.open("rb+") as file:
            file.truncate(ends)


def _copied_aside(path: Path, ends: int) -> Path:
    """Keep the whole file to look at, and of the file itself what is good."""
    aside = snapshot.set_aside(path)
    with aside.open("rb") as whole, path.open("wb") as good:
        shutil.copyfileobj(whole, good)
        good.truncate(ends)
    return aside
