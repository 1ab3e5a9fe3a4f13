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


@compiled
def match_tiles(
    turn: Any, arrival: Any, kept: Any, slots: Any, halos: Any, scratch: Any, forward: Any, backward: Any
) -> None:
    """Tiles `turn[0] .. turn[1] - 1` of `S * R`, stage-major: fill `forward`, `backward [R, S, D, P]`.

    `arrival` and `kept` are `Packed`, the latter with a slot axis and perhaps compact; `slots [R]`;
    `halos [D]`, degree // 2.
    """
    n_slots = len(slots)
    for tile in range(turn[0], turn[1]):
        stage, at = tile // n_slots, tile % n_slots
        one = Packed(
            arrival.tokens[stage], arrival.norms[stage], arrival.residuals[stage], arrival.windows[stage]
        )
        tokens = kept.tokens[slots[at], stage]
        if tokens.shape[1] < one.tokens.shape[1]:
            expand(tokens, scratch.tokens)
            tokens = scratch.tokens
        slot = slots[at]
        other = Packed(
            tokens, kept.norms[slot, stage], kept.residuals[slot, stage], kept.windows[slot, stage]
        )
        found_near = _match_stage(one, other, halos, scratch)
        _write_distances(one.norms, other.norms, scratch, forward[at, stage], backward[at, stage])
        if found_near:
            refine(one, other, halos, scratch, forward[at, stage], backward[at, stage])


@compiled
def _match_stage(one: Any, other: Any, halos: Any, scratch: Any) -> bool:
    """Best cosines of both images' patches, into `scratch`; True if nearly identical ones were noted."""
    side = scratch.products.shape[1]
    # A plain constant has a type of its own: the functions it is passed to would be compiled twice.
    zero, found_near = int(np.int64(0)), bool(np.bool_(False))
    reach, fast, done = zero, zero, zero
    for halo in halos:
        reach = max(reach, halo)
        if 1 <= halo <= min(2, side - 1):
            fast |= 1 << halo
    scratch.best_columns[:] = LOWEST
    for grid_row in range(side):
        # A grid row's windows reach `reach` grid rows further: multiply that far, while it is in cache.
        while done * PANEL < min(grid_row + 1 + reach, side) * side:
            _multiply_panel(done, reach, one, other, scratch)
            done += 1
        band = grid_row + reach
        sum_rows(fast, band, scratch)
        for i in range(len(halos)):
            halo = halos[i]
            if halo == 0 or fast >> halo & 1:
                which = 1 if fast == 6 and halo == 2 else 0
                near = take_maxima(
                    i, halo, which, band, grid_row, one.norms, other.norms, scratch, found_near
                )
            else:
                near = maxima_of_any_halo(
                    i, halo, band, grid_row, one.norms, other.norms, scratch, found_near
                )
            found_near = found_near or near
    return found_near


@compiled
def _multiply_panel(panel: int, reach: int, one: Any, other: Any, scratch: Any) -> None:
    """16 rows of the degree-1 product matrix."""
    n_panels, n_pairs = other.tokens.shape[0], other.tokens.shape[1]
    side, stride = scratch.products.shape[1], scratch.products.shape[2] * 4
    panel_bytes = n_pairs * PANEL * 4
    rows = one.tokens.ctypes.data + panel * panel_bytes
    row_scale = one.norms.ctypes.data + panel * PANEL * 4
    columns, column_scale = other.tokens.ctypes.data, other.norms.ctypes.data
    out = scratch.products.ctypes.data + (reach * side + panel * PANEL) * stride
    for at in range(n_panels):
        across = at * PANEL * 4
        column = columns + at * panel_bytes
        product_block(rows, column, n_pairs, row_scale, column_scale + across, out + across, stride)


@compiled
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


@compiled
def _distance(cosine: float, is_empty: bool, other_has_empty: bool) -> Any:
    if is_empty:
        return np.float32(0.0 if other_has_empty else 1.0)
    distance = math.sqrt(max(np.float32(0.0), np.float32(2.0) - np.float32(2.0) * cosine))
    return np.float32(min(distance, 1.0) if other_has_empty else distance)
