"""One grid row's products to the maxima of every degree: which compiled loop serves which halo.

Halos up to 2 take `column_maxima`, written as vectors; any other takes plain loops, right for all and fast
for none.
"""

from typing import Any

import numpy as np

from musc_online.compiled import compiled
from musc_online.nearest.gemm.columns import column_maxima
from musc_online.nearest.gemm.lanes import LOWEST
from musc_online.nearest.gemm.near import is_near, note_near
from musc_online.nearest.gemm.reach import band_of, mask_of
from musc_online.nearest.gemm.scratch import LINE_MARGIN, ROWS_AT_ONCE, zeros_before
from musc_online.nearest.gemm.windows import sum_row_windows

NO_MASKS = (0, 0, 0, 0)


@compiled
def sum_rows(fast: int, largest: int, grid_row: int, reach: Any, scratch: Any) -> None:
    """Row-window sums of one grid row, for the halos in the bit mask `fast`, into `scratch.sums`.

    Of all columns that the windows of the grid row's candidates cover; `largest` is the largest halo.
    """
    width = reach.width
    first, last = band_of(reach, grid_row, grid_row, 2 if fast & 4 else 1)
    row_bytes, out_bytes = scratch.products.shape[2] * 4, scratch.sums.shape[2] * 4
    source = scratch.products.ctypes.data + (largest + grid_row) * width * row_bytes + first * 4
    out = scratch.sums.ctypes.data + (zeros_before(width) + first) * 4
    where = (source, width * row_bytes, row_bytes, width, last - first, out, out_bytes)
    if fast == 2:
        sum_row_windows(2, where)
    elif fast == 4:
        sum_row_windows(4, where)
    elif fast == 6:
        sum_row_windows(6, where)


@compiled
def take_maxima(
    i: int, halo: int, which: int, largest: int, grid_row: int, row_norms: Any, column_norms: Any, reach: Any,
    scratch: Any, found_near: bool,
) -> bool:  # fmt: skip
    """Maxima of one grid row's rows at the i-th degree (halo 0 to 2, its sums the `which`-th).

    True if a patch has a nearly identical one; then the winners are noted.
    """
    width = reach.width
    row, near = int(np.int64(0)), bool(np.bool_(False))
    band = band_of(reach, grid_row, grid_row, 0)
    begin = _where(i, halo, which, largest, grid_row, band, row_norms, column_norms, reach, scratch)
    while row + ROWS_AT_ONCE <= width:
        if reach.masked:
            _several(halo, 1, _from(begin, row, _masks(grid_row, row, band, reach)))
        else:
            _several(halo, 0, _from(begin, row, NO_MASKS))
        row += ROWS_AT_ONCE
    for other in range(width):
        patch = grid_row * width + other
        if other >= row or is_near(i, patch, row_norms, scratch):
            if reach.masked:
                _single(halo, 1, _from(begin, other, _masks(grid_row, other, band, reach)))
            else:
                _single(halo, 0, _from(begin, other, NO_MASKS))
            if is_near(i, patch, row_norms, scratch):
                cosines = scratch.lines[1, LINE_MARGIN:]
                note_near(i, patch, band, cosines, column_norms[1 + i], scratch, found_near or near)
                near = True
    return near


@compiled
def _several(halo: int, masked: int, where: Any) -> None:
    if masked == 0:
        if halo == 0:
            column_maxima(0, ROWS_AT_ONCE, 0, 0, where)
        elif halo == 1:
            column_maxima(1, ROWS_AT_ONCE, 0, 0, where)
        else:
            column_maxima(2, ROWS_AT_ONCE, 0, 0, where)
    elif halo == 0:
        column_maxima(0, ROWS_AT_ONCE, 0, 1, where)
    elif halo == 1:
        column_maxima(1, ROWS_AT_ONCE, 0, 1, where)
    else:
        column_maxima(2, ROWS_AT_ONCE, 0, 1, where)


@compiled
def _single(halo: int, masked: int, where: Any) -> None:
    if masked == 0:
        if halo == 0:
            column_maxima(0, 1, 1, 0, where)
        elif halo == 1:
            column_maxima(1, 1, 1, 0, where)
        else:
            column_maxima(2, 1, 1, 0, where)
    elif halo == 0:
        column_maxima(0, 1, 1, 1, where)
    elif halo == 1:
        column_maxima(1, 1, 1, 1, where)
    else:
        column_maxima(2, 1, 1, 1, where)


