"""Window sums and maxima for any halo on any grid, in plain loops: right for all, fast for none."""

from typing import Any

import numpy as np

from musc_online.compiled import compiled
from musc_online.nearest.gemm.lanes import LOWEST
from musc_online.nearest.gemm.near import is_near, note_near


@compiled
def maxima_of_any_halo(
    i: int,
    halo: int,
    band: int,
    grid_row: int,
    row_norms: Any,
    column_norms: Any,
    scratch: Any,
    started: bool,
) -> bool:
    """What `sum_rows` and `take_maxima` do together, for the i-th degree; True if it noted near patches."""
    side = scratch.products.shape[1]
    n_patches = side * side
    down = np.zeros((side, n_patches), np.float32)
    for near_band in range(band - halo, band + halo + 1):
        for row in range(side):
            _add(down[row], scratch.products[near_band, row])
    row_sum, sums = np.empty(n_patches, np.float32), np.empty(n_patches, np.float32)
    cosines = np.full(scratch.edges.shape[1], LOWEST, np.float32)
    found = bool(np.bool_(False))
    for row in range(side):
        patch = grid_row * side + row
        row_sum[:] = 0.0
        for near_row in range(max(0, row - halo), min(side, row + halo + 1)):
            _add(row_sum, down[near_row])
        _sum_grid(row_sum, side, halo, sums)
        best = np.float32(LOWEST)
        for column in range(n_patches):
            sums[column] *= row_norms[1 + i, patch]
            cosines[column] = sums[column] * column_norms[1 + i, column]
            best = max(best, cosines[column])
            scratch.best_columns[i, column] = max(scratch.best_columns[i, column], sums[column])
        scratch.best_rows[i, patch] = best
        if is_near(i, patch, row_norms, scratch):
            note_near(i, patch, cosines, column_norms[1 + i], scratch, started or found)
            found = True
    return found


@compiled
def _sum_grid(values: Any, side: int, halo: int, out: Any) -> None:
    """Window sums of one `[P]` row over the grid it spans."""
    across = np.zeros_like(values)
    for row in range(side):
        for column in range(side):
            for near in range(max(0, column - halo), min(side, column + halo + 1)):
                across[row * side + column] += values[row * side + near]
    out[:] = 0.0
    for row in range(side):
        for near in range(max(0, row - halo), min(side, row + halo + 1)):
            _add(out[row * side : (row + 1) * side], across[near * side : (near + 1) * side])


@compiled
def _add(total: Any, values: Any) -> None:
    """By index: whole-array sums would bring the compiler numba's broadcasting and its error messages."""
    for at in range(len(total)):
        total[at] += values[at]
