"""What every matcher starts from: standardised degree-1 maps, and their unit vectors at a degree."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from musc_online.compiled import reordering

EPSILON = 1e-5
NORM_FLOOR = 1e-12


def grid_side(n_patches: int) -> int:
    """Side of the square patch grid."""
    side = math.isqrt(n_patches)
    if side * side != n_patches:
        raise ValueError(f"n_patches: got {n_patches}, expected a square number such as 256 (a 16 x 16 grid)")
    return side


def standardise(patch_tokens: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each `[P, C]` map of `[S, P, C]` to mean 0 and variance 1 over all its values (LNAMD, paper 3.2).

    A constant map becomes exact zeros, not the rounding of its mean.
    """
    tokens = np.ascontiguousarray(patch_tokens, dtype=np.float32)
    standard = np.empty_like(tokens)
    for stage, values in enumerate(tokens):
        _standardise(values.ravel(), standard[stage].ravel())
    return standard


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


def unit_windows(maps: torch.Tensor, degree: int) -> torch.Tensor:
    """Unit vectors of the `degree x degree` neighbourhoods of standardised maps, `[..., P, C]` both.

    The sum over the window stands in for the published average: the constant factor goes with the norm.
    """
    if degree > 1:
        side = grid_side(maps.shape[-2])
        grids = maps.reshape(-1, side, side, maps.shape[-1]).movedim(-1, 1)
        summed = functional.avg_pool2d(grids, degree, stride=1, padding=degree // 2, divisor_override=1)
        maps = summed.movedim(1, -1).reshape(maps.shape)
    return functional.normalize(maps, dim=-1, eps=NORM_FLOOR)
