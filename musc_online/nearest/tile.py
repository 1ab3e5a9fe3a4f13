"""Nearest patches of two images at one stage, for all degrees and both ways, in cache-sized steps."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from musc_online.nearest.lanes import LOWEST, PANEL
from musc_online.nearest.near import note_near, refine, windows_anyhow
from musc_online.nearest.packing import aligned_zeros
from musc_online.nearest.product import product_block
from musc_online.nearest.windows import column_maxima, sum_row_windows

# From this cosine on (distances below 0.02) sqrt(2 - 2 cos) has lost too many digits: see `near.refine`.
NEAR_COSINE = np.float32(1.0 - 2e-4)
_LOWEST = np.float32(LOWEST)
_LINE_MARGIN = 16


class Scratch(NamedTuple):
    """Working memory of one thread; the zeros around the data are never written.

    `products [side + 2 * reach + spare, side, P16 + unused]`: degree-1 products of the two images, rows
    of the arrival. `sums [2, side, zeros + P16 + zeros]`: one grid row summed over its rows' windows. `lines`: one or
    two rows summed over the columns' grid. `edges [5, P16]`: see `column_maxima`.
    `best_rows`, `best_columns [D, P16]`: largest cosines. `near_rows`, `near_columns [D, P16]`: winners of
    nearly identical patches, else -1; `near_best [D, P16]` the cosines of the columns' winners.
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


def make_scratch(n_patches: int, halos: npt.NDArray[np.int64]) -> Scratch:
    """Zeroed working memory for one thread."""
    side = math.isqrt(n_patches)
    padded = math.ceil(n_patches / PANEL) * PANEL
    spare = math.ceil(PANEL / side)  # the last panel may reach past the last patch
    reach = int(halos.max())
    margin = _zeros_before(side)
    column = np.arange(n_patches) % side
    edges = aligned_zeros((5, padded), np.float32)
    edges[0, n_patches:] = _LOWEST
    edges[1:, :n_patches] = [column >= 1, column < side - 1, column >= 2, column < side - 2]
    per_degree = (len(halos), padded)
    return Scratch(
        products=aligned_zeros((side + 2 * reach + spare, side, _row_length(padded)), np.float32),
        sums=aligned_zeros((2, side, _row_length(padded + 2 * margin)), np.float32),
        lines=aligned_zeros((4, padded + 2 * _LINE_MARGIN), np.float32),
        edges=edges,
        best_rows=aligned_zeros(per_degree, np.float32),
        best_columns=aligned_zeros(per_degree, np.float32),
        near_rows=aligned_zeros(per_degree, np.int32),
        near_columns=aligned_zeros(per_degree, np.int32),
        near_best=aligned_zeros(per_degree, np.float32),
    )


@njit(nogil=True, cache=True)
def _zeros_before(side: int) -> int:
    """Zeros on either side of a row of `sums`: two grid rows, in whole cache lines."""
    return (2 * side + PANEL - 1) // PANEL * PANEL


def _row_length(n_values: int) -> int:
    """At least `n_values`, an odd number of cache lines: a grid row's rows then use all sets of the cache."""
    n_lines = math.ceil(n_values / PANEL)
    return (n_lines + 1 - n_lines % 2) * PANEL


@njit(nogil=True, cache=True)
def match_tiles(
    first: int,
    last: int,
    arrival: Any,
    kept: Any,
    slots: Any,
    halos: Any,
    scratch: Any,
    forward: Any,
    backward: Any,
) -> None:
    """Tiles `first..last-1` of `S * R` (stage-major): fill `forward` and `backward [R, S, D, P]`."""
    n_slots = len(slots)
    for tile in range(first, last):
        stage, at = tile // n_slots, tile % n_slots
        slot = slots[at]
        _match_stage(
            arrival.tokens[stage], arrival.norms[stage], kept.tokens[slot, stage], kept.norms[slot, stage],
            halos, scratch, forward[at, stage], backward[at, stage],
        )  # fmt: skip


