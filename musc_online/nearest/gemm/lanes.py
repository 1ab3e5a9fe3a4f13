"""Vector instructions for numba: the few lane-wise operations the matcher's inner loops are made of.

Numba leaves vectorising to LLVM, which gives up on float maxima and cannot be told a register tile.
The inner loops are therefore written as explicit vectors, through numba's own `intrinsic` interface:
LLVM still allocates registers and picks the instructions of the machine (AVX2, AVX-512, VNNI, NEON).
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

INT16 = ir.IntType(16)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
FLOAT32 = ir.FloatType()

PANEL = 16
"""Patches a panel: the columns of one product block, and a multiple of every vector width used."""

LOWEST = -1e30
"""Below any product of two patches, and far enough from the end of float32 to be added to."""


def cpu_features(context: Any) -> frozenset[str]:
    """Features of the processor that is compiled for, e.g. `avx2`, `avx512bw`."""
    flags = context.codegen().magic_tuple()[2]
    return frozenset(flag[1:] for flag in flags.split(",") if flag.startswith("+"))


def has_vectors() -> bool:
    """Whether the processor compiled for has the vector instructions that the inner loops are written for."""
    from numba.core.registry import cpu_target  # noqa: PLC0415 - asked for rarely, and slow to import

    return not cpu_features(cpu_target.target_context).isdisjoint({"avx2", "neon"})


class Lanes:
    """Emits lane-wise operations of one vector width; addresses are 64-bit integers in bytes."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.features = cpu_features(context)
        self.builder = builder
        self.width = 16 if "avx512bw" in self.features else 8
        self.int32 = ir.VectorType(INT32, self.width)
        self.float32 = ir.VectorType(FLOAT32, self.width)

    def constant(self, value: int) -> Any:
        """A 64-bit integer."""
        return ir.Constant(INT64, value)

    def offset(self, address: Any, *terms: Any) -> Any:
        """Address plus byte offsets (values or Python integers)."""
        for term in terms:
            value = self.constant(term) if isinstance(term, int) else term
            address = self.builder.add(address, value)
        return address

    def load(self, address: Any, kind: Any) -> Any:
        """A value of an LLVM type; no alignment assumed beyond four bytes."""
        value = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Any, address: Any) -> None:
        """Write a value."""
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()), align=4)

    def splat(self, scalar: Any) -> Any:
        """One scalar in all lanes."""
        kind = ir.VectorType(scalar.type, self.width)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(self.int32, None))

    def fill(self, value: float) -> Any:
        """A float constant in all lanes."""
        return ir.Constant(self.float32, [value] * self.width)

    def total(self, values: Sequence[Any]) -> Any:
        """Sum of vectors in a fixed order."""
        result = values[0]
        for value in values[1:]:
            result = self.builder.fadd(result, value)
        return result

    def multiply_add(self, one: Any, other: Any, addend: Any) -> Any:
        """`one * other + addend`, fused where the processor can."""
        product = self.builder.fmul(one, other, flags=("contract",))
        return self.builder.fadd(product, addend, flags=("contract",))

    def maximum(self, one: Any, other: Any) -> Any:
        """Lane-wise maximum of numbers (no NaN comes here)."""
        return self.builder.select(self.builder.fcmp_ordered(">", one, other), one, other)

    def largest(self, vector: Any) -> Any:
        """The largest lane, as a scalar."""
        best = vector
        width = self.width
        while width > 1:  # halve: compare with the upper half moved down
            width //= 2
            order = [min(lane + width, self.width - 1) for lane in range(self.width)]
            mask = ir.Constant(self.int32, order)
            best = self.maximum(best, self.builder.shuffle_vector(best, best, mask))
        return self.builder.extract_element(best, ir.Constant(INT32, 0))

    def loop(
        self, count: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """Run `body(index, values) -> values` for index 0..count-1, count at least 1; the last values."""
        builder = self.builder
        before = builder.block
        repeat, after = builder.append_basic_block("repeat"), builder.append_basic_block("after")
        builder.branch(repeat)
        builder.position_at_end(repeat)
        index = builder.phi(INT64)
        index.add_incoming(self.constant(0), before)
        values = []
        for value in carried:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            values.append(phi)
        results = body(index, values)
        for phi, result in zip(values, results, strict=True):
            phi.add_incoming(result, builder.block)
        following = self.offset(index, 1)
        index.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), repeat, after)
        builder.position_at_end(after)
        return results


def nothing(context: Any) -> Any:
    """What an intrinsic without a result returns."""
    return context.get_dummy_value()


__all__ = ["FLOAT32", "INT16", "INT32", "INT64", "LOWEST", "PANEL", "Lanes", "has_vectors", "nothing"]
