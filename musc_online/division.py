"""Good and defective frames told apart where many are defective: what the rule `auto` adds to the scores.

In mutual scoring defective frames support one another, so where they are many their scores sink into those of
the good ones. Against the *core*, the half of the window with the lowest scores, they stand out again. But so
does a second kind of good parts. What tells them apart is that a defective frame is a good one with something
added: good frames find their patches in it as well as in one another. A frame of another kind lacks them.

Ours; the paper has no threshold (docs/method.md#the-division, with figures).
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from musc_online.codes import Codes
from musc_online.msm import of_finest_degree, score_codes
from musc_online.parallel import spread
from musc_online.retrieval import exact_products
from musc_online.ring import Ring
from musc_online.threshold import FLOOR, MAJORITY, two_groups

Values = npt.NDArray[np.float64]
Slots = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Levels = Callable[[Sequence[Slots], Sequence[int] | None], Values]
ImageScores = Callable[[Values, Sequence[int]], Values]
"""`[n, P]` patch scores of frames in n slots to `[n]` image scores."""

ENOUGH = 45
"""Frames from which on the window is divided: of fewer, two kinds of good parts pass for good and defective
ones."""
WORST = 0.01
"""Share of a frame's patches whose mean says how far it is from others."""
PARTNERS = 28
"""Frames that one is compared with, at most: those of the window that look most like it."""
LEAST_CORE = 4
"""Frames of the core, or those with the lowest scores, that one is compared with at least."""
SEPARATION = 4.0
"""Distance of the groups' means, in standard deviations within them, at least: less than for scores alone."""
AGREEMENT = 0.85
"""F1 with which a limit on the raw scores divides the window in the same groups, at least."""
COMPARED = 3
"""Partners of either group that a frame of the lower one needs, to say which explains it better."""
WITNESSES = 8
"""Frames of the lower group that can say it, at least, and at least half of that group."""
LIKE_OWN = 0.08
"""How much worse the upper group explains the lower one than that does itself, at most: by so much, as a
logarithm, a good frame's score may be higher against defective frames than against as many good ones."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames that are divided, oldest first.

    `slots` n of them; `raw` `[n]` their raw scores; `good` `[n]` whether an operator called a frame good;
    `class_tokens` `[n, D]`; `image_scores` says what patch scores against some of the others are worth as a
    whole.
    """

    slots: Sequence[int]
    raw: Values
    good: Mask
    class_tokens: npt.NDArray[np.float32]
    image_scores: ImageScores


def limit(ring: Ring, frames: Frames) -> float:
    """The raw score that parts good from defective frames; infinite where they are not seen to be both.

    Args:
        ring: in which the frames are; pairs that it has not matched yet are matched.
        frames: of the window, without those that an operator called defects.
    """
    if len(frames.slots) < ENOUGH:
        return math.inf
    partners = _partners(ring, frames)
    return divide(frames.raw, frames.good, partners, _Compared(ring, frames, partners).levels)


def divide(raw: Values, good: Mask, partners: Sequence[Slots], levels: Levels) -> float:
    """`limit` of n frames, whatever their scores against each other are.

    Args:
        raw: `[n]` raw scores.
        good: `[n]`, who was called good.
        partners: of each frame the places of those it is compared with, most alike first.
        levels: says of frames, all by default, how far they are from some of their partners, as logarithms.
    """
    if len(raw) < ENOUGH or min(map(len, partners)) < LEAST_CORE:
        return math.inf
    upper = _upper_group(levels([_of_core(own, raw) for own in partners], None))
    if upper is None or 2 * int((upper & good).sum()) >= int(upper.sum()):
        return math.inf
    parting, agreement = _closest_limit(raw, upper)
    if agreement < AGREEMENT or not _explains(levels, partners, upper):
        return math.inf
    return max(FLOOR, parting)


