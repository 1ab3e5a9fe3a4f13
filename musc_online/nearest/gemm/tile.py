"""Nearest patches of two images at one stage, for all degrees and both ways, in cache-sized steps."""

import math
from typing import Any

import numpy as np

from musc_online.compiled import compiled
from musc_online.nearest.gemm.lanes import LOWEST, PANEL
from musc_online.nearest.gemm.maxima import maxima_of_any_halo, sum_rows, take_maxima
from musc_online.nearest.gemm.near import refine
from musc_online.nearest.gemm.packing import Packed, expand
from musc_online.nearest.gemm.product import product_block
from musc_online.nearest.gemm.reach import band_of, has_empty, of_stage, sees_empty


@compiled
def match_tiles(
    turn: Any, arrival: Any, kept: Any, slots: Any, halos: Any, reaches: Any, scratch: Any, forward: Any,
    backward: Any,
) -> None:  # fmt: skip
    """Tiles `turn[0] .. turn[1] - 1` of `S * R`, stage-major: fill `forward`, `backward [R, S, D, P]`.

    `arrival` and `kept` are `Packed`, the latter with a slot axis and perhaps compact; `slots [R]`;
    `halos [D]`, degree // 2; `reaches` is a `Reach` of all stages.
    """
    n_slots = len(slots)
    for tile in range(turn[0], turn[1]):
        stage, at = tile // n_slots, tile % n_slots
        one = Packed(
            arrival.tokens[stage], arrival.norms[stage], arrival.residuals[stage], arrival.windows[stage]
        )
        reach = of_stage(reaches, stage)
        tokens = kept.tokens[slots[at], stage]
        if tokens.shape[1] < one.tokens.shape[1]:
            expand(tokens, scratch.tokens)
            tokens = scratch.tokens
        slot = slots[at]
        other = Packed(
            tokens, kept.norms[slot, stage], kept.residuals[slot, stage], kept.windows[slot, stage]
        )
        found_near = _match_stage(one, other, halos, reach, scratch)
        _write_distances(one.norms, other.norms, reach, scratch, forward[at, stage], backward[at, stage])
        if found_near:
            refine(one, other, halos, reach, scratch, forward[at, stage], backward[at, stage])


@compiled
def _match_stage(one: Any, other: Any, halos: Any, reach: Any, scratch: Any) -> bool:
    """Best cosines of both images' patches, into `scratch`; True if nearly identical ones were noted."""
    height, width = reach.height, reach.width
    # A plain constant has a type of its own: the functions it is passed to would be compiled twice.
    zero, found_near = int(np.int64(0)), bool(np.bool_(False))
    largest, fast, done = zero, zero, zero
    for halo in halos:
        largest = max(largest, halo)
        if 1 <= halo <= min(2, width - 1):
            fast |= 1 << halo
    scratch.best_columns[:] = LOWEST
    for grid_row in range(height):
        # A grid row's windows reach `largest` grid rows further: multiply that far, while it is in cache.
        while done * PANEL < min(grid_row + 1 + largest, height) * width:
            _multiply_panel(done, largest, one, other, reach, scratch)
            done += 1
        sum_rows(fast, largest, grid_row, reach, scratch)
        for i in range(len(halos)):
            halo = halos[i]
            if halo == 0 or fast >> halo & 1:
                which = 1 if fast == 6 and halo == 2 else 0
                near = take_maxima(
                    i, halo, which, largest, grid_row, one.norms, other.norms, reach, scratch, found_near
                )
            else:
                near = maxima_of_any_halo(
                    i, halo, largest, grid_row, one.norms, other.norms, reach, scratch, found_near
                )
            found_near = found_near or near
    return found_near


@compiled
def _multiply_panel(panel: int, largest: int, one: Any, other: Any, reach: Any, scratch: Any) -> None:
    """16 rows of the degree-1 product matrix, in the columns that the rows' windows are compared with.

    A window reaches `largest` grid rows beyond its patch, and so does that of each of its candidates.
    """
    n_pairs, width = other.tokens.shape[1], reach.width
    stride = scratch.products.shape[2] * 4
    panel_bytes = n_pairs * PANEL * 4
    rows = one.tokens.ctypes.data + panel * panel_bytes
    row_scale = one.norms.ctypes.data + panel * PANEL * 4
    columns, column_scale = other.tokens.ctypes.data, other.norms.ctypes.data
    out = scratch.products.ctypes.data + (largest * width + panel * PANEL) * stride
    first_row, last_row = panel * PANEL // width, (panel * PANEL + PANEL - 1) // width
    first, last = band_of(reach, first_row, last_row, 2 * largest)
    for at in range(first // PANEL, last // PANEL):
        across = at * PANEL * 4
        column = columns + at * panel_bytes
        product_block(rows, column, n_pairs, row_scale, column_scale + across, out + across, stride)


@compiled
def _write_distances(
    row_norms: Any, column_norms: Any, reach: Any, scratch: Any, forward: Any, backward: Any
) -> None:
    """Cosines to distances; an empty window is a zero vector, at distance 1 from any unit vector."""
    n_degrees, n_patches = forward.shape
    for i in range(n_degrees):
        rows, columns = row_norms[1 + i], column_norms[1 + i]
        empty_row, empty_column = has_empty(rows, reach), has_empty(columns, reach)
        for patch in range(n_patches):
            if reach.ignored[patch]:
                forward[i, patch] = 0.0
                backward[i, patch] = 0.0
                continue
            cosine, sees = scratch.best_rows[i, patch], empty_column and sees_empty(patch, columns, reach)
            forward[i, patch] = _distance(cosine, rows[patch] == 0.0, sees)
            cosine = scratch.best_columns[i, patch] * columns[patch]
            sees = empty_row and sees_empty(patch, rows, reach)
            backward[i, patch] = _distance(cosine, columns[patch] == 0.0, sees)


@compiled
def _distance(cosine: float, is_empty: bool, sees_an_empty: bool) -> Any:
    if is_empty:
        return np.float32(0.0 if sees_an_empty else 1.0)
    distance = math.sqrt(max(np.float32(0.0), np.float32(2.0) - np.float32(2.0) * cosine))
    return np.float32(min(distance, 1.0) if sees_an_empty else distance)
