"""Sums over r x r windows of both grids of a product matrix, fused with its row and column maxima.

The matrix of degree r is the degree-1 matrix summed over the windows of its rows' grid and of its
columns' grid (DESIGN section 3): four one-dimensional sums, one after the other. `sum_row_windows`
does the two of the rows' grid, `column_maxima` the two of the columns' grid and both maxima, so the
matrix of a degree is never written.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic

from musc_online.nearest.lanes import FLOAT32, LOWEST, Lanes, nothing


@intrinsic(prefer_literal=True)
def sum_row_windows(
    typingctx: Any,
    halos: Any,
    band: Any,
    side: Any,
    band_bytes: Any,
    row_bytes: Any,
    n_columns: Any,
    out: Any,
    out_bytes: Any,
    halo_bytes: Any,
) -> Any:
    """Window sums over the rows' grid for one grid row.

    `halos` is a literal bit mask (2: halo 1, 4: halo 2, 6: both); `band` the address of the grid row's
    `[side, n_columns]` products, its neighbours `band_bytes` apart (zeros beyond the grid), rows
    `row_bytes` apart; `side` more than the largest halo; `n_columns` a multiple of 16. Sums go to
    `out + i * halo_bytes`, i counting the halos, rows `out_bytes` apart.
    """
    wanted = [halo for halo in (1, 2) if halos.literal_value >> halo & 1]
    signature = types.void(halos, band, side, band_bytes, row_bytes, n_columns, out, out_bytes, halo_bytes)

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        _, band, side, band_bytes, row_bytes, n_columns, out, out_bytes, halo_bytes = args
        lanes = Lanes(context, builder)
        ahead = wanted[-1]

        def down(column: Any) -> list[Any]:
            """Sums over the grid column's window, per halo, the smaller one shared."""
            part = [lanes.load(column, lanes.float32)]
            sums = []
            for halo in range(1, ahead + 1):
                distance = builder.mul(band_bytes, lanes.constant(halo))
                part.append(lanes.load(builder.sub(column, distance), lanes.float32))
                part.append(lanes.load(builder.add(column, distance), lanes.float32))
                part = [lanes.total(part)]
                if halo in wanted:
                    sums.append(part[0])
            return sums

        def write(history: list[list[Any]], row: Any) -> None:
            for i, halo in enumerate(wanted):
                # history[i] ends with the sum at row + ahead.
                window = history[i][ahead - halo : ahead + halo + 1]
                address = lanes.offset(row, builder.mul(halo_bytes, lanes.constant(i)))
                lanes.store(lanes.total(window), address)

        def one_vector(index: Any, _: list[Any]) -> list[Any]:
            across = builder.mul(index, lanes.constant(lanes.width * 4))
            source, target = lanes.offset(band, across), lanes.offset(out, across)
            history = [[lanes.fill(0.0)] * ahead for _ in wanted]
            for row in range(ahead):
                for sums, value in zip(
                    history,
                    down(lanes.offset(source, builder.mul(row_bytes, lanes.constant(row)))),
                    strict=True,
                ):
                    sums.append(value)
            length = 2 * ahead

            def one_row(row: Any, flat: list[Any]) -> list[Any]:
                past = [flat[i * length : (i + 1) * length] for i in range(len(wanted))]
                new = down(lanes.offset(source, builder.mul(row_bytes, lanes.offset(row, ahead))))
                full = [[*sums, value] for sums, value in zip(past, new, strict=True)]
                write(full, lanes.offset(target, builder.mul(out_bytes, row)))
                return [value for sums in full for value in sums[1:]]

            inner = builder.sub(side, lanes.constant(ahead))
            flat = lanes.loop(inner, [value for sums in history for value in sums], one_row)
            past = [flat[i * length : (i + 1) * length] for i in range(len(wanted))]
            for row in range(ahead):
                past = [[*sums, lanes.fill(0.0)] for sums in past]
                write(past, lanes.offset(target, builder.mul(out_bytes, lanes.offset(inner, row))))
                past = [sums[1:] for sums in past]
            return []

        n_vectors = builder.sdiv(n_columns, lanes.constant(lanes.width))
        lanes.loop(n_vectors, [], one_vector)
        return nothing(context)

    return signature, generate


