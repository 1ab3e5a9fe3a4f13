"""Whether two frames show the same defect, by the distances that the mutual table has anyway.

Two frames labelled anomalous are *twins* if each has its flagged patches found in the other far nearer than
in its references (docs/method.md#events). They share a defect, or are good parts of a rare kind: a *variant*.
A frame with a defect is a good one but for some patches, and with something added: other good frames find
most of their patches in it, or all, as well as in any good frame. To a variant they are farther in their
worst patches and in the usual ones: it is *strange* to them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId
from musc_online.codes import decode
from musc_online.msm import of_finest_degree
from musc_online.ring import Measurement, Ring
from musc_online.threshold import FLOOR

Values = npt.NDArray[np.float64]

TWIN = 0.78
"""Of the distance to the references: nearer than that, flagged patches show the same thing."""
STRANGE = 1.19
"""How much farther good frames are from a variant than from one another, at least."""
SCATTERED = 0.5
"""Share of a variant's frames that come right after another one of it, at most: between parts of a rare kind
come others, while a tool that broke stays broken."""
KIN = 3
"""Frames that look alike before they can be a variant."""
WORST = 0.01
"""Share of a frame's patches that are its worst."""
GOOD = 28
"""Good frames that are asked, those that look most like the one in question."""


@dataclass
class Mark:
    """Where an anomalous frame in the ring was flagged, and the mean patch score there."""

    patches: list[int]
    level: float
    foreign: bool
    twins: list[FrameId] = field(default_factory=list)
    """Frames in the ring that share its defect."""
    strange: float = 0.0
    """How strange it is to good frames (`strangeness`), asked once it has kin; 0 before."""
    defect: bool = False
    """Whether an operator said that it has a defect."""


Pair = tuple[Values, Values]
"""`[P]` distances of one frame's patches to another, and of the other's to the one."""


def shows(mark: Mark, distances: Values) -> bool:
    """Whether what was flagged in a frame is found again at these `[P]` distances of its patches."""
    return bool(distances[mark.patches].mean() <= TWIN * mark.level)


def share(mark: Mark, other: Mark, pair: Pair | None) -> bool:
    """Whether two frames share a defect: what was flagged in each is found in the other."""
    return pair is not None and shows(mark, pair[0]) and shows(other, pair[1])


def visited(ring: Ring, measurement: Measurement, frame_id: FrameId, *, now: bool = False) -> Pair | None:
    """A visiting frame and one in the ring; None if they were not matched, nor can be `now`."""
    slot = ring.slot_of.get(frame_id)
    codes = None if slot is None else ring.visit(measurement, slot, now=now)
    return None if codes is None else (_distances(ring, codes[0]), _distances(ring, codes[1]))


def between(ring: Ring, frame_id: FrameId, other: FrameId) -> Pair | None:
    """Two frames in the ring; None if one is not, or they were not matched."""
    one, two = ring.slot_of.get(frame_id), ring.slot_of.get(other)
    pair = None if one is None or two is None else ring.pair(one, two)
    return None if pair is None else (_distances(ring, pair[0]), _distances(ring, pair[1]))


def _distances(ring: Ring, codes: npt.NDArray[np.uint16]) -> Values:
    """`[S * D * P]` codes of one pair to `[P]` distances, mean over stages and degrees."""
    return ring.geometry.per_patch(decode(codes).astype(np.float64))


def is_variant(marks: Sequence[Mark], places: Sequence[int]) -> bool:
    """Whether frames that share something are good parts of a rare kind, not parts with the same defect.

    Args:
        marks: of them.
        places: where they stand among all frames in order of arrival, ascending.
    """
    if len(marks) < KIN or any(mark.defect for mark in marks):
        return False
    in_a_row = sum(later - earlier == 1 for earlier, later in pairwise(places))
    strange = float(np.median([mark.strange for mark in marks])) >= STRANGE
    return strange and in_a_row <= SCATTERED * (len(places) - 1)


def kin(marks: Mapping[FrameId, Mark], ring: Ring, frame_id: FrameId) -> dict[FrameId, int]:
    """A frame, its twins and theirs, and where each stands in the ring's order of arrival."""
    twins = marks[frame_id].twins
    alike = {frame_id, *twins, *(one for twin in twins for one in marks[twin].twins)}
    return {one: place for place, one in enumerate(ring.slot_of) if one in alike}


def is_of_variant(marks: Mapping[FrameId, Mark], ring: Ring, frame_id: FrameId) -> bool:
    """Whether a frame and its kin are good parts of a rare kind."""
    places = kin(marks, ring, frame_id)
    return is_variant([marks[one] for one in places], list(places.values()))


def ask_how_strange(
    marks: Mapping[FrameId, Mark], ring: Ring, frame_id: FrameId, seen: npt.NDArray[np.intp]
) -> None:
    """Of a frame and its kin, once they are enough: of a frame without kin nobody needs to know."""
    alike = kin(marks, ring, frame_id)
    for one in alike if len(alike) >= KIN else []:
        if not marks[one].strange:
            marks[one].strange = strangeness(ring, ring.slot_of[one], seen)


def strangeness(ring: Ring, slot: int, seen: npt.NDArray[np.intp]) -> float:
    """How much farther the patches of good frames are from a frame than from one another.

    Good frames are its references, those of which are asked that it looks most like. Each says how far its
    patches are from the frame, over how far they are from its own references, one at a time: the median of
    these distances, by the finest degree. It says so of its worst patches and of its median one, and the
    result is the smaller of what most say: where one part covers what others show, its worst patches are far
    and the rest is as ever.

    Args:
        ring: with the frame in it.
        slot: the frame's.
        seen: patches `[n]` that are not ignored; what pads a frame counts as any other patch.

    Returns:
        0 or more, about 1 for a good frame; 0 where there is nobody to ask.
    """
    said = []
    for good in _most_like(ring, slot):
        others = ring.references(good)
        others = others[others != slot]
        if len(others):
            levels = _levels(ring, good, np.append(others, slot), seen)
            said.append(levels[-1] / np.median(levels[:-1], axis=0))
    return float(np.median(said, axis=0).min()) if said else 0.0


def _most_like(ring: Ring, slot: int) -> list[int]:
    """Slots of the references in which a frame finds its patches best, at most so many as are asked."""
    references = ring.references(slot)
    if len(references) > GOOD:
        codes = ring.codes(slot, references)
        means = codes.mean(axis=1, dtype=np.float64)  # whole numbers: exact in any order
        references = references[np.argsort(means, kind="stable")[:GOOD]]
    return [int(one) for one in references]


def _levels(ring: Ring, slot: int, others: npt.NDArray[np.intp], seen: npt.NDArray[np.intp]) -> Values:
    """`[n, 2]`: means of a frame's worst distances to each of n others, and medians of all its distances."""
    codes, geometry = of_finest_degree(ring.codes(slot, others), ring.geometry)
    patches = np.sort(geometry.each_per_patch(decode(codes).astype(np.float64))[:, seen], axis=1)
    worst = patches[:, -max(1, int(WORST * len(seen))) :].mean(axis=1)
    levels: Values = np.maximum(np.stack([worst, np.median(patches, axis=1)], axis=1), FLOOR)
    return levels
