"""A store in parts, in other processes too: each holds some of the slots and matches them, all at a time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from musc_online import nearest
from musc_online.arrays import Geometry, check_alike
from musc_online.codes import Codes, decode, encode

Slots = npt.NDArray[np.intp]

BLOCK_BYTES = 32 * 2**20
"""Of a part's state on its way at once: bounds what is held beside it, wherever it passes through."""


class Part(Protocol):
    """Some slots of a store, numbered from 0. What it is asked is done in the order in which it is asked.

    Features are as the store's `share` gives them. What could not be done is raised where its result is asked
    for; where there is none, by every later call.
    """

    def put(self, slot: int, features: Any) -> None:
        """Keep an image's features in `slot`; it may be done later."""
        ...

    def features(self, slot: int) -> Any:
        """The image in `slot`, to be matched with others once more."""
        ...

    def match(self, features: Any, slots: Slots) -> Callable[[], Codes]:
        """Begin to match an image with those in `slots` `[R]`.

        Returns:
            Waits for the codes of `PatchStore.match`, `[2, R, S, D, P]`: forward, backward.
        """
        ...

    def read(self, name: str, first: int, last: int) -> Callable[[], npt.NDArray[Any]]:
        """Begin to fetch rows `first` to `last` (excluded) of an array of its state."""
        ...

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> Callable[[], None]:
        """Begin to overwrite rows of an array of its state, from `first` on."""
        ...


class LocalPart:
    """A part whose features lie in this process.

    Args:
        store: of as many slots.
        geometry: of the store.

    Raises:
        ValueError: its features lie on a device, where rows cannot be overwritten in place.
    """

    def __init__(self, store: nearest.PatchStore, geometry: Geometry) -> None:
        once, again = store.state(), store.state()
        if not all(_is_same_memory(once[name], again[name]) for name in once):
            raise ValueError("features: got a store on a device, expected one in main memory")
        self._store, self._shape = store, geometry.shape

    def put(self, slot: int, features: Any) -> None:
        """See `Part.put`; done when this returns."""
        self._store.put(slot, features)

    def features(self, slot: int) -> Any:
        """See `Part.features`."""
        return self._store.features(slot)

    def match(self, features: Any, slots: Slots) -> Callable[[], Codes]:
        """See `Part.match`; done when this returns."""
        distances = np.empty((2, len(slots), *self._shape), np.float32)
        self._store.match(features, slots, distances[0], distances[1])
        codes = encode(distances)
        return lambda: codes

    def read(self, name: str, first: int, last: int) -> Callable[[], npt.NDArray[Any]]:
        """See `Part.read`; a view."""
        rows = self._store.state()[name][first:last]
        return lambda: rows

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> Callable[[], None]:
        """See `Part.write`; done when this returns."""
        self._store.state()[name][first : first + len(rows)] = rows
        return lambda: None


