"""The rare paths of a tile: nearly identical patches, and degrees without a fast window sum."""

import math
from typing import Any

import numpy as np
from numba import njit

from musc_online.nearest.lanes import LOWEST
from musc_online.nearest.packing import sum_windows, unpack_stage


@njit(nogil=True, cache=True)
def note_near(
    i: int, row: int, cosines: Any, column_norms: Any, threshold: float, scratch: Any, started: bool
) -> None:
    """Remember the winners among one row's cosines that are above `threshold`, both ways.

    A column's winner above the threshold lies in a row with a cosine above it, so visiting these rows
    finds all. `started` is False for the first such row of a tile.
    """
    if not started:
        scratch.near_rows[:] = -1
        scratch.near_columns[:] = -1
        scratch.near_best[:] = threshold
    best = threshold
    for column in range(len(scratch.near_best[i])):
        cosine = cosines[column]
        if cosine > threshold and column_norms[column] > 0.0:
            if cosine > best:
                best = cosine
                scratch.near_rows[i, row] = column
            if cosine > scratch.near_best[i, column]:
                scratch.near_best[i, column] = cosine
                scratch.near_columns[i, column] = row


@njit(nogil=True, cache=True)
def refine(
    row_tokens: Any, row_norms: Any, column_tokens: Any, column_norms: Any, halos: Any, scratch: Any,
    forward: Any, backward: Any,
) -> None:  # fmt: skip
    """Distances of the noted winners from the difference of the two vectors, which loses no digits.

    Both images' window vectors are built once, whatever the number of winners: a standing line of
    identical frames costs a bounded multiple of a moving one.
    """
    n_degrees, n_patches = forward.shape
    shape = (n_patches, 2 * row_tokens.shape[1])
    rows, columns = np.empty(shape, np.float32), np.empty(shape, np.float32)
    row_sums, column_sums, spare = (
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
    )
    unpack_stage(row_tokens, row_norms[0], rows)
    unpack_stage(column_tokens, column_norms[0], columns)
    for i in range(n_degrees):
        if scratch.near_rows[i].max() < 0:
            continue
        sum_windows(rows, halos[i], spare, row_sums)
        sum_windows(columns, halos[i], spare, column_sums)
        for patch in range(n_patches):
            winner = scratch.near_rows[i, patch]
            if winner >= 0:
                forward[i, patch] = _difference(
                    row_sums[patch], row_norms[1 + i, patch], column_sums[winner], column_norms[1 + i, winner]
                )
            winner = scratch.near_columns[i, patch]
            if winner >= 0:
                backward[i, patch] = _difference(
                    row_sums[winner], row_norms[1 + i, winner], column_sums[patch], column_norms[1 + i, patch]
                )


@njit(nogil=True, cache=True)
def _difference(one: Any, one_norm: float, other: Any, other_norm: float) -> float:
    total = 0.0
    for channel in range(len(one)):
        gap = np.float64(one[channel] * one_norm - other[channel] * other_norm)
        total += gap * gap
    return np.float32(math.sqrt(total))


@njit(nogil=True, cache=True)
def windows_anyhow(
    i: int, halo: int, grid_row: int, reach: int, row_norms: Any, column_norms: Any, scratch: Any,
    found_near: bool,
) -> bool:  # fmt: skip
    """What `sum_row_windows` and `column_maxima` do, for any halo and any grid, in plain loops."""
    side = scratch.products.shape[1]
    n_patches = side * side
    threshold = np.float32(1.0 - 2e-4)
    down = np.zeros((side, n_patches), np.float32)
    for band in range(grid_row + reach - halo, grid_row + reach + halo + 1):
        down += scratch.products[band, :, :n_patches]
    row_line = np.empty(n_patches, np.float32)
    column_line = np.empty(n_patches, np.float32)
    cosines = np.empty(scratch.edges.shape[1], np.float32)
    near = False
    for row in range(side):
        patch = grid_row * side + row
        row_line[:] = 0.0
        for other in range(max(0, row - halo), min(side, row + halo + 1)):
            row_line += down[other]
        _sum_grid(row_line, side, halo, column_line)
        cosines[:] = LOWEST
        best = np.float32(LOWEST)
        for column in range(n_patches):
            value = column_line[column]
            cosines[column] = value * column_norms[1 + i, column] * row_norms[1 + i, patch]
            best = max(best, cosines[column])
            scratch.best_columns[i, column] = max(
                scratch.best_columns[i, column], value * row_norms[1 + i, patch]
            )
        scratch.best_rows[i, patch] = best
        if best > threshold:
            note_near(i, patch, cosines, column_norms[1 + i], threshold, scratch, found_near or near)
            near = True
    return near


@njit(nogil=True, cache=True)
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
            out[row * side : (row + 1) * side] += across[near * side : (near + 1) * side]
