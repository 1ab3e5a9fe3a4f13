"""A ring in which a frame is scored against those alone that look most like it (`ring.nearest`).

What a frame is scored against is a definition, not a history: its K nearest references by class token of all
that are there. Distances that are not known yet are matched when they are asked for; the arrival's own, and
those to the frames whose K nearest it enters, at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId, Geometry
from musc_online.codes import Codes
from musc_online.retrieval import Retrieval
from musc_online.ring import Cut, Measurement, Ring, scratch_bytes
from musc_online.table import SparseTable, Table

Slots = npt.NDArray[np.intp]


class NearestRing(Ring):
    """See `Ring`; `subsets` and deadline have no part in it.

    Args:
        nearest: K, number of references that a frame is scored against.
        keep: partners whose distances a frame remembers, >= `nearest`.
        **given: as for `Ring`.
    """

    by_likeness = True

    def __init__(self, *, nearest: int, keep: int, **given: Any) -> None:
        self.nearest, self.keep = nearest, keep
        super().__init__(**given)
        self.retrieval = Retrieval(self.n_slots, keep)

    @staticmethod
    def price_nearest(
        n_slots: int, geometry: Geometry, nearest: int, keep: int, n_quarantine: int, token_width: int
    ) -> int:
        """Bytes of the mutual table, of the retrieval and of the scratch of a ring."""
        table = SparseTable.price(n_slots, keep, min(nearest, n_quarantine), geometry.width)
        return table + Retrieval.price(n_slots, keep, token_width) + scratch_bytes(n_slots, geometry)

    @property
    def nbytes(self) -> int:
        """Bytes held: features, mutual table, retrieval, scratch."""
        return super().nbytes + self.retrieval.nbytes

    @property
    def token_width(self) -> int | None:
        """See `Ring.token_width`."""
        return self.retrieval.token_width

    def measure(
        self,
        features: Any,
        class_token: npt.NDArray[np.float32] | None = None,
        deadline: float | Cut | None = None,
        also: FrameId | None = None,
    ) -> Measurement:
        """Match an image both ways with its nearest references and with `also`; whom else, is asked later.

        The occupant that the image would evict is not among its references.

        Args:
            features: from `store.prepare`.
            class_token: `[D]`.
            deadline: not looked at: what is matched is bounded.
            also: a frame that it may be a copy of.
        """
        assert class_token is not None  # noqa: S101 - the detector gives one
        look, retrieval = self.retrieval.look(class_token), self.retrieval
        among = retrieval.eligible.copy()
        leaving = None if self.is_full_of_pins else self.leaving()
        if leaving is not None:
            among[leaving] = False
        references = retrieval.nearest_to(look, self.nearest, among)
        before = None if also is None else self.slot_of.get(also)
        matched = references
        if before is not None and before not in references:
            matched = np.append(references, before)
        forward, backward = self.match(features, matched)
        return Measurement(features, matched, len(references), forward, backward, look=look)

    def visit(self, measurement: Measurement, slot: int, *, now: bool = False) -> tuple[Codes, Codes] | None:
        """See `Ring.visit`."""
        found = super().visit(measurement, slot)
        if found is None and now:
            forward, backward = self.match(measurement.features, np.array([slot], np.intp))
            found = forward[0], backward[0]
        return found

    def move(self, slot: int, *, quarantined: bool) -> None:
        """See `Ring.move`."""
        super().move(slot, quarantined=quarantined)
        self.retrieval.change(slot, eligible=not quarantined)

    def evict(self, slot: int) -> None:
        """See `Ring.evict`."""
        if self.frame_ids[slot] is not None:
            self.retrieval.drop(slot)
        super().evict(slot)

    def references(self, slot: int) -> Slots:
        """Slots of the K nearest references, nearest first, `[n]`."""
        return self.retrieval.nearest(slot, self.nearest)

    def supporters(self, slot: int, but: Sequence[int] = ()) -> Slots:
        """Slots of the K nearest frames, `but` some, nearest first, be they in quarantine or not, `[n]`."""
        among = self.retrieval.present.copy()
        among[[slot, *but]] = False
        return self.retrieval.nearest_of(slot, self.nearest, among)

    def pair(self, slot: int, other: int) -> tuple[Codes, Codes]:
        """Codes `[S * D * P]` of two frames to each other, matched now if need be."""
        wanted = {slot: np.array([other], np.intp), other: np.array([slot], np.intp)}
        beside = self.complete(wanted)
        forward, backward = (
            beside[one] if one in beside else self._codes(one, others, {}) for one, others in wanted.items()
        )
        return forward[0], backward[0]

    def complete(self, wanted: Mapping[int, Slots]) -> dict[int, Codes]:
        """Match what is missing before frames are scored against others, each pair once.

        Returns:
            See `Ring.complete`: of frames whose room is taken by others that look more like them.
        """
        fresh: dict[tuple[int, int], Codes] = {}
        for slot, others in wanted.items():
            missing = self.table.missing(slot, others)
            missing = np.array([other for other in missing.tolist() if (slot, other) not in fresh], np.intp)
            if len(missing):
                forward, backward = self.match(self.store.features(slot), missing)
                self._put(slot, missing, forward, backward)
                for at, other in enumerate(missing.tolist()):
                    fresh[slot, other], fresh[other, slot] = forward[at], backward[at]
        beside = {}
        for slot, others in wanted.items():
            if len(self.table.missing(slot, others)):
                beside[slot] = self._codes(slot, others, fresh)
        return beside

    def patch_scores(
        self, slot: int, references: Slots | None = None, codes: Codes | None = None
    ) -> npt.NDArray[np.float64] | None:
        """See `Ring.patch_scores`; without `codes` what is missing is matched, by one thread at a time."""
        references = self.references(slot) if references is None else references
        if codes is None and len(self.table.missing(slot, references)):
            codes = self._codes(slot, references, {})
        return super().patch_scores(slot, references, codes)

    def table_state(self) -> dict[str, npt.NDArray[Any]]:
        """See `Ring.table_state`; the retrieval's lists too."""
        return {**super().table_state(), **self.retrieval.state()}

    def restore_table(
        self, state: dict[str, npt.NDArray[Any]], class_tokens: dict[int, npt.NDArray[np.float32]]
    ) -> None:
        """See `Ring.restore_table`."""
        super().restore_table(state, class_tokens)
        self.retrieval.restore(state, class_tokens, self.quarantined)

    def check_invariants(self) -> None:
        """See `Ring.check_invariants`."""
        super().check_invariants()
        occupied = np.array([frame_id is not None for frame_id in self.frame_ids])
        held = np.zeros(self.n_slots, np.bool_)
        held[list(self.quarantined)] = True
        if (self.retrieval.present != occupied).any() or (self.retrieval.eligible != occupied & ~held).any():
            raise AssertionError("ring invariant broken: retrieval knows who is there and who is a reference")
        self.retrieval.check_invariants()

    def _empty_table(self) -> Table:
        spare = min(self.nearest, self.n_quarantine)
        return SparseTable(self.n_slots, self.keep, spare, self.geometry.width)

    def _enter(self, slot: int, measurement: Measurement, there: list[int]) -> None:
        assert measurement.look is not None  # noqa: S101 - of this ring's own `measure`
        entered = self.retrieval.put(
            slot, measurement.look, self.arrivals, eligible=slot not in self.quarantined, count=self.nearest
        )
        others = measurement.slots[there]
        self._put(slot, others, measurement.forward[there], measurement.backward[there])
        missing = entered[~np.isin(entered, others)]
        if len(missing):
            self._put(slot, missing, *self.match(measurement.features, missing))

    def _put(self, slot: int, others: Slots, forward: Codes, backward: Codes) -> None:
        assert isinstance(self.table, SparseTable)  # noqa: S101 - narrows the type
        retrieval, same = self.retrieval, np.full(len(others), slot, np.intp)
        likeness = retrieval.similarity(slot, others)
        held = retrieval.present & ~retrieval.eligible
        self.table.put(same, others, forward, likeness, held, retrieval.arrivals)
        self.table.put(others, same, backward, likeness, held, retrieval.arrivals)

    def _codes(self, slot: int, others: Slots, fresh: Mapping[tuple[int, int], Codes]) -> Codes:
        """`[n, S * D * P]`: remembered, `fresh` by (slot, other), or matched."""
        missing = self.table.missing(slot, others)
        there = others[~np.isin(others, missing)]
        found = np.empty((len(others), self.geometry.width), np.uint16)
        codes, rows = self.table.rows(slot, there)
        found[np.isin(others, there)] = codes[rows]
        unknown = np.array([one for one in missing.tolist() if (slot, one) not in fresh], np.intp)
        if len(unknown):
            found[np.isin(others, unknown)] = self.match(self.store.features(slot), unknown)[0]
        for at, other in enumerate(others.tolist()):
            if other in missing and (slot, other) in fresh:
                found[at] = fresh[slot, other]
        return found
