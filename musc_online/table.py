"""The mutual table: what is known of the distances between the frames of a ring, both ways.

`DenseTable` has room for every pair. `SparseTable` has room for so many partners of each frame, and forgets
those that look least like it: memory is linear in the ring's capacity.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from musc_online.codes import MISSING, Codes
from musc_online.compiled import compiled

Slots = npt.NDArray[np.intp]


class Table(Protocol):
    """`width` codes (S * D * P) of one frame's patches to another frame, for some ordered pairs of slots."""

    def missing(self, slot: int, others: Slots) -> Slots:
        """Those of `others` to which the distances of `slot` are not known."""
        ...

    def rows(self, slot: int, others: Slots) -> tuple[Codes, Slots]:
        """Codes `[R, width]`, and which rows of them are those to each of `others`, known all of them."""
        ...

    def forget(self, slot: int) -> None:
        """The frame has left."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays, for a snapshot; views, `[n_slots, ...]` each."""
        ...

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Take over `state()` of an empty table's like, of as many slots or fewer.

        Raises:
            KeyError, ValueError: an array is missing, or of another shape or type.
        """
        ...

    def check_invariants(self, occupied: npt.NDArray[np.bool_]) -> None:
        """Raise AssertionError if what is known contradicts itself; `occupied` `[n_slots]`."""
        ...


class DenseTable:
    """Every pair of `n_slots` frames; a pair is known both ways or not at all."""

    def __init__(self, n_slots: int, width: int) -> None:
        self.codes: Codes = np.full((n_slots, n_slots, width), MISSING, np.uint16)
        """`[slot, slot, width]`: `[i, j]` holds image i's patches' distances to image j."""
        self.measured: npt.NDArray[np.bool_] = np.zeros((n_slots, n_slots), np.bool_)

    @staticmethod
    def price(n_slots: int, width: int) -> int:
        """`nbytes` of one of these arguments."""
        return n_slots * n_slots * (width * 2 + 1)

    def missing(self, slot: int, others: Slots) -> Slots:
        """See `Table`."""
        missing: Slots = others[~self.measured[slot, others]]
        return missing

    def rows(self, slot: int, others: Slots) -> tuple[Codes, Slots]:
        """See `Table`."""
        return self.codes[slot], others

    def put(self, slot: int, others: Slots, forward: Codes, backward: Codes) -> None:
        """Codes `[n, width]` of a frame to others, and of these to it."""
        self.codes[slot, others], self.codes[others, slot] = forward, backward
        self.measured[slot, others] = self.measured[others, slot] = True

    def forget(self, slot: int) -> None:
        """See `Table`."""
        self.measured[slot] = self.measured[:, slot] = False
        self.codes[slot] = self.codes[:, slot] = MISSING

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.codes.nbytes + self.measured.nbytes

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """See `Table`."""
        return {"table": self.codes, "measured": self.measured.view(np.uint8)}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """See `Table`."""
        n_slots, codes = len(state["measured"]), state["table"]
        _check("table", codes, (n_slots, n_slots, self.codes.shape[2]), np.uint16)
        self.codes[:n_slots, :n_slots] = codes
        self.measured[:n_slots, :n_slots] = state["measured"].astype(np.bool_)

    def check_invariants(self, occupied: npt.NDArray[np.bool_]) -> None:
        """Raise AssertionError if what is known contradicts itself."""
        known = (self.codes != MISSING).all(axis=2)
        for holds, rule in (
            (not self.measured.diagonal().any(), "no image is measured against itself"),
            (bool((self.measured == self.measured.T).all()), "every pair is measured both ways"),
            (not self.measured[~occupied].any(), "an empty slot is measured against nothing"),
            (bool((known == self.measured).all()), "distances are held exactly for the measured pairs"),
            (bool((self.codes == MISSING).all(axis=2)[~self.measured].all()), "no half-written pair"),
        ):
            if not holds:
                raise AssertionError(f"table invariant broken: {rule}")


class SparseTable:
    """So many partners of each of `n_slots` frames: `keep` references and `spare` frames in quarantine.

    Where there is no more room for one of a kind, of that kind the one that looks least like the frame goes.
    """

    def __init__(self, n_slots: int, keep: int, spare: int, width: int) -> None:
        self.keep = keep
        room = keep + spare
        self.partners = np.full((n_slots, room), -1, np.int32)
        """`[slot, room]`: slots of the partners, -1 for none."""
        self.similarities = np.zeros((n_slots, room), np.float64)
        self.codes: Codes = np.full((n_slots, room, width), MISSING, np.uint16)
        """`[slot, room, width]`: a frame's patches' distances to each partner."""

    @staticmethod
    def price(n_slots: int, keep: int, spare: int, width: int) -> int:
        """`nbytes` of one of these arguments."""
        return n_slots * (keep + spare) * (4 + 8 + 2 * width)

    def missing(self, slot: int, others: Slots) -> Slots:
        """See `Table`."""
        return others[~self._places(slot, others).any(axis=1)]

    def rows(self, slot: int, others: Slots) -> tuple[Codes, Slots]:
        """See `Table`; of `others` that are not known there are no rows."""
        return self.codes[slot], np.nonzero(self._places(slot, others))[1]

    def _places(self, slot: int, others: Slots) -> npt.NDArray[np.bool_]:
        """`[n, room]`: which partner is which of `others`."""
        same: npt.NDArray[np.bool_] = others[:, None] == self.partners[slot]
        return same

    def put(
        self,
        slots: Slots,
        others: Slots,
        codes: Codes,
        similarities: npt.NDArray[np.float64],
        quarantined: npt.NDArray[np.bool_],
        arrivals: npt.NDArray[np.int64],
    ) -> None:
        """Codes `[n, width]` of the frame in each of `slots` to the one in each of `others`.

        Args:
            slots: `[n]`.
            others: `[n]`.
            codes: `[n, width]`.
            similarities: `[n]`, of the pairs.
            quarantined: `[n_slots]`, who is in quarantine.
            arrivals: `[n_slots]`, in which order the frames came: of equally like ones the newest goes.
        """
        _put(
            slots, others, codes, similarities, quarantined, arrivals, self.keep,
            self.partners, self.similarities, self.codes,
        )  # fmt: skip

    def forget(self, slot: int) -> None:
        """See `Table`."""
        self.partners[slot] = -1
        self.partners[self.partners == slot] = -1

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.partners.nbytes + self.similarities.nbytes + self.codes.nbytes

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """See `Table`."""
        return {"partners": self.partners, "similarities": self.similarities, "codes": self.codes}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """See `Table`."""
        n_slots, room = state["partners"].shape
        _check("codes", state["codes"], (n_slots, room, self.codes.shape[2]), np.uint16)
        for name, array in self.state().items():
            array[:n_slots, :room] = state[name]

    def check_invariants(self, occupied: npt.NDArray[np.bool_]) -> None:
        """Raise AssertionError if what is known contradicts itself."""
        for slot, partners in enumerate(self.partners):
            there = partners[partners >= 0]
            if len(there) and not (occupied[slot] and occupied[there].all()):
                raise AssertionError("table invariant broken: only frames that are there have partners")
            if len(set(there.tolist())) != len(there) or slot in there:
                raise AssertionError("table invariant broken: every partner is another frame, and known once")
            if (self.codes[slot, partners >= 0] == MISSING).any():
                raise AssertionError("table invariant broken: no half-written pair")


def _check(name: str, array: npt.NDArray[Any], shape: tuple[int, ...], kind: type) -> None:
    if array.shape != shape or array.dtype != kind:
        raise ValueError(f"{name}: got {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}")


@compiled
def _put(
    slots: Any, others: Any, given: Any, likeness: Any, quarantined: Any, arrivals: Any, keep: int,
    partners: Any, similarities: Any, codes: Any,
) -> None:  # fmt: skip
    for at in range(len(slots)):
        slot, other = slots[at], others[at]
        place = _place(slot, other, likeness[at], quarantined, arrivals, keep, partners, similarities)
        if place < 0:
            continue
        partners[slot, place], similarities[slot, place] = other, likeness[at]
        row = codes[slot, place]
        for column in range(len(row)):
            row[column] = given[at, column]


@compiled
def _place(
    slot: int, other: int, likeness: float, quarantined: Any, arrivals: Any, keep: int, partners: Any,
    similarities: Any,
) -> int:  # fmt: skip
    """Where among its partners a frame remembers another one; -1 for nowhere."""
    room, empty, n_references = partners.shape[1], -1, 0
    for at in range(room):
        partner = partners[slot, at]
        if partner == other:
            return at
        if partner < 0:
            empty = at if empty < 0 else empty
        elif not quarantined[partner]:
            n_references += 1
    if empty >= 0:
        return empty
    kind = bool(quarantined[other])
    if n_references != keep:  # frames changed their kind since: whoever has too many gives way
        kind = n_references < keep
    worst = -1
    for at in range(room):
        partner = partners[slot, at]
        if bool(quarantined[partner]) == kind and (
            worst < 0
            or similarities[slot, at] < similarities[slot, worst]
            or (
                similarities[slot, at] == similarities[slot, worst]
                and arrivals[partner] > arrivals[partners[slot, worst]]
            )
        ):
            worst = at
    if kind == bool(quarantined[other]) and (
        worst < 0
        or likeness < similarities[slot, worst]
        or (likeness == similarities[slot, worst] and arrivals[other] > arrivals[partners[slot, worst]])
    ):
        return -1
    return worst
