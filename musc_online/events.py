"""What happens on a line beyond one frame: repeat, changeover, drift, frozen (docs/method.md#events).

Frames labelled anomalous that are twins (`musc_online/twins.py`) share a defect. A frame is *foreign* if its
patches as a whole are farther from the references than those of normal frames are: it shows another product,
and belongs to the other foreign frames of late whatever its label.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId
from musc_online.ring import Measurement, Ring
from musc_online.score import Region, Score
from musc_online.threshold import FLOOR
from musc_online.twins import Mark, Pair, ask_how_strange, between, is_of_variant, share, shows, visited

Values = npt.NDArray[np.float64]
Kind = Literal["repeat", "changeover", "drift", "frozen"]

FOREIGN = 1.4
FAR, VERY_FOREIGN = 0.55, 2.4
"""A frame shows another product if its median patch score is FOREIGN times that of normal frames and at
least FAR, or VERY_FOREIGN times it: a large defect doubles it, another product is nothing like."""
REPEATED = 3
"""Frames that share a defect, before it is told."""
UNLEARNED = 12
"""Frames of a rare kind of good parts, before it is told that no revision has learned it."""
LAST, MOST = 10, 8
"""A changeover is told once so many of the last labelled arrivals are foreign."""
COPIES = 5
"""Copies in a row, or frames without contrast, before the camera is called frozen."""
CONTRAST = 2.0
"""Standard deviation of a frame's values, of 255, below which it shows nothing: a covered lens."""
RECENT, BEFORE = 20, 40
"""Normal frames whose level is compared, and least number of earlier ones it is compared with."""
UNTAKEN = 256
"""Events kept for a caller who never asks."""
GROUPS = 64
"""Groups remembered; of more, the oldest without a name goes."""


@dataclass(frozen=True)
class Event:
    """Something that subscribers are told.

    Attributes:
        kind: `repeat`, `changeover`, `drift` or `frozen`.
        group: number that names the frames for `accept` and `reject`.
        frame_ids: of the frames that it is about.
        since: the first of them.
        regions: `(x, y, w, h, score)` of the last one, in pixels of its frame.
        name: of the group, where it has one.
    """

    kind: Kind
    group: int
    frame_ids: tuple[FrameId, ...]
    since: FrameId
    regions: tuple[Region, ...] = ()
    name: str | None = None


@dataclass
class Group:
    """Frames that belong together; `name` once an operator rejected them as a known defect."""

    kind: Kind
    frame_ids: list[FrameId] = field(default_factory=list)
    name: str | None = None
    told: bool = False
    accepted: bool = False
    """An operator said that its frames are good, and so are later ones like them."""


