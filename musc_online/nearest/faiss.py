"""The reference matcher: FAISS flat indexes of every degree's unit vectors, overwritten in place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from musc_online.arrays import Geometry, overwrite
from musc_online.errors import ConfigError
from musc_online.lnamd import standardise, unit_windows
from musc_online.parallel import spread

# Below this distance sqrt(|a|^2 + |b|^2 - 2ab) has lost digits; the difference of the two vectors has not.
_NEAR = 0.5
_MOST_PRODUCTS = 2**20
"""Values of a product that is masked: 4 MiB."""


def _load_faiss() -> Any:
    try:
        import faiss  # noqa: PLC0415 - only this matcher needs it
    except ImportError:
        raise ConfigError(
            "ring.matcher: got 'faiss', but the faiss module is missing; install "
            "faiss-cpu or, with a GPU, faiss-gpu, or choose matcher 'gemm'"
        ) from None
    return faiss


class FaissStore:
    """One `IndexFlatL2` a stage and degree over `capacity * P` vectors; slot j owns rows `j*P .. (j+1)*P`.

    Storage is allocated once and written through the index's own codes: nothing is added or removed
    later, so no id ever shifts. It keeps float32 unit vectors of all degrees: the published memory, and
    an independent way to the same distances as `gemm`. Pairs are shared out among as many threads as torch
    uses. With a `position` a grid row of queries at a time is compared with the grid rows in reach.
    """

    name = "faiss"

    def __init__(
        self, capacity: int, geometry: Geometry, *, ignored: npt.NDArray[np.bool_] | None = None
    ) -> None:
        self._faiss = _load_faiss()
        self._geometry = geometry
        self._shape = (capacity, geometry.n_patches, geometry.n_channels)
        self._ignored = np.zeros((geometry.n_stages, geometry.n_patches), np.bool_)
        if ignored is not None:
            self._ignored[...] = ignored
        self._indexes = [[self._empty_index() for _ in geometry.degrees] for _ in range(geometry.n_stages)]
        self._kept = [[self._codes(index) for index in row] for row in self._indexes]

    @staticmethod
    def price(capacity: int, geometry: Geometry) -> int:
        """`nbytes` of a store of these arguments, without making it."""
        return capacity * geometry.width * geometry.n_channels * 4 + geometry.n_stages * geometry.n_patches

    def prepare(self, patch_tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """`[S, P, C]` tokens to unit vectors `[S, D, P, C]`."""
        maps, sides = torch.from_numpy(standardise(patch_tokens)), self._geometry.sides
        units = [unit_windows(maps, degree, sides) for degree in self._geometry.degrees]
        return torch.stack(units, dim=1).numpy()

    def put(self, slot: int, features: npt.NDArray[np.float32]) -> None:
        """Overwrite the slot's rows in every index."""
        for row, stage in zip(self._kept, features, strict=True):
            for kept, vectors in zip(row, stage, strict=True):
                kept[slot] = vectors

    def features(self, slot: int) -> npt.NDArray[np.float32]:
        """The slot's rows of every index, `[S, D, P, C]`."""
        return np.stack([np.stack([kept[slot] for kept in row]) for row in self._kept])

    def match(
        self,
        features: npt.NDArray[np.float32],
        slots: Sequence[int] | npt.NDArray[np.intp],
        forward: npt.NDArray[np.float32],
        backward: npt.NDArray[np.float32],
    ) -> None:
        """See `PatchStore.match`."""

        def one(place: tuple[int, int, int]) -> None:
            at, stage, degree = place
            arrival, seen = features[stage, degree], ~self._ignored[stage]
            kept = self._kept[stage][degree][slots[at]]
            with self._alone():
                forward[place] = self._seen(arrival, kept, seen)
                backward[place] = self._seen(kept, arrival, seen)

        spread(one, np.ndindex(len(slots), *features.shape[:2]))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread a product: how FAISS shares one among several decides how it rounds."""
        before = self._faiss.omp_get_max_threads()
        self._faiss.omp_set_num_threads(1)  # of those that this thread asks for
        try:
            yield
        finally:
            self._faiss.omp_set_num_threads(before)

    @property
    def nbytes(self) -> int:
        """Bytes of all indexes, and which patches are ignored."""
        return sum(kept.nbytes for row in self._kept for kept in row) + self._ignored.nbytes

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """`stage{s}_degree{r}`: `[capacity, P, C]` views of the indexes."""
        return {
            f"stage{stage}_degree{degree}": kept
            for stage, row in enumerate(self._kept)
            for degree, kept in zip(self._geometry.degrees, row, strict=True)
        }

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Overwrite the indexes' rows."""
        overwrite(self.state(), state)

    def _empty_index(self) -> Any:
        capacity, n_patches, n_channels = self._shape
        index = self._faiss.IndexFlatL2(n_channels)
        for _ in range(capacity):  # image by image: a whole index of zeros at once would double the peak
            index.add(np.zeros((n_patches, n_channels), np.float32))
        return index

    def _codes(self, index: Any) -> npt.NDArray[np.float32]:
        flat: npt.NDArray[np.float32] = self._faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        return flat.reshape(self._shape)

    def _seen(
        self, queries: npt.NDArray[np.float32], kept: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        """`[P]` distances of a map's patches to another's nearest candidates; 0 of an ignored one."""
        distances = np.zeros(len(queries), np.float32)
        steps = self._geometry.position
        height, width = self._geometry.sides
        if steps is None or steps >= max(height, width) - 1:
            if seen.all():
                return self._nearest(queries, kept)
            if seen.any():
                distances[seen] = self._nearest(queries[seen], kept[seen])
            return distances
        rows, columns = np.divmod(np.arange(len(queries)), width)
        at_once = max(1, _MOST_PRODUCTS // (width * len(queries)))
        for first in range(0, height, at_once):  # as many grid rows as memory is bounded for, in one call
            reach = rows >= first - steps, rows < first + at_once + steps
            own = np.flatnonzero(seen & (rows >= first) & (rows < first + at_once))
            others = np.flatnonzero(seen & reach[0] & reach[1])
            if own.size:  # then its own place is a candidate
                squared = self._faiss.pairwise_distances(queries[own], kept[others])
                for at in (rows, columns):
                    squared[np.abs(at[own, None] - at[others]) > steps] = np.inf
                winners = squared.argmin(axis=1)
                least = np.take_along_axis(squared, winners[:, None], axis=1)[:, 0]
                distances[own] = _exact(queries[own], kept[others[winners]], least)
        return distances

    def _nearest(
        self, queries: npt.NDArray[np.float32], kept: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        squared, winners = self._faiss.knn(queries, kept, 1)
        return _exact(queries, kept[winners[:, 0]], squared[:, 0])


def _exact(
    queries: npt.NDArray[np.float32], found: npt.NDArray[np.float32], squared: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Distances `[n]` to what was found; from differences where the squared ones have lost digits."""
    distances: npt.NDArray[np.float32] = np.sqrt(np.maximum(squared, 0.0))
    near = np.flatnonzero(distances < _NEAR)
    if near.size:
        distances[near] = np.linalg.norm(queries[near] - found[near], axis=1)
    return distances
