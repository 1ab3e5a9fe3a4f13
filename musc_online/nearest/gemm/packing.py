"""Standardised maps as panels of int16 unit vectors with their norms: what the `gemm` matcher multiplies.

A vector's direction is kept in 16 bits a channel, or 15 (even numbers, so that `compact` can use the lowest
bit), scaled to a length of at most 46200: by Cauchy-Schwarz the product of two such vectors fits int32, so
int16 x int16 -> int32 multiplication is exact and the only rounding is this one, about 1e-5 of the unit
vector's length. Fine features keep what 16 bits leave out in 8 bits more, for `near.refine`. A panel holds
16 patches, channel pairs outermost, so that one vector load brings the same pair of channels of consecutive
patches.

At rest 15 bits take 15: the lowest bit of every int16 is free, so of 16 pairs of channels 15 are kept, and
their 30 lowest bits are the 16th pair's 30 significant ones. With the norms that is less than two bytes a
value.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types

from musc_online.arrays import Geometry
from musc_online.compiled import compiled, emitting, reordering
from musc_online.lnamd import inverse_norms, square, sum_windows
from musc_online.nearest.gemm.lanes import PANEL, Lanes, nothing

LENGTH = 46200.0
_LARGEST_EVEN = 32766.0
_CACHE_LINE = 64


class Packed(NamedTuple):
    """One image (or, with a leading slot axis, many).

    `tokens [S, P16 / 16, ceil(C / 2), 16, 2]` int16, P16 the patches rounded up to whole panels, and
    `norms [S, 1 + D, P16]` float32: first what one step of a patch's int16 stands for, then the reciprocal
    norm of its window at each degree (0 for an empty window and beyond the last patch).
    `residuals [S, P, 2 * ceil(C / 2)]` int8, in 256ths of a step of an int16; no channels where not kept.
    `windows [S, D, P, 2 * ceil(C / 2)]` float32: an arrival's unit windows, where every winner is refined;
    no channels otherwise, and none at rest.
    """

    tokens: npt.NDArray[np.int16]
    norms: npt.NDArray[np.float32]
    residuals: npt.NDArray[np.int8]
    windows: npt.NDArray[np.float32]


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin on a cache line, so that no vector load straddles two."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    raw = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % _CACHE_LINE
    return raw[start : start + size].view(kind).reshape(shape)


def layout(
    n_images: int, geometry: Geometry, *, fine: bool, arrival: bool = False
) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of each array of a `Packed` with a leading image axis, at rest or of an arrival."""
    n_panels, n_pairs = math.ceil(geometry.n_patches / PANEL), (geometry.n_channels + 1) // 2
    lead, n_degrees, n_patches = (n_images, geometry.n_stages), geometry.n_degrees, geometry.n_patches
    return {
        "tokens": ((*lead, n_panels, n_pairs, PANEL, 2), np.int16),
        "norms": ((*lead, 1 + n_degrees, n_panels * PANEL), np.float32),
        "residuals": ((*lead, n_patches, 2 * n_pairs if fine else 0), np.int8),
        "windows": ((*lead, n_degrees, n_patches, 2 * n_pairs if fine and arrival else 0), np.float32),
    }


def empty(n_images: int, geometry: Geometry, *, fine: bool, arrival: bool = False) -> Packed:
    """Zeroed storage with a leading image axis."""
    arrays = layout(n_images, geometry, fine=fine, arrival=arrival)
    return Packed(**{name: aligned_zeros(shape, kind) for name, (shape, kind) in arrays.items()})


