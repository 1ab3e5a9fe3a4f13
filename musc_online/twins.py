"""Whether two frames show the same defect, by the distances that the mutual table has anyway.

Two frames labelled anomalous are *twins* if each has its flagged patches found in the other far nearer than
in its references (docs/method.md#events).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId
from musc_online.codes import decode
from musc_online.ring import Measurement, Ring

Values = npt.NDArray[np.float64]

TWIN = 0.78
"""Of the distance to the references: nearer than that, flagged patches show the same thing."""


@dataclass
class Mark:
    """Where an anomalous frame in the ring was flagged, and the mean patch score there."""

    patches: list[int]
    level: float
    foreign: bool
    twins: list[FrameId] = field(default_factory=list)
    """Frames in the ring that share its defect."""


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