class ShardedStore:
    """A `PatchStore` whose features lie in parts; what it gives is what one store of all slots gives.

    Distances come back as codes, half the bytes: they are those of one store to a code's half step (1.6e-5),
    and their codes, which is what a ring keeps, are the same to the last bit. A matcher says of a pair the
    same whoever else is matched at the same time, so nothing else changes either. (Torch's products need not:
    with features on a device there are no parts.)

    Args:
        matcher: `faiss`, `gemm` or `auto`, on the CPU.
        geometry: of one image.
        divided: from `divide`: of each part its slots.
        parts: as many, each of as many slots, empty.
        share: of an arrival's features what is handed to all parts; once an arrival.
    """

    def __init__(
        self,
        matcher: str,
        geometry: Geometry,
        divided: Sequence[Slots],
        parts: Sequence[Part],
        *,
        share: Callable[[Any], Any] = lambda features: features,
    ) -> None:
        self.name = nearest.resolve(matcher)
        self._geometry, self._divided, self._parts, self._share = geometry, divided, parts, share
        self._capacity = sum(map(len, divided))
        self._blank = nearest.create(self.name, 0, geometry)
        self._part_of, self._place_of = (np.empty(self._capacity, np.intp) for _ in range(2))
        for number, slots in enumerate(divided):
            self._part_of[slots] = number
            self._place_of[slots] = np.arange(len(slots))

    def prepare(self, patch_tokens: npt.NDArray[np.float32]) -> Any:
        """See `PatchStore.prepare`; as it is shared."""
        return self._share(self._blank.prepare(patch_tokens))

    def put(self, slot: int, features: Any) -> None:
        """See `PatchStore.put`; what fails is raised later, before anything is made of it."""
        self._parts[self._part_of[slot]].put(int(self._place_of[slot]), features)

    def features(self, slot: int) -> Any:
        """See `PatchStore.features`; as they are shared."""
        return self._parts[self._part_of[slot]].features(int(self._place_of[slot]))

    def match(
        self,
        features: Any,
        slots: Sequence[int] | Slots,
        forward: npt.NDArray[np.float32],
        backward: npt.NDArray[np.float32],
    ) -> None:
        """See `PatchStore.match`; all parts that hold any of the slots begin before one is waited for."""
        wanted = np.asarray(slots, np.intp)
        part_of = self._part_of[wanted]
        begun = []
        for number in np.unique(part_of).tolist():
            rows = np.flatnonzero(part_of == number)
            begun.append((rows, self._parts[number].match(features, self._place_of[wanted[rows]])))
        for rows, found in begun:
            codes = found()
            forward[rows], backward[rows] = decode(codes[0]), decode(codes[1])

    @property
    def nbytes(self) -> int:
        """Bytes of one store of all slots: what a ring is allowed does not hang on how it is divided."""
        return nearest.price(self.name, self._capacity, self._geometry)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of one store of all slots, gathered: copies, owned by who asked."""
        gathered = {name: np.empty(kind.shape, kind.dtype) for name, kind in self._kinds().items()}
        for name, array in gathered.items():
            for places in self._blocks(array):
                begun = [part.read(name, places.start, places.stop) for part in self._parts]
                for slots, rows in zip(self._divided, begun, strict=True):
                    array[slots[places]] = rows()
        return gathered

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Scatter the arrays of one store of all slots; see `PatchStore.restore`."""
        check_alike(self._kinds(), state)
        for name, array in state.items():
            for places in self._blocks(array):
                begun = [
                    part.write(name, places.start, array[slots[places]])
                    for slots, part in zip(self._divided, self._parts, strict=True)
                ]
                for done in begun:
                    done()

    def _kinds(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays of the shapes and types of one store's state that take no memory."""
        return {
            name: np.broadcast_to(np.zeros((), array.dtype), (self._capacity, *array.shape[1:]))
            for name, array in self._blank.state().items()
        }

    def _blocks(self, array: npt.NDArray[Any]) -> Iterator[slice]:
        """Places, the same in every part, so many at a time that what lies there is within `BLOCK_BYTES`."""
        of_each = max(map(len, self._divided))
        at_once = max(1, BLOCK_BYTES // max(1, len(self._parts) * array[:1].nbytes))
        for first in range(0, of_each, at_once):
            yield slice(first, min(first + at_once, of_each))


def divide(n_slots: int, n_parts: int, n_subsets: int = 1) -> list[Slots]:
    """Of each part its slots: every part has as many of every subset, but for one more or less.

    An arrival that is matched with one subset keeps all parts busy, too. Of one subset slot i lies in part
    `i % n_parts`, at `i // n_parts`.

    Args:
        n_slots: of the ring, at least 1.
        n_parts: at least 1; there are never more parts than slots.
        n_subsets: of the ring; slot k is of subset `k % n_subsets`.
    """
    by_subset = np.concatenate([np.arange(subset, n_slots, n_subsets) for subset in range(n_subsets)])
    return [by_subset[part::n_parts] for part in range(min(n_parts, n_slots))]


def _is_same_memory(array: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    return array.ctypes.data == other.ctypes.data