@compiled
def _where(
    i: int, halo: int, which: int, largest: int, grid_row: int, band: Any, row_norms: Any, column_norms: Any,
    reach: Any, scratch: Any,
) -> Any:  # fmt: skip
    """What `column_maxima` wants for a grid row's first row, in the columns of `band`; no masks yet."""
    width, padded = reach.width, scratch.edges.shape[1]
    patch, begin = grid_row * width, band[0] * 4
    if halo == 0:
        stride = scratch.products.shape[2] * 4
        source = scratch.products.ctypes.data + (largest * width + patch) * stride + begin
    else:
        stride = scratch.sums.shape[2] * 4
        source = scratch.sums.ctypes.data + which * width * stride + zeros_before(width) * 4 + begin
    return (
        source,
        stride,
        width,
        band[1] - band[0],
        scratch.lines.ctypes.data + LINE_MARGIN * 4 + begin,
        scratch.lines.shape[1] * 4,
        scratch.edges.ctypes.data + begin,
        padded * 4,
        reach.limits.ctypes.data + begin,
        row_norms.ctypes.data + ((1 + i) * padded + patch) * 4,
        column_norms.ctypes.data + (1 + i) * padded * 4 + begin,
        scratch.best_rows.ctypes.data + (i * padded + patch) * 4,
        scratch.best_columns.ctypes.data + i * padded * 4 + begin,
    )


@compiled
def _from(begin: Any, row: int, masks: Any) -> Any:
    """The same for the rows from `row` of the grid row on, with their masks."""
    source = begin[0] + row * begin[1]
    return (source, *begin[1:9], begin[9] + row * 4, begin[10], begin[11] + row * 4, begin[12], *masks)


@compiled
def _masks(grid_row: int, row: int, band: Any, reach: Any) -> Any:
    """Where the masks of four rows begin, in bytes."""
    return (
        _mask(grid_row, row, band, reach),
        _mask(grid_row, row + 1, band, reach),
        _mask(grid_row, row + 2, band, reach),
        _mask(grid_row, row + 3, band, reach),
    )


@compiled
def _mask(grid_row: int, row: int, band: Any, reach: Any) -> int:
    """Of a row that is not there, as a single row's next may be, any."""
    line, first = mask_of(grid_row, min(row, reach.width - 1), reach)
    return int(reach.lines.ctypes.data + (line * reach.lines.shape[1] + first + band[0]) * 4)


@compiled
def maxima_of_any_halo(
    i: int, halo: int, largest: int, grid_row: int, row_norms: Any, column_norms: Any, reach: Any,
    scratch: Any, started: bool,
) -> bool:  # fmt: skip
    """What `sum_rows` and `take_maxima` do together, for the i-th degree; True if it noted near patches."""
    width, n_patches = reach.width, len(reach.ignored)
    down = np.zeros((width, n_patches), np.float32)
    for near_row in range(largest + grid_row - halo, largest + grid_row + halo + 1):
        for row in range(width):
            _add(down[row], scratch.products[near_row, row])
    row_sum, sums = np.empty(n_patches, np.float32), np.empty(n_patches, np.float32)
    found = bool(np.bool_(False))
    band = band_of(reach, grid_row, grid_row, 0)
    for row in range(width):
        patch = grid_row * width + row
        row_sum[:] = 0.0
        for near_row in range(max(0, row - halo), min(width, row + halo + 1)):
            _add(row_sum, down[near_row])
        _sum_grid(row_sum, width, halo, sums)
        line, first = mask_of(grid_row, row, reach)
        cosines = np.full(scratch.edges.shape[1], LOWEST, np.float32)
        best = np.float32(LOWEST)
        for column in range(band[0], min(band[1], n_patches)):
            if reach.lines[line, first + column] == 0.0:
                sums[column] *= row_norms[1 + i, patch]
                cosines[column] = sums[column] * column_norms[1 + i, column] + reach.limits[column]
                best = max(best, cosines[column])
                scratch.best_columns[i, column] = max(scratch.best_columns[i, column], sums[column])
        scratch.best_rows[i, patch] = best
        if is_near(i, patch, row_norms, scratch):
            note_near(i, patch, band, cosines, column_norms[1 + i], scratch, started or found)
            found = True
    return found


@compiled
def _sum_grid(values: Any, width: int, halo: int, out: Any) -> None:
    """Window sums of one `[P]` row over the grid it spans."""
    height = len(values) // width
    across = np.zeros_like(values)
    for row in range(height):
        for column in range(width):
            for near in range(max(0, column - halo), min(width, column + halo + 1)):
                across[row * width + column] += values[row * width + near]
    out[:] = 0.0
    for row in range(height):
        for near in range(max(0, row - halo), min(height, row + halo + 1)):
            _add(out[row * width : (row + 1) * width], across[near * width : (near + 1) * width])


@compiled
def _add(total: Any, values: Any) -> None:
    """By index: whole-array sums would bring the compiler numba's broadcasting and its error messages."""
    for at in range(len(total)):
        total[at] += values[at]
