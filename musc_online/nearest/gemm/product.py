"""One 16 x 16 block of int16 dot products, exact in int32, scaled to float32."""

from typing import Any

from llvmlite import ir
from numba import types

from musc_online.compiled import emitting
from musc_online.nearest.gemm.lanes import FLOAT32, INT16, INT32, PANEL, Lanes, nothing

# Rows accumulated at once: with AVX2's 16 registers, 6 rows x 2 vectors and what feeds them is all that
# fits; AVX-512 has 32 registers twice as wide.
_ROWS_NARROW = (6, 5, 5)
_ROWS_WIDE = (16,)
_PANEL_BYTES = PANEL * 4  # one pair of channels of all 16 patches


@emitting
def product_block(
    typingctx: Any,
    rows: Any,
    columns: Any,
    n_pairs: Any,
    row_scale: Any,
    column_scale: Any,
    out: Any,
    stride: Any,
) -> Any:
    """Multiply two panels (see `packing`) of 16 patches each.

    `out[m, n] = row_scale[m] * column_scale[n] * sum_k rows[m, k] * columns[n, k]`. All arguments are
    integers: byte addresses of the two int16 panels, their number of channel pairs (at least 1),
    addresses of two float32 `[16]` and of the float32 result, and its row stride in bytes.

    The sum is modulo 2^32, which is harmless: vectors are scaled so that no dot product leaves int32.
    """
    signature = types.void(rows, columns, n_pairs, row_scale, column_scale, out, stride)

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        rows, columns, n_pairs, row_scale, column_scale, out, stride = args
        lanes = Lanes(context, builder)
        step = lanes.width * 4
        vectors = range(PANEL // lanes.width)
        scales = [lanes.load(lanes.offset(column_scale, j * step), lanes.float32) for j in vectors]
        first = 0
        for count in _ROWS_WIDE if lanes.width == PANEL else _ROWS_NARROW:
            sums = _accumulate(lanes, lanes.offset(rows, first * 4), columns, n_pairs, count)
            for row in range(count):
                scale = lanes.splat(lanes.load(lanes.offset(row_scale, (first + row) * 4), FLOAT32))
                line = lanes.offset(out, builder.mul(stride, lanes.constant(first + row)))
                for j in vectors:
                    value = builder.sitofp(sums[row * len(vectors) + j], lanes.float32)
                    value = builder.fmul(builder.fmul(value, scale), scales[j])
                    lanes.store(value, lanes.offset(line, j * step))
            first += count
        return nothing(context)

    return signature, generate


def _accumulate(lanes: Lanes, rows: Any, columns: Any, n_pairs: Any, count: int) -> list[Any]:
    """Int32 dot products of `count` rows with the panel's 16 columns, all kept in registers."""
    vectors = range(PANEL // lanes.width)
    pairs = ir.VectorType(INT16, 2 * lanes.width)
    zeros = [ir.Constant(lanes.int32, None)] * (count * len(vectors))

    def add_pair(index: Any, sums: list[Any]) -> list[Any]:
        at = lanes.builder.mul(index, lanes.constant(_PANEL_BYTES))
        column = [lanes.load(lanes.offset(columns, at, j * lanes.width * 4), pairs) for j in vectors]
        result = []
        for row in range(count):
            pair = lanes.splat(lanes.load(lanes.offset(rows, at, row * 4), INT32))
            pair = lanes.builder.bitcast(pair, pairs)
            for j in vectors:
                added = lanes.builder.add(
                    sums[row * len(vectors) + j], _multiply_pairs(lanes, pair, column[j])
                )
                result.append(added)
        return result

    return lanes.loop(n_pairs, zeros, add_pair)


def _multiply_pairs(lanes: Lanes, one: Any, other: Any) -> Any:
    """`one[2i] * other[2i] + one[2i+1] * other[2i+1]` in int32: one instruction where x86 has AVX2."""
    builder = lanes.builder
    name = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}[lanes.width]
    if lanes.width == PANEL or "avx2" in lanes.features:
        kind = ir.FunctionType(lanes.int32, [one.type, other.type])
        return builder.call(builder.module.declare_intrinsic(name, (), kind), [one, other])
    products = []
    for parity in (0, 1):
        order = ir.Constant(lanes.int32, list(range(parity, 2 * lanes.width, 2)))
        wide = [builder.sext(builder.shuffle_vector(v, v, order), lanes.int32) for v in (one, other)]
        products.append(builder.mul(*wide))
    return builder.add(*products)
