"""A frame as tiles: which of them there are, and the one grid of patches that they make together."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online.errors import FrameError


@dataclass(frozen=True)
class Tiling:
    """`rows` x `cols` tiles of `side` x `side` patches, neighbours sharing `overlap` rows or columns of them.

    Tiles are numbered row by row, and so are patches. A patch of the frame that lies in several tiles is
    taken from the one in which it lies most centrally: farthest from the tile's border, of equals the first.
    """

    rows: int
    cols: int
    side: int
    overlap: int = 0

    @property
    def n_tiles(self) -> int:
        """T."""
        return self.rows * self.cols

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the frame in patches."""
        step = self.side - self.overlap
        return self.rows * step + self.overlap, self.cols * step + self.overlap

    @cached_property
    def source(self) -> npt.NDArray[np.intp]:
        """`[height * width]`: which of all tiles' `T * side * side` patches each patch of the frame is."""
        (tile_rows, rows), (tile_cols, cols) = self._along(self.rows), self._along(self.cols)
        tile = tile_rows[:, None] * self.cols + tile_cols
        patch = rows[:, None] * self.side + cols
        return np.asarray(tile * self.side**2 + patch, np.intp).ravel()

    def stitch(self, tokens: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Tokens `[T, ..., P, C]` of the tiles as those of the frame, `[..., H * W, C]`."""
        together = np.moveaxis(tokens, 0, -3)
        joined = together.reshape(*together.shape[:-3], -1, together.shape[-1])
        return np.ascontiguousarray(joined[..., self.source, :])

    def _along(self, n_tiles: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """For each patch along one axis: its tile, and its place in that tile."""
        step = self.side - self.overlap
        places = np.arange(n_tiles * step + self.overlap)
        within = places[None] - step * np.arange(n_tiles)[:, None]
        depth = np.minimum(within, self.side - 1 - within)  # negative outside of the tile
        tile = depth.argmax(axis=0)
        return tile, places - step * tile


@lru_cache(maxsize=64)
def grid_of(rows: int, cols: int, overlap: int, n_patches: int) -> tuple[int, int]:
    """(height, width) in patches of the grid that `rows` x `cols` square tiles with `n_patches` in all make.

    Raises:
        FrameError: no side of a tile gives so many patches.
    """
    for side in count(max(1, 2 * overlap) if rows * cols > 1 else 1):  # one tile shares nothing
        height, width = Tiling(rows, cols, side, overlap).grid
        if height * width == n_patches:
            return height, width
        if height * width > n_patches:
            break
    if (rows, cols) == (1, 1):
        expected = "a square number (grid x grid)"
    else:
        expected = f"those of {rows} x {cols} square tiles that share {overlap}"
    raise FrameError(f"patch_scores: got {n_patches} patches, expected {expected}")
