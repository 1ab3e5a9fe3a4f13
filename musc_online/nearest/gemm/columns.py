"""The inner loop of the maxima: a few rows' window sums over the columns' grid, and the best both ways."""

from typing import Any

from numba import types
from numba.core import cgutils

from musc_online.compiled import emitting
from musc_online.nearest.gemm.lanes import FLOAT32, LOWEST, Lanes, nothing


@emitting
def column_maxima(typingctx: Any, halo: Any, rows: Any, keep: Any, masked: Any, where: Any) -> Any:
    """Window sums over the columns' grid for a few rows, normalised, and both maxima.

    Literals: `halo` 0, 1 or 2; `rows` at once; `keep` 1 to write the cosines too; `masked` 1 to add a mask to
    each row's cosines. `where` holds seventeen integers, addresses in bytes of float32 data: the rows, from
    the first of `n_columns` columns on, each with what its windows reach before and after (zeros beyond the
    grid); bytes from one row to the next; `width`; `n_columns`, a multiple of 16; scratch lines, with zeros
    around them; bytes between these; `edges` (1 where the patch 1 to the left, 1 to the right, 2 to the left,
    2 to the right is on the grid else 0), bytes between these; `limits [n_columns]`, `LOWEST` where a column
    is no candidate of any row, else 0; reciprocal norms of the rows; of the columns; the result `[rows]`,
    each row's largest cosine; `[n_columns]`, updated: each column's largest cosine, still without its own
    norm; the masks of four rows, of which as many are read as there are rows. Kept cosines go to the line
    after the last one used. What lies beside a grid row's own columns is read and weighed with 0, so it may
    be anything finite.
    """
    reach, n_rows, kept = halo.literal_value, rows.literal_value, bool(keep.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(context, builder)
        maxima = _ColumnMaxima(lanes, reach, n_rows, kept, cgutils.unpack_tuple(builder, args[4]))
        if not masked.literal_value:
            maxima.masks = []
        n_vectors = builder.sdiv(maxima.n_columns, lanes.constant(lanes.width))
        if reach:
            lanes.loop(n_vectors, [], maxima.down)
        best = lanes.loop(n_vectors, [lanes.fill(LOWEST)] * n_rows, maxima.across)
        maxima.finish(best)
        return nothing(context)

    return types.void(halo, rows, keep, masked, where), generate


class _ColumnMaxima:
    """Emits the two loops over the columns of `column_maxima`."""

    def __init__(self, lanes: Lanes, halo: int, n_rows: int, keep: bool, where: list[Any]) -> None:
        self.lanes, self.halo, self.keep = lanes, halo, keep
        source, stride, self.width, self.n_columns, line, line_bytes = where[:6]
        self.edges, self.plane, self.limits = where[6:9]
        self.row_norms, self.column_norms, self.best_rows, self.best_columns = where[9:13]
        self.masks = where[13 : 13 + n_rows]
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
        """Sum over the grid columns' windows: patches `width` apart."""
        lanes, at = self.lanes, self._at(index)
        shifts = [
            lanes.builder.mul(self.width, lanes.constant(4 * k)) for k in range(-self.halo, self.halo + 1)
        ]
        for source, line in zip(self.sources, self.lines, strict=True):
            window = [lanes.load(lanes.offset(source, at, shift), lanes.float32) for shift in shifts]
            lanes.store(lanes.total(window), lanes.offset(line, at))
        return []

    def across(self, index: Any, best: list[Any]) -> list[Any]:
        """Sum over the grid rows' windows, normalise, take the maxima."""
        lanes, at = self.lanes, self._at(index)
        builder = lanes.builder
        edges = [
            lanes.load(lanes.offset(self._row(self.edges, self.plane, k), at), lanes.float32)
            for k in range(2 * self.halo)
        ]
        limit = lanes.load(lanes.offset(self.limits, at), lanes.float32)
        column_norm = lanes.load(lanes.offset(self.column_norms, at), lanes.float32)
        column_best = lanes.load(lanes.offset(self.best_columns, at), lanes.float32)
        result = []
        for row, begin in enumerate(self.lines if self.halo else self.sources):
            value = lanes.load(lanes.offset(begin, at), lanes.float32)
            for k in range(1, 2 * self.halo + 1):
                shift = (k + 1) // 2 * (-4 if k % 2 else 4)
                near = lanes.load(lanes.offset(begin, at, shift), lanes.float32)
                value = lanes.multiply_add(edges[k - 1], near, value)
            cosine = lanes.multiply_add(value, column_norm, limit)
            backward = builder.fmul(value, self.norms[row])
            if self.masks:
                mask = lanes.load(lanes.offset(self.masks[row], at), lanes.float32)
                cosine, backward = builder.fadd(cosine, mask), builder.fadd(backward, mask)
            result.append(lanes.maximum(cosine, best[row]))
            column_best = lanes.maximum(backward, column_best)
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
