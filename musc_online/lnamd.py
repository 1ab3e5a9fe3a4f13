"""LNAMD: patch tokens standardised and averaged over r x r neighbourhoods (paper section 3.2).

Every matcher starts from `standardise`. `unit_windows` is the torch form of the neighbourhoods (FAISS and
torch matchers, `aggregate`), `sum_windows` and `inverse_norms` the compiled one (`nearest.gemm`); the tests
hold both to one oracle. A window's sum stands in for the published average, which divides by r*r at the
border too: the constant factor goes with the norm.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from musc_online.arrays import ArrayOrTensor, Geometry, like, to_numpy
from musc_online.compiled import compiled, reordering
from musc_online.errors import FrameError

EPSILON = 1e-5
NORM_FLOOR = 1e-12


def aggregate(patch_tokens: ArrayOrTensor, degree: int, grid: tuple[int, int] | None = None) -> ArrayOrTensor:
    """Standardise each image's token map, average r x r neighbourhoods, L2-normalise.

    Args:
        patch_tokens: `[N, P, C]` floating; array or tensor.
        degree: r, odd.
        grid: (height, width) in patches; None for a square.

    Returns:
        `[N, P, C]` float32 unit vectors (a patch of all zeros stays zero), the same kind as given.

    Raises:
        FrameError: not three axes, P not the grid's, or an even degree.
    """
    tokens = to_numpy(patch_tokens)
    if tokens.ndim != 3:
        raise FrameError(f"patch_tokens: got shape {tokens.shape}, expected [N, P, C]")
    geometry = Geometry(1, (degree,), tokens.shape[1], tokens.shape[2], grid)  # checks
    unit = unit_windows(torch.from_numpy(standardise(tokens)), geometry.degrees[0], geometry.sides)
    return like(patch_tokens, unit.numpy())


def standardise(patch_tokens: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Each `[P, C]` map of `[S, P, C]` to mean 0 and variance 1 over all its values.

    One mean and one variance over all P*C values, eps 1e-5, no affine, as the authors' code does. A
    constant map becomes exact zeros, not the rounding of its mean.
    """
    tokens = np.ascontiguousarray(patch_tokens, dtype=np.float32)
    standard = np.empty_like(tokens)
    for stage, values in enumerate(tokens):
        _standardise(values.ravel(), standard[stage].ravel())
    return standard


def unit_windows(maps: torch.Tensor, degree: int, sides: tuple[int, int]) -> torch.Tensor:
    """Unit vectors of the `degree x degree` neighbourhoods of standardised maps, `[..., P, C]` both.

    `sides` are the (height, width) of the grid.
    """
    if degree > 1:
        grids = maps.reshape(-1, *sides, maps.shape[-1]).movedim(-1, 1)
        summed = functional.avg_pool2d(grids, degree, stride=1, padding=degree // 2, divisor_override=1)
        maps = summed.movedim(1, -1).reshape(maps.shape)
    return functional.normalize(maps, dim=-1, eps=NORM_FLOOR)


@compiled
def sum_windows(maps: Any, width: int, halo: int, scratch: Any, out: Any) -> None:
    """Sums of `[P, C]` over square windows reaching `halo` patches each way, zeros outside the grid.

    `width` is that of a grid row.
    """
    height = len(maps) // width
    if halo == 0:
        for patch in range(len(maps)):
            out[patch] = maps[patch]
        return
    for row in range(height):
        for column in range(width):
            total = scratch[row * width + column]
            total[:] = 0.0
            for near in range(max(0, column - halo), min(width, column + halo + 1)):
                _add(total, maps[row * width + near])
    for row in range(height):
        for column in range(width):
            total = out[row * width + column]
            total[:] = 0.0
            for near in range(max(0, row - halo), min(height, row + halo + 1)):
                _add(total, scratch[near * width + column])


@compiled
def inverse_norms(sums: Any, out: Any) -> None:
    """Reciprocal norms of `[P, C]` window sums into `out [P]`; 0 for an empty window."""
    for patch in range(len(sums)):
        squares = square(sums[patch])
        out[patch] = 1.0 / math.sqrt(squares) if squares > NORM_FLOOR * NORM_FLOOR else 0.0


@reordering
def square(values: Any) -> float:
    """Squared norm of `[C]`, float64."""
    total = 0.0
    for at in range(len(values)):  # by index: numba's iteration over values would not become vectors
        total += np.float64(values[at]) * np.float64(values[at])
    return total


@reordering
def _standardise(values: Any, out: Any) -> None:
    total, lowest, highest = 0.0, values[0], values[0]
    for at in range(len(values)):
        total += np.float64(values[at])
    for at in range(len(values)):
        lowest = min(lowest, values[at])
        highest = max(highest, values[at])
    mean = total / len(values)
    squares = 0.0
    for at in range(len(values)):
        squares += (np.float64(values[at]) - mean) * (np.float64(values[at]) - mean)
    scale = 1.0 / math.sqrt(squares / len(values) + EPSILON) if highest > lowest else 0.0
    for at in range(len(values)):
        out[at] = np.float32((np.float64(values[at]) - mean) * scale)


@compiled
def _add(total: Any, values: Any) -> None:
    for channel in range(len(total)):
        total[channel] += values[channel]
