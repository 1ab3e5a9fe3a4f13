"""Standardised maps as panels of int16 unit vectors with their norms: what the `gemm` matcher multiplies.

A vector's direction is kept in 16 bits a channel, or 15 (even numbers, so that `compact` can use the lowest
bit), scaled to a length of at most 46200: by Cauchy-Schwarz the product of two such vectors fits int32, so
int16 x int16 -> int32 multiplication is exact and the only rounding is this one, about 1e-5 of the unit
vector's length. Fine features keep what 16 bits leave out in 8 bits more, for `near.refine`. A panel holds
16 patches, channel pairs outermost, so that one vector load brings the same pair of channels of consecutive
patches.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from musc_online.arrays import Geometry
from musc_online.compiled import compiled, reordering
from musc_online.lnamd import inverse_norms, square, sum_windows
from musc_online.nearest.gemm.lanes import PANEL

LENGTH = 46200.0
_LARGEST_EVEN = 32766.0
_CACHE_LINE = 64


class Packed(NamedTuple):
    """One image (or, with a leading slot axis, many).

    `tokens [S, P16 / 16, ceil(C / 2), 16, 2]` int16, P16 the patches rounded up to whole panels, and
    `norms [S, 1 + D, P16]` float32: first what one step of a patch's int16 stands for, then the reciprocal
    norm of its window at each degree (0 for an empty window and beyond the last patch).
    `residuals [S, P, 2 * ceil(C / 2)]` int8, in 256ths of a step of an int16; no channels where not kept.
    """

    tokens: npt.NDArray[np.int16]
    norms: npt.NDArray[np.float32]
    residuals: npt.NDArray[np.int8]


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that begin on a cache line, so that no vector load straddles two."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    raw = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % _CACHE_LINE
    return raw[start : start + size].view(kind).reshape(shape)


def layout(n_images: int, geometry: Geometry, *, fine: bool) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of each array of a `Packed` with a leading image axis."""
    n_panels, n_pairs = math.ceil(geometry.n_patches / PANEL), (geometry.n_channels + 1) // 2
    lead = (n_images, geometry.n_stages)
    return {
        "tokens": ((*lead, n_panels, n_pairs, PANEL, 2), np.int16),
        "norms": ((*lead, 1 + geometry.n_degrees, n_panels * PANEL), np.float32),
        "residuals": ((*lead, geometry.n_patches, 2 * n_pairs if fine else 0), np.int8),
    }


def empty(n_images: int, geometry: Geometry, *, fine: bool) -> Packed:
    """Zeroed storage with a leading image axis."""
    arrays = layout(n_images, geometry, fine=fine)
    return Packed(**{name: aligned_zeros(shape, kind) for name, (shape, kind) in arrays.items()})


@compiled
def pack_stage(maps: Any, halos: Any, tokens: Any, norms: Any, residuals: Any) -> None:
    """Write one stage's `[P, C]` standardised map into one stage of a `Packed`, in place.

    Tokens are even numbers where no residuals are kept. Norms are those of the rounded vectors, so an
    image's distance to itself is exactly zero.
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
    unpack_stage(tokens, norms[0], residuals, kept)
    sums, scratch = np.empty_like(kept), np.empty_like(kept)
    for i in range(len(halos)):
        sum_windows(kept, halos[i], scratch, sums)
        inverse_norms(sums, norms[1 + i, :n_patches])


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
    for patch in range(n_patches):
        panel, lane, step = tokens[patch // PANEL], patch % PANEL, steps[patch]
        for pair in range(n_channels // 2):
            maps[patch, 2 * pair] = np.float32(panel[pair, lane, 0])
            maps[patch, 2 * pair + 1] = np.float32(panel[pair, lane, 1])
        if fine:
            for channel in range(n_channels):
                maps[patch, channel] += np.float32(residuals[patch, channel]) * np.float32(1.0 / 256.0)
        for channel in range(n_channels):
            maps[patch, channel] *= step
