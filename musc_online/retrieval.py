"""Which frames of a ring look most like one another as a whole: the nearest by class token.

A FAISS flat inner-product index over the ring's class tokens finds the candidates. Its products are float32,
and two sums of the same numbers in another order may differ: which of two frames is the nearer is therefore
decided by products that are exact. Class tokens are kept as whole numbers, unit vectors of length 2^26: by
Cauchy-Schwarz any partial sum of such a product is below 2^53, where float64 is exact in any order. Of frames
that are equally near, the one that arrived first counts as the nearer.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online.compiled import compiled
from musc_online.errors import ConfigError

Slots = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]

LENGTH = 2.0**26


@dataclass(frozen=True, eq=False)
class Look:
    """A class token as it is compared.

    `exact` `[D]` whole numbers; `rough` `[n_slots]` its cosines with all slots, float32, by FAISS.
    """

    exact: Doubles
    rough: npt.NDArray[np.float32]


class Retrieval:
    """Each frame's nearest references, kept up to date as frames come, go and change places.

    A frame's list is its nearest references down to the last in the list; others are no nearer. It shortens
    as frames leave, and is searched anew only where fewer are left than were asked for.

    Args:
        n_slots: of the ring.
        keep: longest list, >= 1.

    Raises:
        ConfigError: FAISS is not installed.
    """

    def __init__(self, n_slots: int, keep: int) -> None:
        self._faiss = _load_faiss()
        self.keep = keep
        self.present: Mask = np.zeros(n_slots, np.bool_)
        self.eligible: Mask = np.zeros(n_slots, np.bool_)
        """Slots of references: only these are in lists."""
        self.arrivals = np.zeros(n_slots, np.int64)
        """In which order the occupants came."""
        self.lists = np.full((n_slots, keep), -1, np.int32)
        self.similarities = np.zeros((n_slots, keep), np.float64)
        self.depths = np.zeros(n_slots, np.int64)
        self.whole: Mask = np.ones(n_slots, np.bool_)
        """Whether a list holds every reference there is."""
        self._index: Any = None
        self._exact: Doubles = np.empty((n_slots, 0))
        self._places = np.empty(n_slots, np.int64)

    @staticmethod
    def price(n_slots: int, keep: int, token_width: int) -> int:
        """`nbytes` of one of these arguments."""
        return n_slots * (3 + 3 * 8 + keep * (4 + 8) + token_width * (8 + 4))

    @property
    def nbytes(self) -> int:
        """Bytes held, the index among them."""
        return self.price(len(self.present), self.keep, self._exact.shape[1])

    @property
    def token_width(self) -> int | None:
        """D, once there was a class token."""
        return None if self._index is None else self._exact.shape[1]

    def look(self, class_token: npt.NDArray[np.float32]) -> Look:
        """Compare a class token `[D]` with all slots; D is fixed by the first one."""
        exact, unit = _unit(class_token)
        if self._index is None:
            self._allocate(len(unit))
        rough = np.empty(len(self.present), np.float32)
        products, slots = self._index.search(unit[None], len(rough))
        rough[slots[0]] = products[0]
        return Look(exact, rough)

    def nearest_to(self, look: Look, count: int, among: Mask) -> Slots:
        """`[<= count]` of the slots `among`, nearest first."""
        return self._ranked(look, count, among)[0]

    def nearest(self, slot: int, count: int) -> Slots:
        """`[<= count]` references nearest to the frame in `slot`, nearest first, itself not among them.

        Args:
            slot: occupied.
            count: at most `keep`.
        """
        if self.depths[slot] < count and not self.whole[slot]:
            self._search(slot, self._look_from(slot))
        return self.lists[slot, : min(count, int(self.depths[slot]))].astype(np.intp)

    def nearest_of(self, slot: int, count: int, among: Mask) -> Slots:
        """`[<= count]` of the slots `among` nearest to the frame in `slot`."""
        return self._ranked(self._look_from(slot), count, among)[0]

    def similarity(self, slot: int, others: Slots) -> Doubles:
        """`[n]` exact products of the frame in `slot` with others."""
        return self._products(self._exact[slot], others)

    def put(self, slot: int, look: Look, arrival: int, *, eligible: bool, count: int) -> Slots:
        """A frame has come; the slots whose `count` nearest references it is among now."""
        self._exact[slot], self._rows[slot] = look.exact, look.exact / LENGTH
        self.present[slot], self.arrivals[slot] = True, arrival
        self._search(slot, look)
        return self._enter(slot, look.rough, count) if eligible else np.empty(0, np.intp)

    def change(self, slot: int, *, eligible: bool) -> None:
        """The frame in `slot` becomes a reference, or is none any more."""
        if eligible == bool(self.eligible[slot]):
            return
        if eligible:
            self._enter(slot, self._look_from(slot).rough, 1)
        else:
            self._leave(slot)

    def drop(self, slot: int) -> None:
        """The frame in `slot` has left."""
        if self.eligible[slot]:
            self._leave(slot)
        self.present[slot] = False
        self.lists[slot], self.depths[slot], self.whole[slot] = -1, 0, True

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The lists, for a snapshot; views, `[n_slots, ...]` each. Class tokens are the window's."""
        return {
            "arrivals": self.arrivals,
            "lists": self.lists,
            "list_similarities": self.similarities,
            "depths": self.depths,
            "whole": self.whole.view(np.uint8),
        }

    def restore(
        self,
        state: dict[str, npt.NDArray[Any]],
        class_tokens: dict[int, npt.NDArray[np.float32]],
        held: set[int],
    ) -> None:
        """Take over `state()` of as many slots or fewer.

        Args:
            state: of a `Retrieval` with the same `keep`.
            class_tokens: `[D]` by occupied slot.
            held: slots of frames in quarantine.

        Raises:
            KeyError, ValueError: an array is missing, or has another shape.
        """
        for name, array in self.state().items():
            array[: len(state[name])] = state[name]
        for slot, token in class_tokens.items():
            exact, unit = _unit(token)
            if self._index is None:
                self._allocate(len(unit))
            self._exact[slot], self._rows[slot] = exact, unit
            self.present[slot], self.eligible[slot] = True, slot not in held

    def check_invariants(self) -> None:
        """Raise AssertionError if a list is not what a search over all references finds."""
        for slot in np.flatnonzero(self.present).tolist():
            depth = int(self.depths[slot])
            among = self.eligible.copy()
            among[slot] = False
            expected = self._ranked(self._look_from(slot), max(depth, 1), among)[0][:depth]
            if self.lists[slot, :depth].tolist() != expected.tolist():
                raise AssertionError(f"retrieval invariant broken: slot {slot} lists other references")
            if self.whole[slot] and among.sum() != depth:
                raise AssertionError(f"retrieval invariant broken: slot {slot} does not list all")

    def _allocate(self, width: int) -> None:
        n_slots = len(self.present)
        self._index = self._faiss.IndexFlatIP(width)
        self._index.add(np.zeros((n_slots, width), np.float32))
        flat = self._faiss.rev_swig_ptr(self._index.get_xb(), n_slots * width)
        self._rows: npt.NDArray[np.float32] = flat.reshape(n_slots, width)
        self._exact = np.zeros((n_slots, width))

    def _look_from(self, slot: int) -> Look:
        rough = np.empty(len(self.present), np.float32)
        products, slots = self._index.search(self._rows[slot : slot + 1].copy(), len(rough))
        rough[slots[0]] = products[0]
        return Look(self._exact[slot], rough)

    @property
    def _doubt(self) -> float:
        """How far a float32 cosine of D products may be off."""
        return float(4.0 * self._exact.shape[1] * 2.0**-24)

    def _products(self, exact: Doubles, others: Slots) -> Doubles:
        found = np.empty(len(others))
        _multiply(self._exact, others, exact, found)
        return found

    def _ranked(self, look: Look, count: int, among: Mask) -> tuple[Slots, Doubles]:
        there = np.flatnonzero(among)
        if len(there) > count:
            rough = look.rough[there]
            last = np.partition(rough, len(rough) - count)[len(rough) - count]
            there = there[rough >= last - 2 * self._doubt]
        products = self._products(look.exact, there)
        order = np.lexsort((self.arrivals[there], -products))[:count]
        return there[order], products[order]

    def _search(self, slot: int, look: Look) -> None:
        among = self.eligible.copy()
        among[slot] = False
        found, products = self._ranked(look, self.keep, among)
        self.lists[slot, : len(found)], self.lists[slot, len(found) :] = found, -1
        self.similarities[slot, : len(found)] = products
        self.depths[slot], self.whole[slot] = len(found), len(found) == among.sum()

    def _enter(self, slot: int, rough: npt.NDArray[np.float32], count: int) -> Slots:
        self.eligible[slot] = True
        _insert(
            slot, self.present, self.arrivals, self._exact, rough, self._doubt, self.lists,
            self.similarities, self.depths, self.whole, self._places,
        )  # fmt: skip
        return np.flatnonzero((self._places >= 0) & (self._places < count))

    def _leave(self, slot: int) -> None:
        self.eligible[slot] = False
        _remove(slot, self.lists, self.similarities, self.depths)