@intrinsic(prefer_literal=True)
def column_maxima(
    typingctx: Any,
    halo: Any,
    rows: Any,
    keep: Any,
    source: Any,
    source_bytes: Any,
    side: Any,
    n_columns: Any,
    line: Any,
    line_bytes: Any,
    edges: Any,
    row_norms: Any,
    column_norms: Any,
    best_rows: Any,
    best_columns: Any,
) -> Any:
    """Window sums over the columns' grid for `rows` rows, normalised, and both maxima.

    Literals: `halo` 0, 1 or 2; `rows` 1 or 2; `keep` 1 to leave the cosines in `line`. The rest are integers,
    addresses in bytes of float32 data: `source` the rows, `source_bytes` apart, each with `halo * side`
    zeros before and after its `n_columns` (a multiple of 16) values; `line` a scratch row with zeros
    around it, the next `line_bytes` on; `edges [5, n_columns]`: `LOWEST` beyond the last patch else 0, then 1
    where the patch 1 to the left, 1 to the right, 2 to the left, 2 to the right is on the grid else 0;
    `row_norms [rows]` and `column_norms [n_columns]` reciprocal norms. Written: `best_rows [rows]` the
    largest cosine of each row; `best_columns [n_columns]` updated, still without the columns' norms.
    """
    reach, n_rows, kept = halo.literal_value, rows.literal_value, keep.literal_value
    signature = types.void(
        halo, rows, keep, source, source_bytes, side, n_columns, line, line_bytes, edges, row_norms,
        column_norms, best_rows, best_columns,
    )  # fmt: skip

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        source, source_bytes, side, n_columns, line, line_bytes, edges = args[3:10]
        row_norms, column_norms, best_rows, best_columns = args[10:]
        lanes = Lanes(context, builder)
        step = lanes.constant(lanes.width * 4)
        n_vectors = builder.sdiv(n_columns, lanes.constant(lanes.width))
        sources = [lanes.offset(source, builder.mul(source_bytes, lanes.constant(r))) for r in range(n_rows)]
        lines = [lanes.offset(line, builder.mul(line_bytes, lanes.constant(r))) for r in range(n_rows)]

        def down(index: Any, _: list[Any]) -> list[Any]:
            at = builder.mul(index, step)
            for begin, target in zip(sources, lines, strict=True):
                shifts = [builder.mul(side, lanes.constant(4 * k)) for k in range(-reach, reach + 1)]
                window = [lanes.load(lanes.offset(begin, at, shift), lanes.float32) for shift in shifts]
                lanes.store(lanes.total(window), lanes.offset(target, at))
            return []

        def across(index: Any, best: list[Any]) -> list[Any]:
            at = builder.mul(index, step)
            plane = builder.mul(n_columns, lanes.constant(4))
            planes = [
                lanes.offset(edges, at, builder.mul(plane, lanes.constant(k))) for k in range(2 * reach + 1)
            ]
            edge = [lanes.load(address, lanes.float32) for address in planes]
            column_norm = lanes.load(lanes.offset(column_norms, at), lanes.float32)
            column_best = lanes.load(lanes.offset(best_columns, at), lanes.float32)
            result = []
            for row, begin in enumerate(lines if reach else sources):
                value = lanes.load(lanes.offset(begin, at), lanes.float32)
                for k in range(1, 2 * reach + 1):
                    shift = (k + 1) // 2 * (-4 if k % 2 else 4)
                    value = lanes.multiply_add(
                        edge[k], lanes.load(lanes.offset(begin, at, shift), lanes.float32), value
                    )
                cosine = lanes.multiply_add(value, column_norm, edge[0])
                result.append(lanes.maximum(cosine, best[row]))
                column_best = lanes.maximum(builder.fmul(value, norms[row]), column_best)
                if kept:
                    lanes.store(
                        builder.fmul(cosine, norms[row]),
                        lanes.offset(lines[row], at, builder.mul(line_bytes, lanes.constant(n_rows))),
                    )
            lanes.store(column_best, lanes.offset(best_columns, at))
            return result

        if reach:
            lanes.loop(n_vectors, [], down)
        norms = [lanes.splat(lanes.load(lanes.offset(row_norms, 4 * r), FLOAT32)) for r in range(n_rows)]
        best = lanes.loop(n_vectors, [lanes.fill(LOWEST)] * n_rows, across)
        for row in range(n_rows):
            cosine = builder.fmul(
                lanes.largest(best[row]), lanes.load(lanes.offset(row_norms, 4 * row), FLOAT32)
            )
            lanes.store(cosine, lanes.offset(best_rows, 4 * row))
        return nothing(context)

    return signature, generate


__all__ = ["column_maxima", "sum_row_windows"]
