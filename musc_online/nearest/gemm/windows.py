"""Sums of a product matrix over windows of its rows' grid.

The matrix of degree r is the degree-1 matrix summed over r x r windows of its rows' grid and of its
columns' grid (docs/method.md): four one-dimensional sums, one after the other. This file does the two
of the rows' grid in one pass that loads each product once; `columns` does the rest.
"""

from typing import Any

from numba import types
from numba.core import cgutils

from musc_online.compiled import emitting
from musc_online.nearest.gemm.lanes import Lanes, nothing

_LINE_BYTES = 64


@emitting
def sum_row_windows(typingctx: Any, halos: Any, where: Any) -> Any:
    """Window sums over the rows' grid for one grid row, written `[n halos, width, n_columns]`.

    `halos` is a literal bit mask (2: halo 1, 4: halo 2, 6: both). `where` holds seven integers: the
    address of the grid row's float32 `[width, n_columns]` products; bytes from one grid row to the next
    (there are zeros beyond the grid); bytes from one row to the next; `width`, more than the largest halo;
    `n_columns`, a multiple of 16; the address of the result; bytes between its rows (those of the second
    halo follow the first's).
    """
    wanted = [halo for halo in (1, 2) if halos.literal_value >> halo & 1]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(context, builder)
        rows = _RowWindows(lanes, wanted, cgutils.unpack_tuple(builder, args[1]))
        n_lines = builder.sdiv(rows.n_columns, lanes.constant(_LINE_BYTES // 4))
        lanes.loop(n_lines, [], rows.one_line)
        return nothing(context)

    return types.void(halos, where), generate


class _RowWindows:
    """Emits the loop; `past` lists, for each vector of a cache line and each halo, the last 2 * halo sums."""

    def __init__(self, lanes: Lanes, halos: list[int], where: list[Any]) -> None:
        self.lanes, self.halos, self.ahead = lanes, halos, halos[-1]
        self.source, self.band_bytes, self.row_bytes, self.width, self.n_columns, self.out, self.out_bytes = (
            where
        )
        self.shifts = range(0, _LINE_BYTES, lanes.width * 4)

    def one_line(self, index: Any, _: list[Any]) -> list[Any]:
        """All rows of the 16 columns that share a cache line: it is fetched once."""
        lanes, builder = self.lanes, self.lanes.builder
        across = builder.mul(index, lanes.constant(_LINE_BYTES))
        source, target = lanes.offset(self.source, across), lanes.offset(self.out, across)
        past = [lanes.fill(0.0)] * (2 * sum(self.halos) * len(self.shifts))
        for row in range(self.ahead):
            ready = [halo for halo in self.halos if row >= halo]
            past = self._step(
                past, self._down(source, lanes.constant(row)), target, lanes.constant(row), ready
            )

        def one_row(index: Any, past: list[Any]) -> list[Any]:
            row = lanes.offset(index, self.ahead)
            return self._step(past, self._down(source, row), target, row, self.halos)

        past = lanes.loop(builder.sub(self.width, lanes.constant(self.ahead)), past, one_row)
        zeros = [lanes.fill(0.0)] * (len(self.shifts) * len(self.halos))
        for beyond in range(self.ahead):
            ready = [halo for halo in self.halos if beyond < halo]
            past = self._step(past, zeros, target, lanes.offset(self.width, beyond), ready)
        return []

    def _down(self, source: Any, row: Any) -> list[Any]:
        """Sums over the grid column's window, the smaller halo's part of the larger's."""
        lanes, builder = self.lanes, self.lanes.builder
        sums = []
        for shift in self.shifts:
            at = lanes.offset(source, builder.mul(self.row_bytes, row), shift)
            total = lanes.load(at, lanes.float32)
            for halo in range(1, self.ahead + 1):
                distance = builder.mul(self.band_bytes, lanes.constant(halo))
                before = lanes.load(builder.sub(at, distance), lanes.float32)
                after = lanes.load(builder.add(at, distance), lanes.float32)
                total = lanes.total([total, before, after])
                if halo in self.halos:
                    sums.append(total)
        return sums

    def _step(self, past: list[Any], new: list[Any], target: Any, row: Any, ready: list[int]) -> list[Any]:
        """Take the sums of `row`; write the windows they complete, at `row - halo`; the new past."""
        lanes, builder = self.lanes, self.lanes.builder
        kept: list[Any] = []
        taken = 0
        for vector, shift in enumerate(self.shifts):
            for i, halo in enumerate(self.halos):
                window = [*past[taken : taken + 2 * halo], new[vector * len(self.halos) + i]]
                taken += 2 * halo
                kept += window[1:]
                if halo in ready:
                    line = builder.add(
                        builder.sub(row, lanes.constant(halo)), builder.mul(self.width, lanes.constant(i))
                    )
                    at = lanes.offset(target, builder.mul(line, self.out_bytes), shift)
                    lanes.store(lanes.total(window), at)
        return kept
