"""The fast matcher: one exact int16 product serves all degrees and both directions."""

from collections.abc import Sequence
from itertools import count
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from musc_online.nearest.features import grid_side, standardise
from musc_online.nearest.gemm import compact, packing
from musc_online.nearest.gemm.packing import Packed
from musc_online.nearest.gemm.scratch import make_scratch
from musc_online.nearest.gemm.tile import match_tiles
from musc_online.parallel import helpers

_MOST_TILES_A_TURN = 8


class GemmStore:
    """Degree-1 patches in 15 bits a channel (`dtype="float32"`: 16), and reciprocal norms of every degree.

    Work is handed out in small turns to as many threads as torch uses; the compiled loops hold no GIL.
    """

    name = "gemm"

    def __init__(
        self,
        *,
        capacity: int,
        n_stages: int,
        n_patches: int,
        n_channels: int,
        degrees: Sequence[int],
        dtype: str = "float16",
        threads: int | None = None,
    ) -> None:
        grid_side(n_patches)
        self.degrees = tuple(degrees)
        self._shape = (n_stages, n_patches, n_channels)
        self._halos = np.array([degree // 2 for degree in degrees], np.int64)
        self._step = 2 if dtype == "float16" else 1
        store = compact if self._step == 2 else packing
        self._kept = store.empty(capacity, *self._shape, len(self.degrees))
        self._threads = threads or torch.get_num_threads()
        self._scratch = [make_scratch(n_patches, n_channels, self._halos) for _ in range(self._threads)]
        self._pool = helpers(self._threads - 1) if self._threads > 1 else None
        self._lock = Lock()

    def prepare(self, patch_tokens: npt.NDArray[np.float32]) -> Packed:
        """`[S, P, C]` tokens to packed int16 panels."""
        maps = standardise(patch_tokens)
        packed = packing.empty(1, *self._shape, len(self.degrees))
        for stage, standard in enumerate(maps):
            packing.pack_stage(
                standard, self._halos, self._step, packed.tokens[0, stage], packed.norms[0, stage]
            )
        return Packed(packed.tokens[0], packed.norms[0])

    def put(self, slot: int, features: Packed) -> None:
        """Keep an image's panels in `slot`."""
        for tokens, kept in zip(features.tokens, self._kept.tokens[slot], strict=True):
            if kept.shape == tokens.shape:
                kept[...] = tokens
            else:
                compact.compact(tokens, kept)
        self._kept.norms[slot] = features.norms

    def match(
        self,
        features: Packed,
        slots: Sequence[int] | npt.NDArray[np.intp],
        forward: npt.NDArray[np.float32],
        backward: npt.NDArray[np.float32],
    ) -> None:
        """See `PatchStore.match`."""
        index = np.ascontiguousarray(slots, dtype=np.int64)
        n_tiles = len(index) * self._shape[0]
        # Small turns, so that no thread waits long for another's last.
        size = min(max(n_tiles // (8 * self._threads), 1), _MOST_TILES_A_TURN)
        turns = count(0, size)

        def work(scratch: Any) -> None:
            while (first := next(turns)) < n_tiles:
                last = min(first + size, n_tiles)
                match_tiles(
                    (first, last), features, self._kept, index, self._halos, scratch, forward, backward
                )

        with self._lock:
            helpers = (
                [self._pool.submit(work, scratch) for scratch in self._scratch[1:]] if self._pool else []
            )
            work(self._scratch[0])
            for helper in helpers:
                helper.result()

    @property
    def nbytes(self) -> int:
        """Bytes of all slots and of the threads' working memory."""
        scratch = sum(array.nbytes for scratch in self._scratch for array in scratch)
        return int(self._kept.tokens.nbytes + self._kept.norms.nbytes + scratch)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """`tokens` and `norms`, `[capacity, ...]` each; views."""
        return {"tokens": self._kept.tokens, "norms": self._kept.norms}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Overwrite the kept arrays."""
        self._kept.tokens[...] = state["tokens"]
        self._kept.norms[...] = state["norms"]
