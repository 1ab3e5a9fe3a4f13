"""The ring of recent images: slots, eviction, subsets and the mutual table of nearest distances."""

import time
from collections.abc import Container
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
    """`[M]` slots it was matched with: references first, then frames in quarantine."""
    n_references: int
    """How many of them are references."""
    forward: Codes
    """`[M, S * D * P]` codes: the image's patches to each of them."""
    backward: Codes
    """`[M, S * D * P]` codes: the patches of each of them to the image."""
    cut_short: bool
    """The deadline left references out."""


def table_bytes(n_slots: int, geometry: Geometry) -> int:
    """Bytes of the mutual table and of the scratch of one arrival."""
    return n_slots * n_slots * (geometry.width * 2 + 1) + 2 * n_slots * geometry.width * 4


class Ring:
    """Up to `capacity` recent images, each pair's nearest-patch distances kept in both directions.

    Slots never leave the process; ids are the publisher's. An arrival takes the first empty slot; once there
    are `capacity` references, the oldest one that is not pinned is evicted first. Slot k belongs to subset
    `k % n_subsets`.

    Beside the references there may be up to `n_quarantine` frames in quarantine: they are matched and
    scored as all are, but nothing is scored against them.

    Args:
        capacity: number of references, >= 2.
        n_subsets: 1..capacity.
        score_against: how many subsets an arrival is matched with (None: all), taken in rotation.
        geometry: shape of one image's features.
        store: empty, of `capacity + n_quarantine` slots and the same geometry.
        interval: (low, high) of the interval average.
        n_quarantine: number of frames in quarantine, >= 0.
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
        n_quarantine: int = 0,
    ) -> None:
        self.capacity, self.n_quarantine = capacity, n_quarantine
        self.n_slots = n_slots = capacity + n_quarantine
        self.n_subsets = n_subsets
        self.score_against = n_subsets if score_against is None else score_against
        self.geometry = geometry
        self.store = store
        self.interval = interval
        self.arrivals = 0
        self.next_subset = 0
        self.frame_ids: list[FrameId | None] = [None] * n_slots
        self.slot_of: dict[FrameId, int] = {}
        """In order of arrival."""
        self.pinned: set[int] = set()
        self.quarantined: set[int] = set()
        self.exemplars: set[int] = set()
        """In quarantine, and kept there."""
        self.table: Codes = np.full((n_slots, n_slots, geometry.width), MISSING, np.uint16)
        """`[slot, slot, S * D * P]`: `table[i, j]` holds image i's patches' distances to image j."""
        self.measured: npt.NDArray[np.bool_] = np.zeros((n_slots, n_slots), np.bool_)
        self._forward, self._backward = (np.empty((n_slots, *geometry.shape), np.float32) for _ in range(2))

    def __len__(self) -> int:
        return len(self.slot_of)

    @property
    def nbytes(self) -> int:
        """Bytes held: features, mutual table, scratch."""
        own = (self.table, self.measured, self._forward, self._backward)
        return self.store.nbytes + sum(array.nbytes for array in own)

    def leaving(self, *, quarantined: bool = False, sparing: Container[int] = ()) -> int | None:
        """The slot that one more reference (or frame in quarantine) empties: of the oldest; None for none.

        Args:
            quarantined: one more in quarantine, not one more reference.
            sparing: slots that stay as they are.

        Raises:
            FrameError: there is no room and nobody who may leave, or there is no quarantine.
        """
        if quarantined:
            if not self.n_quarantine:
                raise FrameError("ring: there is no quarantine; set ring.admit to quarantine")
            if len(self.quarantined) < self.n_quarantine:
                return None
            free = self.quarantined - self.exemplars
            for slot in self.slot_of.values():
                if slot in free and slot not in sparing:
                    return slot
            raise FrameError("ring: nobody may leave quarantine; forget a frame or raise ring.quarantine")
        if len(self.slot_of) - len(self.quarantined) < self.capacity:
            return None
        for slot in self.slot_of.values():
            if slot not in self.pinned and slot not in self.quarantined and slot not in sparing:
                return slot
        raise FrameError(f"ring: all {self.capacity} slots are pinned; forget a frame or raise ring.capacity")

    @property
    def is_full_of_pins(self) -> bool:
        """Whether every reference is pinned and there is no room for another."""
        return len(self.pinned) >= self.capacity

    def measure(self, features: Any, deadline: float | None = None) -> Measurement:
        """Match an image both ways against the chosen subsets; the ring does not change.

        The occupant that the image would evict is not among its references.

        Args:
            features: from `store.prepare`.
            deadline: `time.perf_counter()` value after which no further subset is begun; the first
                subset with images in it is always matched, and the next arrival begins with the first
                one that was left out.
        """
        leaving = None if self.is_full_of_pins else self.leaving()
        slots: list[npt.NDArray[np.intp]] = []
        total, begun, skipped = 0, 0, False
        for step in range(self.score_against):
            others = self._references((self.next_subset + step) % self.n_subsets, leaving)
            skipped = skipped or (total > 0 and len(others) > 0 and _is_over(deadline))
            if skipped:
                break
            begun = step + 1
            total = self._match(features, others, total)
            slots.append(others)
        self.next_subset = (self.next_subset + begun) % self.n_subsets
        n_references = total
        if self.quarantined and not skipped and not (total > 0 and _is_over(deadline)):
            held = np.array(sorted(self.quarantined), np.intp)
            total = self._match(features, held, total)
            slots.append(held)
        found = np.concatenate(slots) if slots else np.empty(0, np.intp)
        shape = (total, self.geometry.width)
        forward, backward = (encode(side[:total]).reshape(shape) for side in (self._forward, self._backward))
        return Measurement(features, found, n_references, forward, backward, skipped)

    def provisional(self, measurement: Measurement) -> npt.NDArray[np.float64] | None:
        """`[P]` scores of a visiting image; None without a reference."""
        if not measurement.n_references:
            return None
        references = np.arange(measurement.n_references)
        return score_codes(measurement.forward, references, self.geometry.shape, self.interval)

    def admit(self, measurement: Measurement, frame_id: FrameId, *, quarantined: bool = False) -> int:
        """Keep a visiting image, evicting whom `leaving` names; returns its slot.

        Raises:
            FrameError: the id is in the ring already, or there is no room; nothing has changed then.
        """
        self.check_new(frame_id)
        leaving = self.leaving(quarantined=quarantined)
        if leaving is not None:
            self.evict(leaving)
        slot = self.frame_ids.index(None)
        # Whoever was evicted just now is known to nobody any more.
        there = [index for index, other in enumerate(measurement.slots) if self.frame_ids[other] is not None]
        others = measurement.slots[there]
        self.table[slot, others] = measurement.forward[there]
        self.table[others, slot] = measurement.backward[there]
        self.measured[slot, others] = True
        self.measured[others, slot] = True
        self.store.put(slot, measurement.features)
        self.frame_ids[slot] = frame_id
        self.slot_of[frame_id] = slot
        self.arrivals += 1
        if quarantined:
            self.quarantined.add(slot)
        return slot

    def move(self, slot: int, *, quarantined: bool) -> None:
        """Make a frame in quarantine a reference, or a reference one in quarantine; room was made before.

        Raises:
            FrameError: there is no room.
        """
        if quarantined == (slot in self.quarantined):
            return
        if self.leaving(quarantined=quarantined) is not None:
            raise FrameError(f"ring: no room for one more {'in quarantine' if quarantined else 'reference'}")
        (self.quarantined.add if quarantined else self.quarantined.discard)(slot)
        self.exemplars.discard(slot)

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
        self.quarantined.discard(slot)
        self.exemplars.discard(slot)
        self.measured[slot] = False
        self.measured[:, slot] = False
        self.table[slot] = MISSING
        self.table[:, slot] = MISSING

    def references(self, slot: int) -> npt.NDArray[np.intp]:
        """Slots of the references that `slot` was measured against, `[n]`."""
        measured = np.flatnonzero(self.measured[slot])
        if not self.quarantined:
            return measured
        return measured[[other not in self.quarantined for other in measured.tolist()]]

    def patch_scores(
        self, slot: int, references: npt.NDArray[np.intp] | None = None
    ) -> npt.NDArray[np.float64] | None:
        """`[P]` scores of the image in `slot` over the up-to-date table; None without a reference.

        Args:
            slot: occupied.
            references: `[n]` slots it was measured against, its references by default.
        """
        references = self.references(slot) if references is None else references
        if not len(references):
            return None
        return score_codes(self.table[slot], references, self.geometry.shape, self.interval)

    def check_invariants(self) -> None:
        """Raise AssertionError if the ring's parts contradict each other."""
        occupied = {slot for slot, frame_id in enumerate(self.frame_ids) if frame_id is not None}
        _require(
            self.slot_of == {self.frame_ids[slot]: slot for slot in occupied}, "slot_of mirrors frame_ids"
        )
        n_references = len(self) - len(self.quarantined)
        _require(len(self) <= self.arrivals, "never more images than arrivals")
        _require(n_references <= self.capacity, "never more references than the capacity")
        _require(len(self.quarantined) <= self.n_quarantine, "never more in quarantine than there is room")
        _require(self.pinned | self.quarantined <= occupied, "only occupied slots are pinned or quarantined")
        _require(not self.pinned & self.quarantined, "what is pinned is a reference")
        _require(self.exemplars <= self.quarantined, "exemplars are in quarantine")
        _require(len(self.exemplars) < max(1, self.n_quarantine), "exemplars leave room in quarantine")
        _require(not self.measured.diagonal().any(), "no image is measured against itself")
        _require(bool((self.measured == self.measured.T).all()), "every pair is measured both ways")
        empty = [slot for slot in range(self.n_slots) if slot not in occupied]
        _require(not self.measured[empty].any(), "an empty slot is measured against nothing")
        known = (self.table != MISSING).all(axis=2)
        _require(bool((known == self.measured).all()), "distances are held exactly for the measured pairs")
        _require(bool((self.table == MISSING).all(axis=2)[~self.measured].all()), "no half-written pair")

    def _references(self, subset: int, but: int | None) -> npt.NDArray[np.intp]:
        slots = range(subset, self.n_slots, self.n_subsets)
        return np.array(
            [
                slot
                for slot in slots
                if slot != but and slot not in self.quarantined and self.frame_ids[slot] is not None
            ],
            np.intp,
        )

    def _match(self, features: Any, others: npt.NDArray[np.intp], done: int) -> int:
        """Match with `others` into the rows after the first `done`; how many rows are done then."""
        rows = slice(done, done + len(others))
        if len(others):
            self.store.match(features, others, self._forward[rows], self._backward[rows])
        return done + len(others)


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.perf_counter() >= deadline


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(f"ring invariant broken: {rule}")