class Events:
    """Watches one stream; every method is called by its detector alone.

    Args:
        seen: from the number of a frame's patches to those `[n]` that are not ignored; all by default.
    """

    def __init__(self, seen: Callable[[int], npt.NDArray[np.intp]] = np.arange) -> None:
        self._seen = seen
        self.marks: dict[FrameId, Mark] = {}
        self.groups: dict[int, Group] = {}
        self.next_group = 1
        self.waiting: deque[Event] = deque(maxlen=UNTAKEN)
        """Events that nobody has taken yet."""
        self.levels: deque[float] = deque(maxlen=RECENT + 5 * BEFORE)
        """Raw scores of the last frames that were normal on arrival."""
        self.last: deque[tuple[FrameId, bool]] = deque(maxlen=LAST)
        """The last arrivals with a label, and whether each was foreign."""
        self.before: FrameId | None = None
        """The last arrival, copies excepted that were not kept."""
        self.copies: list[FrameId] = []
        """The run of copies that the last arrival is part of."""
        self.typical: deque[float] = deque(maxlen=100)
        """Median patch scores of the last normal frames."""
        self.drifted = self.frozen = False

    def known_defect(self, ring: Ring, measurement: Measurement) -> str | None:
        """Name of the rejected defect that a visiting frame shows: its flagged patches are found in it."""
        for group in self.groups.values():
            if group.name is not None and any(
                shows(mark, pair[1]) for mark, pair in self._met(ring, measurement, group)
            ):
                return group.name
        return None

    def is_accepted(self, ring: Ring, measurement: Measurement, score: Score) -> bool:
        """Whether a visiting frame that is flagged is flagged for what an operator accepted."""
        if not score.pred_label or score.patch_scores is None:
            return False
        mark = self._mark(score.patch_scores, score)
        return any(
            share(mark, known, pair)
            for group in self.groups.values()
            if group.accepted
            for known, pair in self._met(ring, measurement, group)
        )

    def accept(self, number: int) -> None:
        """The group's frames are good; a changeover is over, of a variant the frames stay known."""
        group = self.groups[number]
        group.accepted, group.name = True, None
        if group.kind == "changeover":
            del self.groups[number]
            for frame_id in group.frame_ids:
                self._unmark(frame_id)
            self.levels.clear()  # what was usual is no measure any more
            self.last.clear()
            self.typical.clear()

    def is_copy(self, ring: Ring, measurement: Measurement) -> bool:
        """Whether a visiting frame shows what the one before it showed; the ring is as before it."""
        pair = None if self.before is None else visited(ring, measurement, self.before)
        return pair is not None and bool(pair[0].max() < FLOOR)

    def arrive(
        self, ring: Ring, score: Score, *, is_copy: bool = False, contrast: float | None = None
    ) -> None:
        """Take note of an arrival, whether it is in the ring now or was kept out.

        Args:
            ring: as it is now.
            score: the provisional one, with its patch scores.
            is_copy: what `is_copy` said before.
            contrast: standard deviation of its values (`contrast_of`); None where it is not known.
        """
        if score.frame_id in self.marks:  # of an earlier frame of the same id
            self.clear(score.frame_id)
        self._forget_evicted(ring, score.frame_id)
        self._look_for_copies(score, is_copy or (contrast is not None and contrast < CONTRAST))
        if score.frame_id in ring.slot_of or not is_copy:
            self.before = score.frame_id
        patches = score.patch_scores
        if patches is None or score.raw_score is None or score.pred_label is None:
            return
        foreign = self._is_foreign(patches)
        if score.pred_label or foreign:
            self._group(ring, score, self._mark(patches, score))
        else:
            self.typical.append(self._middle(patches))
            self.levels.append(score.raw_score)
            self._look_for_drift(score)
        self.last.append((score.frame_id, foreign))
        self._look_for_changeover(score)

    def flag(self, ring: Ring, score: Score, patches: Values, *, defect: bool = False) -> None:
        """A revision condemned a frame that had passed: it is compared as an arrival is.

        Args:
            ring: as it is now.
            score: what was said of it last.
            patches: its `[P]` patch scores.
            defect: whether an operator said so.
        """
        if score.frame_id not in self.marks and score.threshold is not None:
            mark = self._mark(patches, score)
            mark.defect = defect
            self._group(ring, score, mark)

    def confirm(self, frame_id: FrameId) -> None:
        """An operator says that the frame has a defect."""
        if frame_id in self.marks:
            self.marks[frame_id].defect = True

    def clear(self, frame_id: FrameId) -> None:
        """The frame is normal after all."""
        self._unmark(frame_id)
        for group in self.groups.values():
            if frame_id in group.frame_ids:
                group.frame_ids.remove(frame_id)

    def twins(self, ring: Ring, frame_id: FrameId) -> list[FrameId]:
        """Frames in the ring that share an anomalous frame's defect; none for a foreign frame, which is alike
        its kind all over and may be a variant of the product, and none for one of a variant.
        """
        mark = self.marks.get(frame_id)
        if mark is None or mark.foreign or not mark.twins:
            return []
        accepted = {known for group in self.groups.values() if group.accepted for known in group.frame_ids}
        return [] if frame_id in accepted or is_of_variant(self.marks, ring, frame_id) else mark.twins

    def foreign(self, frame_id: FrameId) -> list[FrameId]:
        """The other foreign frames in the ring, if this one is foreign."""
        mark = self.marks.get(frame_id)
        if mark is None or not mark.foreign:
            return []
        return [known for known, other in self.marks.items() if other.foreign and known != frame_id]

    def _unmark(self, frame_id: FrameId) -> None:
        mark = self.marks.pop(frame_id, None)
        for twin in mark.twins if mark is not None else []:
            if twin in self.marks:
                self.marks[twin].twins.remove(frame_id)

    def changeovers(self, enough: int) -> list[int]:
        """Numbers of the changeovers that were told, were not rejected, and have at least `enough` frames."""
        return [
            number
            for number, group in self.groups.items()
            if group.kind == "changeover"
            and group.told
            and group.name is None
            and len(group.frame_ids) >= enough
        ]

    def take(self) -> list[Event]:
        """Events since last asked."""
        taken = list(self.waiting)
        self.waiting.clear()
        return taken

    def _met(self, ring: Ring, measurement: Measurement, group: Group) -> Iterator[tuple[Mark, Pair]]:
        """A group's frames, and a visiting one and each of them; where only the nearest were matched the
        newest few of the group are now, for it is known by what it shows, not by what the frame looks like.
        """
        for frame_id in group.frame_ids:
            mark, now = self.marks.get(frame_id), frame_id in group.frame_ids[-REPEATED:]
            pair = None if mark is None else visited(ring, measurement, frame_id, now=now)
            if mark is not None and pair is not None:
                yield mark, pair

    def _mark(self, patches: Values, score: Score) -> Mark:
        limit, foreign = score.threshold or 0.0, self._is_foreign(patches)
        seen = self._seen(len(patches))
        flagged = seen[(patches[seen] >= min(limit, patches[seen].max())) | foreign]
        return Mark([int(patch) for patch in flagged], float(patches[flagged].mean()), foreign)

    def _is_foreign(self, patches: Values) -> bool:
        if not self.typical:
            return False
        usual = max(FLOOR, float(np.median(self.typical)))  # copies are as near to each other as can be
        return self._middle(patches) >= max(FOREIGN * usual, min(FAR, VERY_FOREIGN * usual))

    def _middle(self, patches: Values) -> float:
        return float(np.median(patches[self._seen(len(patches))]))

    def _group(self, ring: Ring, score: Score, mark: Mark) -> None:
        """Keep a frame's mark, and join it with the frames that share its defect, or its product."""
        self.marks[score.frame_id] = mark
        if score.frame_id not in ring.slot_of:  # kept out: nothing will ever be compared with it
            return
        if mark.foreign:
            before = [known for known, foreign in self.last if foreign and known in ring.slot_of]
            before = [known for known in before if known != score.frame_id]
            self._join("changeover", before, score.frame_id)
            return
        mark.twins = [
            frame_id
            for frame_id, other in self.marks.items()
            if frame_id != score.frame_id
            and not other.foreign
            and share(mark, other, between(ring, score.frame_id, frame_id))
        ]
        for twin in mark.twins:
            self.marks[twin].twins.append(score.frame_id)
        if mark.twins:
            seen = self._seen(math.prod(ring.geometry.frame_grid))
            ask_how_strange(self.marks, ring, score.frame_id, seen)
            number = self._join("repeat", mark.twins, score.frame_id)
            group = self.groups[number]
            enough = UNLEARNED if is_of_variant(self.marks, ring, score.frame_id) else REPEATED
            if len(group.frame_ids) >= enough and not group.told:
                self._tell(group, number, score)

    def _join(self, kind: Kind, others: list[FrameId], frame_id: FrameId) -> int:
        """Put a frame into the group that most of `others` are in, or into a new one with them."""
        shared, number = max(
            (
                (sum(other in group.frame_ids for other in others), number)
                for number, group in self.groups.items()
                if group.kind == kind
            ),
            default=(0, 0),
        )
        if not shared:
            number = self._new_group(Group(kind, list(others)))
        self.groups[number].frame_ids.append(frame_id)
        return number

    def _new_group(self, group: Group) -> int:
        number = self._number()
        self.groups[number] = group
        while len(self.groups) > GROUPS:  # never the new one: it is the last
            unnamed = (known for known, held in self.groups.items() if held.name is None and known != number)
            del self.groups[next(unnamed, next(iter(self.groups)))]
        return number

    def _number(self) -> int:
        number = self.next_group
        self.next_group += 1
        return number

    def _tell(self, group: Group, number: int, score: Score) -> None:
        group.told = True
        ids = tuple(group.frame_ids)
        self.waiting.append(Event(group.kind, number, ids, ids[0], tuple(score.regions), group.name))

    def _look_for_changeover(self, score: Score) -> None:
        if sum(is_foreign for _, is_foreign in self.last) < MOST:
            return
        for number, group in self.groups.items():
            if group.kind == "changeover" and score.frame_id in group.frame_ids and not group.told:
                self._tell(group, number, score)

    def _look_for_drift(self, score: Score) -> None:
        """Whether the level of the last normal frames has left where most earlier ones were."""
        if len(self.levels) < RECENT + BEFORE:
            return
        levels = np.array(self.levels)
        recent, before = float(np.median(levels[-RECENT:])), levels[:-RECENT]
        low, high = np.quantile(before, (0.1, 0.9))
        if low <= recent <= high:
            self.drifted = False
        elif not self.drifted:
            self.drifted = True
            self._tell(Group("drift", [score.frame_id]), self._number(), score)

    def _look_for_copies(self, score: Score, is_copy: bool) -> None:
        if not is_copy:
            self.copies, self.frozen = [score.frame_id], False
            return
        self.copies = [*self.copies, score.frame_id][-GROUPS:]
        if len(self.copies) >= COPIES and not self.frozen:
            self.frozen = True
            self._tell(Group("frozen", self.copies), self._number(), score)

    def _forget_evicted(self, ring: Ring, arrived: FrameId) -> None:
        gone = [known for known in self.marks if known not in ring.slot_of and known != arrived]
        for frame_id in gone:
            self._unmark(frame_id)
        for number, group in list(self.groups.items()):
            group.frame_ids = [known for known in group.frame_ids if known not in gone]
            if not group.frame_ids:
                del self.groups[number]

    def state(self) -> dict[str, Any]:
        """For a snapshot: JSON types."""
        return {
            "marks": [[frame_id, asdict(mark)] for frame_id, mark in self.marks.items()],
            "groups": [[number, asdict(group)] for number, group in self.groups.items()],
            "next_group": self.next_group,
            "levels": list(self.levels),
            "last": [list(entry) for entry in self.last],
            "before": self.before,
            "copies": self.copies,
            "typical": list(self.typical),
            "flags": [self.drifted, self.frozen],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over `state()`."""
        self.marks = {frame_id: Mark(**mark) for frame_id, mark in state["marks"]}
        self.groups = {int(number): Group(**group) for number, group in state["groups"]}
        self.next_group = int(state["next_group"])
        self.levels.extend(state["levels"])
        self.last.extend((frame_id, bool(foreign)) for frame_id, foreign in state["last"])
        self.before, self.copies = state["before"], list(state["copies"])
        self.typical.extend(state["typical"])
        self.drifted, self.frozen = state["flags"]


def contrast_of(frame: npt.NDArray[np.uint8]) -> float:
    """Standard deviation, 0..128, of a frame `[H, W, 3]` uint8, by every eighth row and column."""
    return float(frame[:: min(8, frame.shape[0]), :: min(8, frame.shape[1])].std(axis=(0, 1)).max())
