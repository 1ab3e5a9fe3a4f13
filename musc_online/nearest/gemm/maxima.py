"""One grid row's products to the maxima of every degree: which compiled loop serves which halo."""

from typing import Any

import numpy as np

from musc_online.compiled import compiled
from musc_online.nearest.gemm.column_maxima import column_maxima
from musc_online.nearest.gemm.near import is_near, note_near
from musc_online.nearest.gemm.scratch import LINE_MARGIN, ROWS_AT_ONCE, zeros_before
from musc_online.nearest.gemm.windows import sum_row_windows


@compiled
def sum_rows(fast: int, band: int, scratch: Any) -> None:
    """Row-window sums of one grid row, for the halos in the bit mask `fast`, into `scratch.sums`."""
    side, padded = scratch.products.shape[1], scratch.edges.shape[1]
    row_bytes, out_bytes = scratch.products.shape[2] * 4, scratch.sums.shape[2] * 4
    source = scratch.products.ctypes.data + band * side * row_bytes
    out = scratch.sums.ctypes.data + zeros_before(side) * 4
    where = (source, side * row_bytes, row_bytes, side, padded, out, out_bytes)
    if fast == 2:
        sum_row_windows(2, where)
    elif fast == 4:
        sum_row_windows(4, where)
    elif fast == 6:
        sum_row_windows(6, where)


@compiled
def take_maxima(
    i: int, halo: int, which: int, band: int, grid_row: int, row_norms: Any, column_norms: Any, scratch: Any,
    found_near: bool,
) -> bool:  # fmt: skip
    """Maxima of one grid row's rows at the i-th degree (halo 0 to 2, its sums the `which`-th).

    True if a patch has a nearly identical one; then the winners are noted.
    """
    side = scratch.products.shape[1]
    row, near = int(np.int64(0)), bool(np.bool_(False))
    while row + ROWS_AT_ONCE <= side:
        first = grid_row * side + row
        where = _where(i, halo, which, band, row, first, row_norms, column_norms, scratch)
        if halo == 0:
            column_maxima(0, ROWS_AT_ONCE, 0, where)
        elif halo == 1:
            column_maxima(1, ROWS_AT_ONCE, 0, where)
        else:
            column_maxima(2, ROWS_AT_ONCE, 0, where)
        row += ROWS_AT_ONCE
    for other in range(side):
        patch = grid_row * side + other
        if other >= row or is_near(i, patch, row_norms, scratch):
            where = _where(i, halo, which, band, other, patch, row_norms, column_norms, scratch)
            if halo == 0:
                column_maxima(0, 1, 1, where)
            elif halo == 1:
                column_maxima(1, 1, 1, where)
            else:
                column_maxima(2, 1, 1, where)
            if is_near(i, patch, row_norms, scratch):
                cosines = scratch.lines[1, LINE_MARGIN:]
                note_near(i, patch, cosines, column_norms[1 + i], scratch, found_near or near)
                near = True
    return near


@compiled
def _where(
    i: int,
    halo: int,
    which: int,
    band: int,
    row: int,
    patch: int,
    row_norms: Any,
    column_norms: Any,
    scratch: Any,
) -> Any:
    """The addresses `column_maxima` wants for the rows from `row` of the grid row on."""
    side, padded = scratch.products.shape[1], scratch.edges.shape[1]
    if halo == 0:
        stride = scratch.products.shape[2] * 4
        source = scratch.products.ctypes.data + (band * side + row) * stride
    else:
        stride = scratch.sums.shape[2] * 4
        source = scratch.sums.ctypes.data + (which * side + row) * stride + zeros_before(side) * 4
    line_bytes = scratch.lines.shape[1] * 4
    return (
        source,
        stride,
        side,
        padded,
        scratch.lines.ctypes.data + LINE_MARGIN * 4,
        line_bytes,
        scratch.edges.ctypes.data,
        row_norms.ctypes.data + ((1 + i) * padded + patch) * 4,
        column_norms.ctypes.data + (1 + i) * padded * 4,
        scratch.best_rows.ctypes.data + (i * padded + patch) * 4,
        scratch.best_columns.ctypes.data + i * padded * 4,
    )