def exact_products(class_tokens: npt.NDArray[np.float32]) -> Doubles:
    """`[n, n]` products of `[n, D]` class tokens, as a ring compares them: the same on every processor."""
    whole = np.stack([_unit(token)[0] for token in class_tokens])
    products: Doubles = whole @ whole.T
    return products


def _load_faiss() -> Any:
    try:
        import faiss  # noqa: PLC0415 - only a ring with `nearest` needs it
    except ImportError:
        raise ConfigError(
            "ring.nearest: needs the faiss module, which is missing; install faiss-cpu or, with a GPU, "
            "faiss-gpu, or leave ring.nearest out"
        ) from None
    return faiss


def _unit(class_token: npt.NDArray[np.float32]) -> tuple[Doubles, npt.NDArray[np.float32]]:
    """A class token as whole numbers of length 2^26 and as the float32 unit vector FAISS takes."""
    values = class_token.astype(np.float64)
    # Rounded once, at the end: the same on every processor.
    norm = math.sqrt(math.fsum(value * value for value in values.tolist()))
    exact = np.rint(values * (LENGTH / norm)) if norm > 0.0 else np.zeros_like(values)
    return exact, (exact / LENGTH).astype(np.float32)


@compiled
def _multiply(rows: Any, others: Any, exact: Any, out: Any) -> None:
    """Products of some of `rows [n, D]` with `exact [D]`: whole numbers, exact in any order."""
    for at in range(len(others)):
        row = rows[others[at]]
        total = 0.0
        for channel in range(len(exact)):
            total += row[channel] * exact[channel]
        out[at] = total


