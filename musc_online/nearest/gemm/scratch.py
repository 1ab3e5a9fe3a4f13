"""Working memory of one thread, laid out for the caches and allocated once."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from musc_online.arrays import Geometry
from musc_online.compiled import compiled
from musc_online.nearest.gemm.lanes import PANEL
from musc_online.nearest.gemm.packing import aligned_zeros

ROWS_AT_ONCE = 4
"""Rows that `column_maxima` takes together: they share what belongs to the columns."""

LINE_MARGIN = 16


class Scratch(NamedTuple):
    """Working memory of one thread; the zeros around the data are never written.

    `products [height + 2 * reach + spare, width, P16 + unused]`: degree-1 products of the two images, rows
    of the arrival. `sums [2, width, zeros + P16 + zeros]`: one grid row summed over its rows' windows.
    `lines`: a few rows summed over the columns' grid. `edges [4, P16]`: see `column_maxima`.
    `best_rows`, `best_columns [D, P16]`: largest cosines. `near_rows`, `near_columns [D, P16]`: winners of
    nearly identical patches, else -1; `near_best [D, P16]` the cosines of the columns' winners;
    `near_from [1]`: from which cosine on patches count as that. `tokens`: one stage of the other image,
    expanded.
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
    near_from: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int16]


def layout(geometry: Geometry) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of each array of a `Scratch`."""
    n_patches, halos = geometry.n_patches, [degree // 2 for degree in geometry.degrees]
    (height, width), n_panels = geometry.sides, math.ceil(n_patches / PANEL)
    padded = n_panels * PANEL
    spare = math.ceil(PANEL / width)  # the last panel may reach past the last patch
    per_degree = (len(halos), padded)
    return {
        "products": ((height + 2 * max(halos) + spare, width, _row_length(padded)), np.float32),
        "sums": ((2, width, _row_length(padded + 2 * zeros_before(width))), np.float32),
        "lines": ((ROWS_AT_ONCE + 1, padded + 2 * LINE_MARGIN), np.float32),
        "edges": ((4, padded), np.float32),
        "best_rows": (per_degree, np.float32),
        "best_columns": (per_degree, np.float32),
        "near_rows": (per_degree, np.int32),
        "near_columns": (per_degree, np.int32),
        "near_best": (per_degree, np.float32),
        "near_from": ((1,), np.float32),
        "tokens": ((n_panels, (geometry.n_channels + 1) // 2, PANEL, 2), np.int16),
    }


def make_scratch(geometry: Geometry, near_from: float) -> Scratch:
    """Working memory for one thread."""
    scratch = Scratch(
        **{name: aligned_zeros(shape, kind) for name, (shape, kind) in layout(geometry).items()}
    )
    width = geometry.sides[1]
    column = np.arange(geometry.n_patches) % width
    scratch.edges[:, : geometry.n_patches] = [
        column >= 1,
        column < width - 1,
        column >= 2,
        column < width - 2,
    ]
    scratch.near_from[0] = near_from
    return scratch


@compiled
def zeros_before(width: int) -> int:
    """Zeros on either side of a row of `sums`: two grid rows, in whole cache lines."""
    return (2 * width + PANEL - 1) // PANEL * PANEL


def _row_length(n_values: int) -> int:
    """At least `n_values`, an odd number of cache lines: a grid row's rows then use all sets of the cache."""
    n_lines = math.ceil(n_values / PANEL)
    return (n_lines + 1 - n_lines % 2) * PANEL
