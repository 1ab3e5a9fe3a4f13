"""One grid row's products to the maxima of every degree: which compiled loop serves which halo.

Halos up to 2 take `column_maxima`, written as vectors; any other takes plain loops, right for all and fast
for none.
"""

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils

from musc_online.compiled import compiled, emitting
from musc_online.nearest.gemm.lanes import FLOAT32, LOWEST, Lanes, nothing
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


@emitting
def column_maxima(typingctx: Any, halo: Any, rows: Any, keep: Any, where: Any) -> Any:
    """Window sums over the columns' grid for a few rows, normalised, and both maxima.

    Literals: `halo` 0, 1 or 2; `rows` at once; `keep` 1 to write the cosines too. `where` holds eleven
    integers, addresses in bytes of float32 data: the rows, each with `halo * side` zeros before and after
    its `n_columns` values; bytes from one row to the next; `side`; `n_columns`, a multiple of 16; scratch
    lines, with zeros around them; bytes between these; `edges [5, n_columns]` (`LOWEST` beyond the last
    patch else 0, then 1 where the patch 1 to the left, 1 to the right, 2 to the left, 2 to the right is
    on the grid else 0); reciprocal norms of the rows; of the columns; the result `[rows]`, each row's
    largest cosine; `[n_columns]`, updated: each column's largest cosine, still without its own norm.
    Kept cosines go to the line after the last one used.
    """
    reach, n_rows, kept = halo.literal_value, rows.literal_value, bool(keep.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(context, builder)
        maxima = _ColumnMaxima(lanes, reach, n_rows, kept, cgutils.unpack_tuple(builder, args[3]))
        n_vectors = builder.sdiv(maxima.n_columns, lanes.constant(lanes.width))
        if reach:
            lanes.loop(n_vectors, [], maxima.down)
        best = lanes.loop(n_vectors, [lanes.fill(LOWEST)] * n_rows, maxima.across)
        maxima.finish(best)
        return nothing(context)

    return types.void(halo, rows, keep, where), generate


class _ColumnMaxima:
    """Emits the two loops over the columns of `column_maxima`."""

    def __init__(self, lanes: Lanes, halo: int, n_rows: int, keep: bool, where: list[Any]) -> None:
        self.lanes, self.halo, self.keep = lanes, halo, keep
        source, stride, self.side, self.n_columns, line, line_bytes, self.edges = where[:7]
        self.row_norms, self.column_norms, self.best_rows, self.best_columns = where[7:]
        self.sources = [self._row(source, stride, row) for row in range(n_rows)]
        self.lines = [self._row(line, line_bytes, row) for row in range(n_rows)]
        self.kept = self._row(line, line_bytes, n_rows)
        norms = [lanes.load(lanes.offset(self.row_norms, 4 * row), FLOAT32) for row in range(n_rows)]
        self.norms = [lanes.splat(norm) for norm in norms]

    def _row(self, address: Any, stride: Any, row: int) -> Any:
        return self.lanes.offset(address, self.lanes.builder.mul(stride, self.lanes.constant(row)))

    def _at(self, index: Any) -> Any:
        return self.lanes.builder.mul(index, self.lanes.constant(self.lanes.width * 4))

    def down(self, index: Any, _: list[Any]) -> list[Any]:
        """Sum over the grid columns' windows: patches `side` apart."""
        lanes, at = self.lanes, self._at(index)
        shifts = [
            lanes.builder.mul(self.side, lanes.constant(4 * k)) for k in range(-self.halo, self.halo + 1)
        ]
        for source, line in zip(self.sources, self.lines, strict=True):
            window = [lanes.load(lanes.offset(source, at, shift), lanes.float32) for shift in shifts]
            lanes.store(lanes.total(window), lanes.offset(line, at))
        return []

    def across(self, index: Any, best: list[Any]) -> list[Any]:
        """Sum over the grid rows' windows, normalise, take the maxima."""
        lanes, at = self.lanes, self._at(index)
        builder = lanes.builder
        plane = builder.mul(self.n_columns, lanes.constant(4))
        edges = [
            lanes.load(lanes.offset(self.edges, at, builder.mul(plane, lanes.constant(k))), lanes.float32)
            for k in range(2 * self.halo + 1)
        ]
        column_norm = lanes.load(lanes.offset(self.column_norms, at), lanes.float32)
        column_best = lanes.load(lanes.offset(self.best_columns, at), lanes.float32)
        result = []
        for row, begin in enumerate(self.lines if self.halo else self.sources):
            value = lanes.load(lanes.offset(begin, at), lanes.float32)
            for k in range(1, 2 * self.halo + 1):
                shift = (k + 1) // 2 * (-4 if k % 2 else 4)
                near = lanes.load(lanes.offset(begin, at, shift), lanes.float32)
                value = lanes.multiply_add(edges[k], near, value)
            cosine = lanes.multiply_add(value, column_norm, edges[0])
            result.append(lanes.maximum(cosine, best[row]))
            column_best = lanes.maximum(builder.fmul(value, self.norms[row]), column_best)
            if self.keep:
                lanes.store(builder.fmul(cosine, self.norms[row]), lanes.offset(self.kept, at))
        lanes.store(column_best, lanes.offset(self.best_columns, at))
        return result

    def finish(self, best: list[Any]) -> None:
        """Reduce each row's lanes to its largest cosine."""
        lanes = self.lanes
        for row, vector in enumerate(best):
            norm = lanes.load(lanes.offset(self.row_norms, 4 * row), FLOAT32)
            cosine = lanes.builder.fmul(lanes.largest(vector), norm)
            lanes.store(cosine, lanes.offset(self.best_rows, 4 * row))


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
