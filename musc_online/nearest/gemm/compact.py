"""Fifteen bits a channel at rest: every sixteenth pair of channels rides in the lowest bits of the others.

`packing` rounds to even numbers, so the lowest bit of every int16 is free. Of 16 pairs, 15 are kept, and
their 30 lowest bits are the 16th pair's 30 significant ones: with the norms, less than two bytes a value.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from musc_online.arrays import Geometry
from musc_online.compiled import compiled, emitting
from musc_online.nearest.gemm.lanes import PANEL, Lanes, nothing

GROUP = 16
_PAIR_BYTES = PANEL * 4
_LOWEST_BITS = 0x00010001
"""Of the two int16 of a pair, seen as one int32."""


def kept_pairs(n_pairs: int) -> int:
    """Pairs at rest; what is beyond the last whole group stays as it is."""
    return n_pairs - n_pairs // GROUP


def at_rest(geometry: Geometry) -> Geometry:
    """The geometry whose layout has `kept_pairs` pairs of channels."""
    return replace(geometry, n_channels=2 * kept_pairs((geometry.n_channels + 1) // 2))


@compiled
def compact(tokens: Any, kept: Any) -> None:
    """`tokens [n_panels, n_pairs, 16, 2]` int16, all even, into `kept [n_panels, kept_pairs, 16, 2]`."""
    n_groups = tokens.shape[1] // GROUP
    for panel in range(len(tokens)):
        source, target = tokens[panel].view(np.int32), kept[panel].view(np.int32)
        for group in range(n_groups):
            first, at = group * GROUP, group * (GROUP - 1)
            for pair in range(GROUP - 1):
                for lane in range(PANEL):
                    bits = (source[first + GROUP - 1, lane, 0] >> (pair + 1)) & _LOWEST_BITS
                    target[at + pair, lane, 0] = source[first + pair, lane, 0] | bits
        for pair in range(n_groups * GROUP, source.shape[0]):
            for lane in range(PANEL):
                target[pair - n_groups, lane, 0] = source[pair, lane, 0]


@emitting
def _expand_groups(typingctx: Any, source: Any, target: Any, n_groups: Any) -> Any:
    """Expand one panel's whole groups (at least one); byte addresses of its int32 pairs."""

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        lanes = Lanes(context, builder)
        lowest = ir.Constant(lanes.int32, [_LOWEST_BITS] * lanes.width)
        others = ir.Constant(lanes.int32, [~_LOWEST_BITS] * lanes.width)

        def one_group(index: Any, _: list[Any]) -> list[Any]:
            begin = lanes.offset(args[0], builder.mul(index, lanes.constant((GROUP - 1) * _PAIR_BYTES)))
            out = lanes.offset(args[1], builder.mul(index, lanes.constant(GROUP * _PAIR_BYTES)))
            for across in range(0, _PAIR_BYTES, 4 * lanes.width):
                last = ir.Constant(lanes.int32, None)
                for pair in range(GROUP - 1):
                    at = pair * _PAIR_BYTES + across
                    value = lanes.load(lanes.offset(begin, at), lanes.int32)
                    lanes.store(builder.and_(value, others), lanes.offset(out, at))
                    shift = ir.Constant(lanes.int32, [pair + 1] * lanes.width)
                    last = builder.or_(last, builder.shl(builder.and_(value, lowest), shift))
                lanes.store(last, lanes.offset(out, (GROUP - 1) * _PAIR_BYTES + across))
            return []

        lanes.loop(args[2], [], one_group)
        return nothing(context)

    return types.void(source, target, n_groups), generate


@compiled
def expand(kept: Any, tokens: Any) -> None:
    """Inverse of `compact`."""
    n_groups = tokens.shape[1] // GROUP
    for panel in range(len(tokens)):
        source, target = kept[panel].view(np.int32), tokens[panel].view(np.int32)
        if n_groups > 0:
            _expand_groups(source.ctypes.data, target.ctypes.data, n_groups)
        for pair in range(n_groups * GROUP, target.shape[0]):
            for lane in range(PANEL):
                target[pair, lane, 0] = source[pair - n_groups, lane, 0]
