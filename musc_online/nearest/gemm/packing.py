"""Standardised maps as panels of int16 unit vectors with their norms: what the `gemm` matcher multiplies.

A vector's direction is kept in 16 bits a channel, or 15 (even numbers, so that `compact` can use the lowest
bit), scaled to a length of at most 46200: by Cauchy-Schwarz the product of two such vectors fits int32, so
int16 x int16 -> int32 multiplication is exact and the only rounding is this one, about 1e-5 of the unit
vector's length. A panel holds 16 patches, channel pairs outermost, so that one vector load brings the same
pair of channels of consecutive patches.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from musc_online.compiled import compiled, reordering
from musc_online.nearest.gemm.lanes import PANEL

LENGTH = 46200.0
_LARGEST_EVEN = 32766.0
_CACHE_LINE = 64


class Packed(NamedTuple):
    """One image (or, with a leading slot axis, many).

    `tokens [S, P16 / 16, ceil(C / 2), 16, 2]` int16, P16 the patches rounded up to whole panels, and
    `norms [S, 1 + D, P16]` float32: first what one step of a patch's int16 stands for, then the reciprocal
    norm of its window at each degree (0 for an empty window and beyond the last patch).
    """

    tokens: npt.NDArray[np.int16]
    norms: npt.NDArray[np.float32]


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin on a cache line, so that no vector load straddles two."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    raw = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % _CACHE_LINE
    return raw[start : start + size].view(kind).reshape(shape)


def empty(n_images: int, n_stages: int, n_patches: int, n_channels: int, n_degrees: int) -> Packed:
    """Zeroed storage with a leading image axis."""
    n_panels = math.ceil(n_patches / PANEL)
    tokens = aligned_zeros((n_images, n_stages, n_panels, (n_channels + 1) // 2, PANEL, 2), np.int16)
    norms = aligned_zeros((n_images, n_stages, 1 + n_degrees, n_panels * PANEL), np.float32)
    return Packed(tokens, norms)


@compiled
def pack_stage(maps: Any, halos: Any, step: int, tokens: Any, norms: Any) -> None:
    """Write one stage's `[P, C]` standardised map into `tokens` and `norms` (see `Packed`), in place.

    Tokens are multiples of `step`, 1 or 2.

    Norms are those of the rounded vectors, so an image's distance to itself is exactly zero.
    """
    n_patches, n_channels = maps.shape
    row = np.zeros(2 * tokens.shape[1], np.int16)
    row_pairs, pairs = row.view(np.int32), tokens.view(np.int32)
    for patch in range(n_patches):
        values = maps[patch]
        norm, largest = math.sqrt(_square(values)), _largest(values)
        scale = np.float32(min(LENGTH / norm, _LARGEST_EVEN / largest) if norm > 1e-12 else 0.0)
        norms[0, patch] = np.float32(1.0) / scale if scale > 0.0 else np.float32(0.0)
        fraction = scale / np.float32(step)
        for channel in range(n_channels):
            steps = np.floor(values[channel] * fraction + np.float32(0.5))
            row[channel] = np.int16(step * np.int32(steps))
        panel, lane = pairs[patch // PANEL], patch % PANEL
        for pair in range(len(row_pairs)):
            panel[pair, lane, 0] = row_pairs[pair]
    kept = np.empty((n_patches, 2 * tokens.shape[1]), np.float32)
    unpack_stage(tokens, norms[0], kept)
    sums, scratch = np.empty_like(kept), np.empty_like(kept)
    for i in range(len(halos)):
        if halos[i] > 0:
            sum_windows(kept, halos[i], scratch, sums)
        for patch in range(n_patches):
            square = _square(sums[patch] if halos[i] > 0 else kept[patch])
            norms[1 + i, patch] = 1.0 / math.sqrt(square) if square > 1e-24 else 0.0


@reordering
def _square(values: Any) -> float:
    total = 0.0
    for at in range(len(values)):  # by index: numba's iteration over values would not become vectors
        total += np.float64(values[at]) * np.float64(values[at])
    return total


@reordering
def _largest(values: Any) -> float:
    largest = np.float32(0.0)
    for at in range(len(values)):
        size = abs(values[at])
        largest = size if size > largest else largest
    return float(largest)


@compiled
def unpack_stage(tokens: Any, steps: Any, maps: Any) -> None:
    """Inverse of the packing: `tokens` of one stage and `norms[0]` to the rounded map, in place.

    `maps [P, 2 * ceil(C / 2)]` float32: an odd number of channels ends with zeros.
    """
    n_patches, n_channels = maps.shape
    for patch in range(n_patches):
        panel, lane, step = tokens[patch // PANEL], patch % PANEL, steps[patch]
        for pair in range(n_channels // 2):
            maps[patch, 2 * pair] = np.float32(panel[pair, lane, 0]) * step
            maps[patch, 2 * pair + 1] = np.float32(panel[pair, lane, 1]) * step


@compiled
def sum_windows(maps: Any, halo: int, scratch: Any, out: Any) -> None:
    """Sums of `[P, C]` over square windows reaching `halo` patches each way, zeros outside the grid."""
    side = int(math.sqrt(len(maps)) + 0.5)
    for row in range(side):
        for column in range(side):
            total = scratch[row * side + column]
            total[:] = 0.0
            for near in range(max(0, column - halo), min(side, column + halo + 1)):
                _add(total, maps[row * side + near])
    for row in range(side):
        for column in range(side):
            total = out[row * side + column]
            total[:] = 0.0
            for near in range(max(0, row - halo), min(side, row + halo + 1)):
                _add(total, scratch[near * side + column])


@compiled
def _add(total: Any, values: Any) -> None:
    for channel in range(len(total)):
        total[channel] += values[channel]
