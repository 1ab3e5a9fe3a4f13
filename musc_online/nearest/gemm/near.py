"""Winners whose distances are taken from the difference of the two vectors.

Of features in 15 bits these are nearly identical patches only; what remains is the rounding of `packing`:
equal patches are at exactly 0, and patches that differ by less than about 4e-4 (at 384 channels) are told
apart no better than that. Of fine features it is every winner: distances are then right to about 1e-6.
"""

import math
from typing import Any

import numpy as np

from musc_online.compiled import compiled, reordering
from musc_online.nearest.gemm.lanes import LOWEST as _LOWEST
from musc_online.nearest.gemm.packing import unit_windows_of, unpack_stage
from musc_online.nearest.gemm.reach import has_empty, sees_empty

LOWEST = np.float32(_LOWEST)

NEAR_COSINE = np.float32(1.0 - 2e-4)
"""From this cosine on (distances below 0.02) sqrt(2 - 2 cos) has lost too many digits."""

ANY_COSINE = np.float32(-2.0)
"""Below every cosine: all winners are refined."""


@compiled
def is_near(i: int, row: int, row_norms: Any, scratch: Any) -> bool:
    """Whether a row's winner at the i-th degree is to be refined; an empty window has none."""
    return bool(scratch.best_rows[i, row] > scratch.near_from[0] and row_norms[1 + i, row] > 0.0)


@compiled
def note_near(
    i: int, row: int, band: Any, cosines: Any, column_norms: Any, scratch: Any, started: bool
) -> None:
    """Remember the winners, both ways, among one row's cosines with the other image at the i-th degree.

    `band`: the first column that is looked at, and the one after the last. What is masked is far below.
    A column's winner above `near_from` lies in a row with a cosine above it, so visiting these rows
    finds all. `started` is False for the first such row of a tile.
    """
    if not started:
        scratch.near_rows[:] = -1
        scratch.near_columns[:] = -1
        scratch.near_best[:] = scratch.near_from[0]
    first, last = band  # sliced off: of indices that begin at 0 vectors can be made
    column_best, column_winner = scratch.near_best[i, first:last], scratch.near_columns[i, first:last]
    cosines, column_norms = cosines[first:last], column_norms[first:last]
    best = scratch.near_from[0]
    for column in range(len(column_best)):  # without branches, for vectors
        cosine = cosines[column] if column_norms[column] > 0.0 else LOWEST
        better = cosine > column_best[column]
        column_best[column] = cosine if better else column_best[column]
        column_winner[column] = row if better else column_winner[column]
        best = max(best, cosine)
    winner = -1
    if best > scratch.near_from[0]:
        winner = 0
        while cosines[winner] != best or column_norms[winner] == 0.0:
            winner += 1
    scratch.near_rows[i, row] = first + winner if winner >= 0 else -1


@compiled
def refine(one: Any, other: Any, halos: Any, reach: Any, scratch: Any, forward: Any, backward: Any) -> None:
    """Overwrite the distances of the noted winners: a difference loses no digits.

    Both images' window vectors are built once, whatever the number of winners: a standing line of
    identical frames costs a bounded multiple of a moving one. Only here the matcher allocates. Where the
    other image has an empty window among the candidates no distance is above 1, that to a zero vector.
    """
    n_degrees, n_patches = forward.shape
    shape = (n_patches, 2 * one.tokens.shape[1])
    one_maps, other_maps, spare = (
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
    )
    one_units, other_units = np.empty(shape, np.float32), np.empty(shape, np.float32)
    prepared = one.windows.shape[2] > 0
    if not prepared:
        unpack_stage(one.tokens, one.norms[0], one.residuals, one_maps)
    unpack_stage(other.tokens, other.norms[0], other.residuals, other_maps)
    for i in range(n_degrees):
        if not _any(scratch.near_rows[i]):
            continue
        if prepared:
            one_units = one.windows[i]
        else:
            unit_windows_of(one_maps, reach.width, halos[i], spare, one_units)
        unit_windows_of(other_maps, reach.width, halos[i], spare, other_units)
        one_norms, other_norms = one.norms[1 + i], other.norms[1 + i]
        one_empty, other_empty = has_empty(one_norms, reach), has_empty(other_norms, reach)
        for patch in range(n_patches):
            at = scratch.near_rows[i, patch]
            if at >= 0:
                most = 1.0 if other_empty and sees_empty(patch, other_norms, reach) else 2.0
                forward[i, patch] = min(_difference(one_units[patch], other_units[at]), most)
            at = scratch.near_columns[i, patch]
            if at >= 0:
                most = 1.0 if one_empty and sees_empty(patch, one_norms, reach) else 2.0
                backward[i, patch] = min(_difference(one_units[at], other_units[patch]), most)


@compiled
def _any(winners: Any) -> bool:
    for winner in winners:  # noqa: SIM110 - numba knows no any()
        if winner >= 0:
            return True
    return False


@reordering
def _difference(one: Any, other: Any) -> Any:
    total = np.float32(0.0)
    for channel in range(len(one)):
        gap = one[channel] - other[channel]
        total += gap * gap
    return np.float32(math.sqrt(total))
