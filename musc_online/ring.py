"""The ring of recent images: slots, eviction, subsets and the mutual table of nearest distances."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId, Geometry
from musc_online.codes import MISSING, Codes, encode
from musc_online.errors import FrameError
from musc_online.msm import score_codes
from musc_online.nearest import PatchStore


@dataclass(frozen=True, eq=False)
class Measurement:
    """An image measured against the ring and not (yet) part of it."""

    features: Any
    slots: npt.NDArray[np.intp]
    """`[R]` references."""
    forward: Codes
    """`[R, S * D * P]` codes: the image's patches to each reference."""
    backward: Codes
    """`[R, S * D * P]` codes: each reference's patches to the image."""
    cut_short: bool
    """The deadline left references out."""


def table_bytes(capacity: int, geometry: Geometry) -> int:
    """Bytes of the mutual table and of the scratch of one arrival."""
    return capacity * capacity * (geometry.width * 2 + 1) + 2 * capacity * geometry.width * 4


class Ring:
    """Up to `capacity` recent images, each pair's nearest-patch distances kept in both directions.

    Slots never leave the process; ids are the publisher's. Arrivals take the slots in turn and overwrite
    the oldest occupant in place, passing over pinned slots. Slot k belongs to subset `k % n_subsets`.

    Args:
        capacity: number of slots, >= 2.
        n_subsets: 1..capacity.
        score_against: how many subsets an arrival is matched with (None: all), taken in rotation.
        geometry: shape of one image's features.
        store: empty, of the same capacity and geometry.
        interval: (low, high) of the interval average.
    """

    def __init__(
        self,
        *,
        capacity: int,
        n_subsets: int,
        score_against: int | None,
        geometry: Geometry,
        store: PatchStore,
        interval: tuple[float, float],
    ) -> None:
        self.capacity = capacity
        self.n_subsets = n_subsets
        self.score_against = n_subsets if score_against is None else score_against
        self.geometry = geometry
        self.store = store
        self.interval = interval
        self.arrivals = 0
        self.next_slot = 0
        self.next_subset = 0
        self.frame_ids: list[FrameId | None] = [None] * capacity
        self.slot_of: dict[FrameId, int] = {}
        self.pinned: set[int] = set()
        self.table: Codes = np.full((capacity, capacity, geometry.width), MISSING, np.uint16)
        """`[slot, slot, S * D * P]`: `table[i, j]` holds image i's patches' distances to image j."""
        self.measured: npt.NDArray[np.bool_] = np.zeros((capacity, capacity), np.bool_)
        self._forward, self._backward = (np.empty((capacity, *geometry.shape), np.float32) for _ in range(2))

    def __len__(self) -> int:
        return len(self.slot_of)

    @property
    def nbytes(self) -> int:
        """Bytes held: features, mutual table, scratch."""
        own = (self.table, self.measured, self._forward, self._backward)
        return self.store.nbytes + sum(array.nbytes for array in own)

    def upcoming_slot(self) -> int | None:
        """The slot the next arrival takes, whose occupant, if any, is evicted; None: every slot is pinned."""
        for step in range(self.capacity):
            slot = (self.next_slot + step) % self.capacity
            if slot not in self.pinned:
                return slot
        return None

    def free_slot(self) -> int:
        """`upcoming_slot`, where there must be one.

        Raises:
            FrameError: every slot is pinned.
        """
        slot = self.upcoming_slot()
        if slot is None:
            raise FrameError(
                f"ring: all {self.capacity} slots are pinned; forget a frame or raise ring.capacity"
            )
        return slot

    def measure(self, features: Any, deadline: float | None = None) -> Measurement:
        """Match an image both ways against the chosen subsets; the ring does not change.

        The occupant that the image would evict is not among its references.

        Args:
            features: from `store.prepare`.
            deadline: `time.perf_counter()` value after which no further subset is begun; the first
                subset with images in it is always matched, and the next arrival begins with the first
                one that was left out.
        """
        upcoming = self.upcoming_slot()
        slots: list[npt.NDArray[np.intp]] = []
        total, begun, skipped = 0, 0, False
        for step in range(self.score_against):
            others = self._occupied((self.next_subset + step) % self.n_subsets, upcoming)
            late = deadline is not None and total > 0 and time.perf_counter() >= deadline
            skipped = skipped or (late and len(others) > 0)
            if skipped:
                break
            begun = step + 1
            rows = slice(total, total + len(others))
            if len(others):
                self.store.match(features, others, self._forward[rows], self._backward[rows])
            slots.append(others)
            total += len(others)
        self.next_subset = (self.next_subset + begun) % self.n_subsets
        found = np.concatenate(slots) if slots else np.empty(0, np.intp)
        shape = (total, self.geometry.width)
        forward, backward = (encode(side[:total]).reshape(shape) for side in (self._forward, self._backward))
        return Measurement(features, found, forward, backward, skipped)

    def provisional(self, measurement: Measurement) -> npt.NDArray[np.float64] | None:
        """`[P]` scores of a visiting image; None without a reference."""
        if not len(measurement.slots):
            return None
        return score_codes(
            measurement.forward, np.arange(len(measurement.slots)), self.geometry.shape, self.interval
        )

    def admit(self, measurement: Measurement, frame_id: FrameId) -> int:
        """Keep a visiting image in the next slot, evicting its occupant; returns the slot.

        Raises:
            FrameError: the id is in the ring already, or every slot is pinned; nothing has changed then.
        """
        self.check_new(frame_id)
        slot = self.free_slot()
        self.evict(slot)
        self.table[slot, measurement.slots] = measurement.forward
        self.table[measurement.slots, slot] = measurement.backward
        self.measured[slot, measurement.slots] = True
        self.measured[measurement.slots, slot] = True
        self.store.put(slot, measurement.features)
        self.frame_ids[slot] = frame_id
        self.slot_of[frame_id] = slot
        self.next_slot = (slot + 1) % self.capacity
        self.arrivals += 1
        return slot

    def check_new(self, frame_id: FrameId) -> None:
        """Raise FrameError if the id is in the ring."""
        if frame_id in self.slot_of:
            raise FrameError(f"frame_id: got {frame_id!r}, which is in the ring already; expected a new id")

    def slot(self, frame_id: FrameId) -> int:
        """The slot of a frame.

        Raises:
            FrameError: the id is not in the ring.
        """
        if frame_id not in self.slot_of:
            raise FrameError(f"frame_id: got {frame_id!r}, which is not in the ring (evicted, or never kept)")
        return self.slot_of[frame_id]

    def evict(self, slot: int) -> None:
        """Empty a slot: no other image knows its distances any more."""
        frame_id = self.frame_ids[slot]
        if frame_id is None:
            return
        del self.slot_of[frame_id]
        self.frame_ids[slot] = None
        self.pinned.discard(slot)
        self.measured[slot] = False
        self.measured[:, slot] = False
        self.table[slot] = MISSING
        self.table[:, slot] = MISSING

    def references(self, slot: int) -> npt.NDArray[np.intp]:
        """Slots that `slot` was measured against, `[n]`."""
        return np.flatnonzero(self.measured[slot])

    def patch_scores(self, slot: int) -> npt.NDArray[np.float64] | None:
        """`[P]` scores of the image in `slot` over the up-to-date table; None without a reference."""
        references = self.references(slot)
        if not len(references):
            return None
        return score_codes(self.table[slot], references, self.geometry.shape, self.interval)

    def check_invariants(self) -> None:
        """Raise AssertionError if the ring's parts contradict each other."""
        occupied = {slot for slot, frame_id in enumerate(self.frame_ids) if frame_id is not None}
        _require(
            self.slot_of == {self.frame_ids[slot]: slot for slot in occupied}, "slot_of mirrors frame_ids"
        )
        _require(len(self) <= min(self.arrivals, self.capacity), "never more images than arrivals or slots")
        _require(self.pinned <= occupied, "only occupied slots are pinned")
        _require(not self.measured.diagonal().any(), "no image is measured against itself")
        _require(bool((self.measured == self.measured.T).all()), "every pair is measured both ways")
        empty = [slot for slot in range(self.capacity) if slot not in occupied]
        _require(not self.measured[empty].any(), "an empty slot is measured against nothing")
        known = (self.table != MISSING).all(axis=2)
        _require(bool((known == self.measured).all()), "distances are held exactly for the measured pairs")
        _require(bool((self.table == MISSING).all(axis=2)[~self.measured].all()), "no half-written pair")

    def _occupied(self, subset: int, but: int | None) -> npt.NDArray[np.intp]:
        slots = range(subset, self.capacity, self.n_subsets)
        return np.array([slot for slot in slots if slot != but and self.frame_ids[slot] is not None], np.intp)


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(f"ring invariant broken: {rule}")