@compiled
def _insert(
    slot: int, present: Any, arrivals: Any, exact: Any, rough: Any, doubt: float, lists: Any,
    similarities: Any, depths: Any, whole: Any, places: Any,
) -> None:  # fmt: skip
    """A new reference into the lists that it is near enough for; `places [n_slots]` says where, or -1."""
    keep, scale = lists.shape[1], 1.0 / (67108864.0 * 67108864.0)
    for other in range(len(lists)):
        places[other] = -1
        depth = depths[other]
        if not present[other] or other == slot:
            continue
        if not whole[other] and (depth == 0 or rough[other] < similarities[other, depth - 1] * scale - doubt):
            continue
        product = 0.0
        for channel in range(exact.shape[1]):
            product += exact[other, channel] * exact[slot, channel]
        at = depth
        while at > 0 and (
            product > similarities[other, at - 1]
            or (product == similarities[other, at - 1] and arrivals[slot] < arrivals[lists[other, at - 1]])
        ):
            at -= 1
        if at == depth and (depth == keep or not whole[other]):
            whole[other] = False
            continue
        if depth == keep:
            whole[other] = False
        else:
            depths[other] = depth + 1
        for later in range(min(depth, keep - 1), at, -1):
            lists[other, later] = lists[other, later - 1]
            similarities[other, later] = similarities[other, later - 1]
        lists[other, at], similarities[other, at] = slot, product
        places[other] = at


@compiled
def _remove(slot: int, lists: Any, similarities: Any, depths: Any) -> None:
    """Take a reference out of every list it is in."""
    for other in range(len(lists)):
        depth = depths[other]
        for at in range(depth):
            if lists[other, at] == slot:
                for later in range(at, depth - 1):
                    lists[other, later] = lists[other, later + 1]
                    similarities[other, later] = similarities[other, later + 1]
                lists[other, depth - 1] = -1
                depths[other] = depth - 1
                break
