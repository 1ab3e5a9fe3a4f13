"""The fast matcher: one exact int16 product serves all degrees and both directions."""

import math
from collections.abc import Sequence
from itertools import count
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from musc_online.arrays import Geometry, overwrite
from musc_online.lnamd import standardise
from musc_online.nearest.gemm import packing, reach, scratch
from musc_online.nearest.gemm.near import ANY_COSINE, NEAR_COSINE
from musc_online.nearest.gemm.packing import Packed, at_rest, compact, expand, unpack_windows
from musc_online.nearest.gemm.tile import match_tiles
from musc_online.parallel import helpers

_MOST_TILES_A_TURN = 8
_AVERAGED_ENOUGH = 2
_FEW_PATCHES = 100


def is_fine(geometry: Geometry) -> bool:
    """Whether features keep 24 bits a channel instead of 15.

    One distance of vectors in 15 bits is off by 2e-5 (one standard deviation), by 6e-5 now and then. A
    patch score is the mean of that many distances a reference as there are stages times degrees: where
    there is but one, and one reference, nothing averages the rounding away. Where there are few patches the
    finer features cost nothing that counts, few channels round more coarsely, and the sets are small.
    """
    n_tiles = 1 if geometry.tiling is None else geometry.tiling.n_tiles
    averaged = geometry.n_stages // n_tiles * geometry.n_degrees
    return averaged < _AVERAGED_ENOUGH or geometry.n_patches <= _FEW_PATCHES


class GemmStore:
    """Degree-1 patches in 15 bits a channel (`fine`: 24), and reciprocal norms of every degree.

    Work is handed out in small turns to as many threads as torch uses; the compiled loops hold no GIL.

    Args:
        capacity: number of slots.
        geometry: shape of one image's features; only what its `position` reaches is multiplied.
        ignored: `[S, P]`, see `nearest.create`.
        fine: see `is_fine`, which decides where this is None.
        threads: how many share the work; as many as torch uses by default.
    """

    name = "gemm"

    def __init__(
        self,
        capacity: int,
        geometry: Geometry,
        *,
        ignored: npt.NDArray[np.bool_] | None = None,
        fine: bool | None = None,
        threads: int | None = None,
    ) -> None:
        self.fine = is_fine(geometry) if fine is None else fine
        self._geometry = geometry
        self._halos = np.array([degree // 2 for degree in geometry.degrees], np.int64)
        self._kept = packing.empty(capacity, geometry if self.fine else at_rest(geometry), fine=self.fine)
        self._threads = threads or torch.get_num_threads()
        near_from = float(ANY_COSINE if self.fine else NEAR_COSINE)
        self._scratch = [scratch.make_scratch(geometry, near_from) for _ in range(self._threads)]
        self._reach = reach.make_reach(geometry, ignored)
        self._pool = helpers(self._threads - 1) if self._threads > 1 else None
        self._lock = Lock()

    @staticmethod
    def price(
        capacity: int, geometry: Geometry, *, fine: bool | None = None, threads: int | None = None
    ) -> int:
        """`nbytes` of a store of these arguments, without making it."""
        fine = is_fine(geometry) if fine is None else fine
        kept = packing.layout(capacity, geometry if fine else at_rest(geometry), fine=fine)
        own = (threads or torch.get_num_threads()) * _layout_bytes(scratch.layout(geometry))
        return _layout_bytes(kept) + _layout_bytes(reach.layout(geometry)) + own

    def prepare(self, patch_tokens: npt.NDArray[np.float32]) -> Packed:
        """`[S, P, C]` tokens to packed int16 panels."""
        packed = self._empty_arrival()
        for stage, standard in enumerate(standardise(patch_tokens)):
            packing.pack_stage(
                standard, self._geometry.sides[1], self._halos, *(array[stage] for array in packed)
            )
        return packed

    def put(self, slot: int, features: Packed) -> None:
        """Keep an image's panels in `slot`."""
        for tokens, kept in zip(features.tokens, self._kept.tokens[slot], strict=True):
            if self.fine:
                kept[...] = tokens
            else:
                compact(tokens, kept)
        self._kept.norms[slot] = features.norms
        self._kept.residuals[slot] = features.residuals

    def features(self, slot: int) -> Packed:
        """The panels kept in `slot`, as wide as those of an arrival."""
        packed = self._empty_arrival()
        kept = [array[slot] for array in self._kept]
        for stage, tokens in enumerate(kept[0]):
            if self.fine:
                packed.tokens[stage] = tokens
            else:
                expand(tokens, packed.tokens[stage])
        packed.norms[...], packed.residuals[...] = kept[1], kept[2]
        for stage in range(len(packed.tokens)):
            unpack_windows(self._geometry.sides[1], self._halos, *(array[stage] for array in packed))
        return packed

    def match(
        self,
        features: Packed,
        slots: Sequence[int] | npt.NDArray[np.intp],
        forward: npt.NDArray[np.float32],
        backward: npt.NDArray[np.float32],
    ) -> None:
        """See `PatchStore.match`."""
        index = np.ascontiguousarray(slots, dtype=np.int64)
        n_tiles = len(index) * self._geometry.n_stages
        # Small turns, so that no thread waits long for another's last.
        size = min(max(n_tiles // (8 * self._threads), 1), _MOST_TILES_A_TURN)
        turns = count(0, size)

        def work(scratch: Any) -> None:
            while (first := next(turns)) < n_tiles:
                last = min(first + size, n_tiles)
                match_tiles((first, last), features, self._kept, index, self._halos, self._reach, scratch,
                            forward, backward)  # fmt: skip

        with self._lock:
            helpers = (
                [self._pool.submit(work, scratch) for scratch in self._scratch[1:]] if self._pool else []
            )
            work(self._scratch[0])
            for helper in helpers:
                helper.result()

    def _empty_arrival(self) -> Packed:
        return Packed(*(array[0] for array in packing.empty(1, self._geometry, fine=self.fine, arrival=True)))

    @property
    def nbytes(self) -> int:
        """Bytes of all slots and of the threads' working memory."""
        own = sum(array.nbytes for scratch in self._scratch for array in scratch)
        shared = sum(getattr(self._reach, name).nbytes for name in reach.layout(self._geometry))
        return int(sum(array.nbytes for array in self._kept) + shared + own)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """`tokens`, `norms` and, of fine features, `residuals`, `[capacity, ...]` each; views."""
        kept = self._kept._asdict()
        return {name: kept[name] for name in ("tokens", "norms", *(("residuals",) if self.fine else ()))}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Overwrite the kept arrays."""
        overwrite(self.state(), state)


def _layout_bytes(layout: dict[str, tuple[tuple[int, ...], type]]) -> int:
    return sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in layout.values())
