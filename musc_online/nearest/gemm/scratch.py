"""Working memory of one thread, laid out for the caches and allocated once."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from musc_online.compiled import compiled
from musc_online.nearest.gemm.lanes import LOWEST, PANEL
from musc_online.nearest.gemm.packing import aligned_zeros, empty

ROWS_AT_ONCE = 4
"""Rows that `column_maxima` takes together: they share what belongs to the columns."""

LINE_MARGIN = 16


class Scratch(NamedTuple):
    """Working memory of one thread; the zeros around the data are never written.

    `products [side + 2 * reach + spare, side, P16 + unused]`: degree-1 products of the two images, rows
    of the arrival. `sums [2, side, zeros + P16 + zeros]`: one grid row summed over its rows' windows.
    `lines`: a few rows summed over the columns' grid. `edges [5, P16]`: see `column_maxima`.
    `best_rows`, `best_columns [D, P16]`: largest cosines. `near_rows`, `near_columns [D, P16]`: winners of
    nearly identical patches, else -1; `near_best [D, P16]` the cosines of the columns' winners.
    `tokens`: one stage of the other image, expanded.
    """

    products: npt.NDArray[np.float32]
    sums: npt.NDArray[np.float32]
    lines: npt.NDArray[np.float32]
    edges: npt.NDArray[np.float32]
    best_rows: npt.NDArray[np.float32]
    best_columns: npt.NDArray[np.float32]
    near_rows: npt.NDArray[np.int32]
    near_columns: npt.NDArray[np.int32]
    near_best: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int16]


def make_scratch(n_patches: int, n_channels: int, halos: npt.NDArray[np.int64]) -> Scratch:
    """Zeroed working memory for one thread."""
    side = math.isqrt(n_patches)
    padded = math.ceil(n_patches / PANEL) * PANEL
    spare = math.ceil(PANEL / side)  # the last panel may reach past the last patch
    reach = int(halos.max())
    margin = zeros_before(side)
    column = np.arange(n_patches) % side
    edges = aligned_zeros((5, padded), np.float32)
    edges[0, n_patches:] = LOWEST
    edges[1:, :n_patches] = [column >= 1, column < side - 1, column >= 2, column < side - 2]
    per_degree = (len(halos), padded)
    return Scratch(
        products=aligned_zeros((side + 2 * reach + spare, side, _row_length(padded)), np.float32),
        sums=aligned_zeros((2, side, _row_length(padded + 2 * margin)), np.float32),
        lines=aligned_zeros((ROWS_AT_ONCE + 1, padded + 2 * LINE_MARGIN), np.float32),
        edges=edges,
        best_rows=aligned_zeros(per_degree, np.float32),
        best_columns=aligned_zeros(per_degree, np.float32),
        near_rows=aligned_zeros(per_degree, np.int32),
        near_columns=aligned_zeros(per_degree, np.int32),
        near_best=aligned_zeros(per_degree, np.float32),
        tokens=empty(1, 1, n_patches, n_channels, 1).tokens[0, 0],
    )


@compiled
def zeros_before(side: int) -> int:
    """Zeros on either side of a row of `sums`: two grid rows, in whole cache lines."""
    return (2 * side + PANEL - 1) // PANEL * PANEL


def _row_length(n_values: int) -> int:
    """At least `n_values`, an odd number of cache lines: a grid row's rows then use all sets of the cache."""
    n_lines = math.ceil(n_values / PANEL)
    return (n_lines + 1 - n_lines % 2) * PANEL