@compiled
def pack_stage(
    maps: Any, width: int, halos: Any, tokens: Any, norms: Any, residuals: Any, windows: Any
) -> None:
    """Write one stage's `[P, C]` standardised map into one stage of a `Packed`, in place.

    `width` is that of a grid row.
    Tokens are even numbers where no residuals are kept. Norms are those of the vectors in int16: cosines are
    then right of what is multiplied, and of two patches that lie close the nearer is found.
    """
    n_patches, n_channels = maps.shape
    fine = residuals.shape[1] > 0
    step = np.int32(1) if fine else np.int32(2)
    row = np.zeros(2 * tokens.shape[1], np.int16)
    row_pairs, pairs = row.view(np.int32), tokens.view(np.int32)
    for patch in range(n_patches):
        values = maps[patch]
        norm, largest = math.sqrt(square(values)), _largest(values)
        scale = np.float32(min(LENGTH / norm, _LARGEST_EVEN / largest) if norm > 1e-12 else 0.0)
        norms[0, patch] = np.float32(1.0) / scale if scale > 0.0 else np.float32(0.0)
        fraction = scale / np.float32(step)
        for channel in range(n_channels):
            steps = np.floor(values[channel] * fraction + np.float32(0.5))
            row[channel] = np.int16(step * np.int32(steps))
        if fine:
            for channel in range(n_channels):
                rest = np.float32(256.0) * (values[channel] * scale - np.float32(row[channel]))
                residuals[patch, channel] = np.int8(min(max(np.rint(rest), -128.0), 127.0))
        panel, lane = pairs[patch // PANEL], patch % PANEL
        for pair in range(len(row_pairs)):
            panel[pair, lane, 0] = row_pairs[pair]
    kept = np.empty((n_patches, 2 * tokens.shape[1]), np.float32)
    unpack_stage(tokens, norms[0], residuals[:, :0], kept)
    sums, scratch = np.empty_like(kept), np.empty_like(kept)
    for i in range(len(halos)):
        sum_windows(kept, width, halos[i], scratch, sums)
        inverse_norms(sums, norms[1 + i, :n_patches])
    unpack_windows(width, halos, tokens, norms, residuals, windows)


@compiled
def unpack_windows(width: int, halos: Any, tokens: Any, norms: Any, residuals: Any, windows: Any) -> None:
    """Write the unit windows of one packed stage, where windows are kept at all."""
    if windows.shape[2] > 0:
        kept = np.empty((len(residuals), 2 * tokens.shape[1]), np.float32)
        scratch = np.empty_like(kept)
        unpack_stage(tokens, norms[0], residuals, kept)
        for i in range(len(halos)):
            unit_windows_of(kept, width, halos[i], scratch, windows[i])


@compiled
def unit_windows_of(maps: Any, width: int, halo: int, scratch: Any, out: Any) -> None:
    """Unit vectors of the windows of an unpacked map, `[P, C]`, in grid rows of `width`."""
    sum_windows(maps, width, halo, scratch, out)
    norms = np.empty(len(out), np.float32)
    inverse_norms(out, norms)
    for patch in range(len(out)):
        norm, window = norms[patch], out[patch]
        for channel in range(len(window)):
            window[channel] *= norm


@reordering
def _largest(values: Any) -> float:
    largest = np.float32(0.0)
    for at in range(len(values)):
        size = abs(values[at])
        largest = size if size > largest else largest
    return float(largest)


@compiled
def unpack_stage(tokens: Any, steps: Any, residuals: Any, maps: Any) -> None:
    """Inverse of the packing: one stage's tokens, `norms[0]` and residuals to the rounded map, in place.

    `maps [P, 2 * ceil(C / 2)]` float32: an odd number of channels ends with zeros.
    """
    n_patches, n_channels = maps.shape
    fine = residuals.shape[1] > 0
    for panel in range(len(tokens)):  # in the order in which panels lie in memory
        first, source = panel * PANEL, tokens[panel]
        width = min(PANEL, n_patches - first)
        for pair in range(n_channels // 2):
            for lane in range(width):
                maps[first + lane, 2 * pair] = np.float32(source[pair, lane, 0])
                maps[first + lane, 2 * pair + 1] = np.float32(source[pair, lane, 1])
    for patch in range(n_patches):
        step = steps[patch]
        if fine:
            for channel in range(n_channels):
                maps[patch, channel] += np.float32(residuals[patch, channel]) * np.float32(1.0 / 256.0)
        for channel in range(n_channels):
            maps[patch, channel] *= step


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
