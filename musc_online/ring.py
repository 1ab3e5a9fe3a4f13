"""The ring of recent images: slots, eviction, subsets and the mutual table of nearest distances."""

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId, Geometry
from musc_online.codes import Codes, encode
from musc_online.errors import FrameError
from musc_online.msm import score_codes
from musc_online.nearest import PatchStore
from musc_online.retrieval import Look
from musc_online.table import DenseTable, Table


class Cut(NamedTuple):
    """How far the matching of an arrival came within its deadline: what has to be known to do it again."""

    subsets: int
    """Begun, those without images too."""
    quarantine: bool
    """Whether it was matched with the frames in quarantine."""


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
    cut_short: bool = False
    """The deadline left references out."""
    cut: Cut | None = None
    """How far it came, where there was a deadline."""
    look: Look | None = None
    """The image's class token, where that chose the references."""


CHUNK = 256
"""Frames matched at once: bounds the scratch, not the result."""


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

    by_likeness = False
    """Whether `references` and `supporters` come in the order of how much they look like the frame."""

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
        self.table: Table = self._empty_table()
        rows = (min(n_slots, CHUNK), *geometry.shape)
        self._forward, self._backward = (np.empty(rows, np.float32) for _ in range(2))

    def __len__(self) -> int:
        return len(self.slot_of)

    @property
    def token_width(self) -> int | None:
        """D of the class tokens, where the ring has looked at one."""
        return None

    @staticmethod
    def price(n_slots: int, geometry: Geometry) -> int:
        """Bytes of the mutual table and of the scratch of a ring."""
        return DenseTable.price(n_slots, geometry.width) + scratch_bytes(n_slots, geometry)

    @property
    def nbytes(self) -> int:
        """Bytes held: features, mutual table, scratch."""
        return self.store.nbytes + self.table.nbytes + self._forward.nbytes + self._backward.nbytes

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

    def measure(
        self,
        features: Any,
        class_token: npt.NDArray[np.float32] | None = None,
        deadline: float | Cut | None = None,
        also: FrameId | None = None,
    ) -> Measurement:
        """Match an image both ways against the chosen subsets; the ring does not change.

        The occupant that the image would evict is not among its references.

        Args:
            features: from `store.prepare`.
            class_token: `[D]`; not looked at here.
            deadline: `time.perf_counter()` value after which no further subset is begun; the first
                subset with images in it is always matched, and the next arrival begins with the first
                one that was left out. Or how far an earlier run came, which this one repeats.
            also: a frame that it may be a copy of; not looked at here.
        """
        leaving = None if self.is_full_of_pins else self.leaving()
        slots: list[npt.NDArray[np.intp]] = []
        found: list[tuple[Codes, Codes]] = []
        begun, skipped = 0, False
        for step in range(self.score_against):
            others = self._references((self.next_subset + step) % self.n_subsets, leaving)
            skipped = skipped or (any(map(len, slots)) and len(others) > 0 and _is_over(deadline, step))
            if skipped:
                break
            begun = step + 1
            found.append(self.match(features, others))
            slots.append(others)
        self.next_subset = (self.next_subset + begun) % self.n_subsets
        n_references = sum(map(len, slots))
        quarantine = not skipped and not (n_references > 0 and _is_over(deadline, None))
        if self.quarantined and quarantine:
            slots.append(np.array(sorted(self.quarantined), np.intp))
            found.append(self.match(features, slots[-1]))
        forward, backward = (np.concatenate([codes[way] for codes in found]) for way in range(2))
        cut = None if deadline is None else Cut(begun, quarantine)
        return Measurement(features, np.concatenate(slots), n_references, forward, backward, skipped, cut)

    def match(self, features: Any, slots: npt.NDArray[np.intp]) -> tuple[Codes, Codes]:
        """An image's codes `[n, S * D * P]` to the frames in `slots`, and theirs to it."""
        shape = (len(slots), self.geometry.width)
        forward, backward = (np.empty(shape, np.uint16) for _ in range(2))
        for first in range(0, len(slots), len(self._forward)):
            part = slots[first : first + len(self._forward)]
            ways = (self._forward[: len(part)], self._backward[: len(part)])
            self.store.match(features, part, *ways)
            for codes, distances in zip((forward, backward), ways, strict=True):
                codes[first : first + len(part)] = encode(distances).reshape(len(part), -1)
        return forward, backward

    def visit(self, measurement: Measurement, slot: int, *, now: bool = False) -> tuple[Codes, Codes] | None:
        """Codes `[S * D * P]` of a visiting image and the frame in `slot` to each other.

        Args:
            measurement: of the image.
            slot: occupied.
            now: match them if they were not; not here, where who is matched is the subsets' affair.

        Returns:
            None if they were not matched.
        """
        rows = np.flatnonzero(measurement.slots == slot)
        return (measurement.forward[rows[0]], measurement.backward[rows[0]]) if len(rows) else None

    def provisional(self, measurement: Measurement) -> npt.NDArray[np.float64] | None:
        """`[P]` scores of a visiting image; None without a reference."""
        if not measurement.n_references:
            return None
        references = np.arange(measurement.n_references)
        return score_codes(measurement.forward, references, self.geometry, self.interval)

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
        self.store.put(slot, measurement.features)
        self.frame_ids[slot] = frame_id
        self.slot_of[frame_id] = slot
        self.arrivals += 1
        if quarantined:
            self.quarantined.add(slot)
        self._enter(slot, measurement, there)
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
        self.table.forget(slot)

    def references(self, slot: int) -> npt.NDArray[np.intp]:
        """Slots of the references that `slot` is scored against, `[n]`."""
        measured = self.supporters(slot)
        if not self.quarantined:
            return measured
        return measured[[other not in self.quarantined for other in measured.tolist()]]

    def supporters(self, slot: int, but: Sequence[int] = ()) -> npt.NDArray[np.intp]:
        """Slots `[n]` that `slot` would be scored against if nobody were in quarantine, `but` some."""
        measured = np.flatnonzero(self._measured[slot])
        return measured[~np.isin(measured, but)] if but else measured

    def pair(self, slot: int, other: int) -> tuple[Codes, Codes] | None:
        """Codes `[S * D * P]` of two frames to each other; None if they were not matched."""
        if not self._measured[slot, other]:
            return None
        codes = self._dense.codes
        return codes[slot, other], codes[other, slot]

    def complete(self, wanted: Mapping[int, npt.NDArray[np.intp]]) -> dict[int, Codes]:
        """Match what is missing before frames are scored against others; here nothing ever is.

        Returns:
            By slot the codes `[n, S * D * P]` to all that are `wanted` of it, where the table has no room.
        """
        return {}

    def codes(self, slot: int, others: npt.NDArray[np.intp]) -> Codes:
        """`[n, S * D * P]` of a frame to others that it may be scored against, matched if need be."""
        beside = self.complete({slot: others})
        if slot in beside:
            return beside[slot]
        codes, rows = self.table.rows(slot, others)
        return codes[rows]

    def patch_scores(
        self, slot: int, references: npt.NDArray[np.intp] | None = None, codes: Codes | None = None
    ) -> npt.NDArray[np.float64] | None:
        """`[P]` scores of the image in `slot` over the up-to-date table; None without a reference.

        Args:
            slot: occupied.
            references: `[n]` slots it was measured against, its references by default.
            codes: `[n, S * D * P]` to these, from `complete`; None for what the table holds.
        """
        references = self.references(slot) if references is None else references
        if not len(references):
            return None
        rows = self.table.rows(slot, references) if codes is None else (codes, np.arange(len(codes)))
        return score_codes(*rows, self.geometry, self.interval)

    def table_state(self) -> dict[str, npt.NDArray[Any]]:
        """What is known of distances, for a snapshot; views, `[n_slots, ...]` each."""
        return self.table.state()

    def restore_table(
        self, state: dict[str, npt.NDArray[Any]], class_tokens: dict[int, npt.NDArray[np.float32]]
    ) -> None:
        """Take over `table_state()` of as many slots or fewer; slots and quarantine are restored.

        Raises:
            KeyError, ValueError: an array is missing, or of another shape or type.
        """
        self.table.restore(state)

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
        self.table.check_invariants(np.array([frame_id is not None for frame_id in self.frame_ids]))

    @property
    def _dense(self) -> DenseTable:
        assert isinstance(self.table, DenseTable)  # noqa: S101 - narrows the type
        return self.table

    @property
    def _measured(self) -> npt.NDArray[np.bool_]:
        return self._dense.measured

    def _empty_table(self) -> Table:
        return DenseTable(self.n_slots, self.geometry.width)

    def _enter(self, slot: int, measurement: Measurement, there: list[int]) -> None:
        """Keep the distances of a new frame to those of its measurement that are `there` still."""
        others = measurement.slots[there]
        self._dense.put(slot, others, measurement.forward[there], measurement.backward[there])

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


def scratch_bytes(n_slots: int, geometry: Geometry) -> int:
    """Bytes of the distances of one arrival, both ways."""
    return 2 * min(n_slots, CHUNK) * geometry.width * 4


def _is_over(deadline: float | Cut | None, step: int | None) -> bool:
    """Whether to begin no subset more, or where `step` is None not to look at the quarantine."""
    if isinstance(deadline, Cut):
        return not deadline.quarantine if step is None else step >= deadline.subsets
    return deadline is not None and time.perf_counter() >= deadline


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(f"ring invariant broken: {rule}")