@njit(nogil=True, cache=True)
def _match_stage(
    row_tokens: Any, row_norms: Any, column_tokens: Any, column_norms: Any, halos: Any, scratch: Any,
    forward: Any, backward: Any,
) -> None:  # fmt: skip
    side = scratch.products.shape[1]
    reach = (scratch.products.shape[0] - side - (PANEL + side - 1) // side) // 2
    fast = 0
    for halo in halos:
        if 1 <= halo <= 2 and halo < side:
            fast |= 1 << halo
    if fast == 6 and side <= 2:
        fast = 2
    scratch.best_columns[:] = _LOWEST
    found_near = False
    done = 0
    for grid_row in range(side):
        needed = min((grid_row + 1 + reach) * side, side * side)
        while done * PANEL < needed:
            _multiply_panel(done, reach, row_tokens, row_norms, column_tokens, column_norms, scratch)
            done += 1
        _sum_rows(fast, grid_row + reach, scratch)
        for i in range(len(halos)):
            halo = halos[i]
            if halo == 0 or fast >> halo & 1:
                which = 1 if fast == 6 and halo == 2 else 0
                near = _maxima(i, halo, which, grid_row, reach, row_norms, column_norms, scratch, found_near)
            else:
                near = windows_anyhow(i, halo, grid_row, reach, row_norms, column_norms, scratch, found_near)
            found_near = found_near or near
    _write_distances(row_norms, column_norms, scratch, forward, backward)
    if found_near:
        refine(row_tokens, row_norms, column_tokens, column_norms, halos, scratch, forward, backward)


@njit(nogil=True, cache=True)
def _multiply_panel(
    panel: int,
    reach: int,
    row_tokens: Any,
    row_norms: Any,
    column_tokens: Any,
    column_norms: Any,
    scratch: Any,
) -> None:
    """16 rows of the degree-1 product matrix."""
    n_panels, n_pairs = column_tokens.shape[0], column_tokens.shape[1]
    side, stride = scratch.products.shape[1], scratch.products.shape[2] * 4
    panel_bytes = n_pairs * PANEL * 4
    rows = row_tokens.ctypes.data + panel * panel_bytes
    row_scale = row_norms.ctypes.data + panel * PANEL * 4
    columns, column_scale = column_tokens.ctypes.data, column_norms.ctypes.data
    out = scratch.products.ctypes.data + (reach * side + panel * PANEL) * stride
    for other in range(n_panels):
        product_block(
            rows, columns + other * panel_bytes, n_pairs, row_scale, column_scale + other * PANEL * 4,
            out + other * PANEL * 4, stride,
        )  # fmt: skip


@njit(nogil=True, cache=True)
def _sum_rows(fast: int, band: int, scratch: Any) -> None:
    """Row-window sums of one grid row, for the halos in `fast`, into `scratch.sums`."""
    side, padded = scratch.products.shape[1], scratch.edges.shape[1]
    row_bytes = scratch.products.shape[2] * 4
    band_bytes = side * row_bytes
    source = scratch.products.ctypes.data + band * band_bytes
    width = scratch.sums.shape[2]
    out = scratch.sums.ctypes.data + _zeros_before(side) * 4
    if fast == 2:
        sum_row_windows(2, source, side, band_bytes, row_bytes, padded, out, width * 4, side * width * 4)
    elif fast == 4:
        sum_row_windows(4, source, side, band_bytes, row_bytes, padded, out, width * 4, side * width * 4)
    elif fast == 6:
        sum_row_windows(6, source, side, band_bytes, row_bytes, padded, out, width * 4, side * width * 4)


@njit(nogil=True, cache=True)
def _maxima(
    i: int, halo: int, which: int, grid_row: int, reach: int, row_norms: Any, column_norms: Any, scratch: Any,
    found_near: bool,
) -> bool:  # fmt: skip
    """Maxima of one grid row's rows at the i-th degree; True if a patch has a nearly identical one."""
    side, padded = scratch.products.shape[1], scratch.edges.shape[1]
    width = scratch.sums.shape[2]
    if halo == 0:
        stride = scratch.products.shape[2] * 4
        source = scratch.products.ctypes.data + (grid_row + reach) * side * stride
    else:
        source = scratch.sums.ctypes.data + (which * side * width + _zeros_before(side)) * 4
        stride = width * 4
    line_bytes = scratch.lines.shape[1] * 4
    line, edges = scratch.lines.ctypes.data + _LINE_MARGIN * 4, scratch.edges.ctypes.data
    first = grid_row * side
    norms_r = row_norms.ctypes.data + ((1 + i) * padded + first) * 4
    norms_c = column_norms.ctypes.data + (1 + i) * padded * 4
    best_r = scratch.best_rows.ctypes.data + (i * padded + first) * 4
    best_c = scratch.best_columns.ctypes.data + i * padded * 4
    row = 0
    while row + 1 < side:
        at, by = source + row * stride, row * 4
        if halo == 0:
            column_maxima(
                0,
                2,
                0,
                at,
                stride,
                side,
                padded,
                line,
                line_bytes,
                edges,
                norms_r + by,
                norms_c,
                best_r + by,
                best_c,
            )
        elif halo == 1:
            column_maxima(
                1,
                2,
                0,
                at,
                stride,
                side,
                padded,
                line,
                line_bytes,
                edges,
                norms_r + by,
                norms_c,
                best_r + by,
                best_c,
            )
        else:
            column_maxima(
                2,
                2,
                0,
                at,
                stride,
                side,
                padded,
                line,
                line_bytes,
                edges,
                norms_r + by,
                norms_c,
                best_r + by,
                best_c,
            )
        row += 2
    near = False
    for row in range(side):
        odd = row == side - 1 and side % 2 == 1
        close = not odd and scratch.best_rows[i, first + row] > NEAR_COSINE
        if odd or close:
            at, by = source + row * stride, row * 4
            if halo == 0:
                column_maxima(
                    0,
                    1,
                    1,
                    at,
                    stride,
                    side,
                    padded,
                    line,
                    line_bytes,
                    edges,
                    norms_r + by,
                    norms_c,
                    best_r + by,
                    best_c,
                )
            elif halo == 1:
                column_maxima(
                    1,
                    1,
                    1,
                    at,
                    stride,
                    side,
                    padded,
                    line,
                    line_bytes,
                    edges,
                    norms_r + by,
                    norms_c,
                    best_r + by,
                    best_c,
                )
            else:
                column_maxima(
                    2,
                    1,
                    1,
                    at,
                    stride,
                    side,
                    padded,
                    line,
                    line_bytes,
                    edges,
                    norms_r + by,
                    norms_c,
                    best_r + by,
                    best_c,
                )
            if scratch.best_rows[i, first + row] > NEAR_COSINE:
                note_near(
                    i,
                    first + row,
                    scratch.lines[1, _LINE_MARGIN:],
                    column_norms[1 + i],
                    NEAR_COSINE,
                    scratch,
                    found_near or near,
                )
                near = True
    return near


@njit(nogil=True, cache=True)
def _write_distances(row_norms: Any, column_norms: Any, scratch: Any, forward: Any, backward: Any) -> None:
    """Cosines to distances; an empty window is a zero vector, at distance 1 from any unit vector."""
    n_degrees, n_patches = forward.shape
    for i in range(n_degrees):
        empty_row, empty_column = False, False
        for patch in range(n_patches):
            empty_row = empty_row or row_norms[1 + i, patch] == 0.0
            empty_column = empty_column or column_norms[1 + i, patch] == 0.0
        for patch in range(n_patches):
            cosine = scratch.best_rows[i, patch]
            forward[i, patch] = _distance(cosine, row_norms[1 + i, patch] == 0.0, empty_column)
            cosine = scratch.best_columns[i, patch] * column_norms[1 + i, patch]
            backward[i, patch] = _distance(cosine, column_norms[1 + i, patch] == 0.0, empty_row)


@njit(nogil=True, cache=True)
def _distance(cosine: float, is_empty: bool, other_has_empty: bool) -> float:
    if is_empty:
        return np.float32(0.0 if other_has_empty else 1.0)
    distance = math.sqrt(max(np.float32(0.0), np.float32(2.0) - np.float32(2.0) * cosine))
    return np.float32(min(distance, 1.0) if other_has_empty else distance)