def _partners(ring: Ring, frames: Frames) -> list[Slots]:
    """For each frame the places among `frames` of those it is compared with, most alike first."""
    place = np.full(ring.n_slots, -1)
    place[list(frames.slots)] = np.arange(len(frames.slots))
    of = ring.supporters if ring.quarantined else ring.references  # the same, but the latter is kept
    found = [place[of(slot)] for slot in frames.slots]
    found = [partners[partners >= 0] for partners in found]
    if not ring.by_likeness:
        likeness = exact_products(frames.class_tokens)
        found = [np.sort(partners) for partners in found]
        found = [
            own[np.argsort(-near[own], kind="stable")] for own, near in zip(found, likeness, strict=True)
        ]
    return [partners[:PARTNERS] for partners in found]


def _of_core(partners: Slots, raw: Values) -> Slots:
    """Those partners that are among the better half of all frames; the best few where they are fewer."""
    core = partners[raw[partners] <= np.sort(raw)[(len(raw) - 1) // 2]]
    return (
        core if len(core) >= LEAST_CORE else partners[np.argsort(raw[partners], kind="stable")[:LEAST_CORE]]
    )


def _upper_group(levels: Values) -> Mask | None:
    """`[n]`: who is in the upper of two groups of `[n]` levels; None where there are no two far apart."""
    groups = two_groups(np.sort(levels))
    if groups is None or groups.lower < MAJORITY or groups.distance < SEPARATION:
        return None
    upper: Mask = levels > groups.last
    return upper


def _closest_limit(raw: Values, upper: Mask) -> tuple[float, float]:
    """The limit on `[n]` raw scores that agrees best with a group, the highest of equals, and its F1."""
    best, agreement = math.inf, 0.0
    for low, high in itertools.pairwise(np.unique(raw)):
        between = (low + high) / 2
        above = raw >= between
        f1 = 2 * int((above & upper).sum()) / int(above.sum() + upper.sum())
        if f1 >= agreement:
            best, agreement = float(between), f1
    return best, agreement


def _explains(levels: Levels, partners: Sequence[Slots], upper: Mask) -> bool:
    """Whether frames of the lower group find their patches in the upper one as well as in their own."""
    witnesses, own, others = [], [], []
    for at in np.flatnonzero(~upper).tolist():
        mine, theirs = partners[at][~upper[partners[at]]], partners[at][upper[partners[at]]]
        count = min(len(mine), len(theirs))
        if count >= COMPARED:  # as many of either: more would explain more
            witnesses.append(at)
            own.append(mine[:count])
            others.append(theirs[:count])
    if len(witnesses) < max(WITNESSES, int((~upper).sum()) / 2):
        return False
    worse = levels(others, witnesses) - levels(own, witnesses)
    return float(np.median(worse)) <= LIKE_OWN


class _Compared:
    """Frames scored against some of their partners, by the finest degree alone: it shows what is small."""

    def __init__(self, ring: Ring, frames: Frames, partners: Sequence[Slots]) -> None:
        self._ring, self._frames = ring, frames
        self._slots = np.array(frames.slots, np.intp)
        self._partners = [self._slots[own] for own in partners]
        # All that is matched is matched here: the threads below only read.
        self._beside = ring.complete(dict(zip(frames.slots, self._partners, strict=True)))

    def levels(self, against: Sequence[Slots], frames: Sequence[int] | None) -> Values:
        """`[n]` logarithms of frames' image scores, each against some of its partners; None are all."""
        places = range(len(against)) if frames is None else frames
        pairs = zip(places, against, strict=True)
        patches = np.stack(spread(lambda pair: self._patch_scores(*pair), pairs))
        scores = self._frames.image_scores(patches, [self._frames.slots[at] for at in places])
        # Python's own logarithm: NumPy's differs in the last bit from processor to processor.
        return np.array([math.log(max(score, FLOOR)) for score in scores.tolist()])

    def _patch_scores(self, at: int, against: Slots) -> Values:
        slot, others = self._frames.slots[at], self._slots[against]
        codes, rows = self._known(slot, at, others)
        codes, geometry = of_finest_degree(codes[rows], self._ring.geometry)
        return score_codes(codes, np.arange(len(codes)), geometry, self._ring.interval)

    def _known(self, slot: int, at: int, others: Slots) -> tuple[Codes, Slots]:
        if slot not in self._beside:
            return self._ring.table.rows(slot, others)
        rows = [int(np.flatnonzero(self._partners[at] == other)[0]) for other in others]
        return self._beside[slot], np.array(rows, np.intp)
