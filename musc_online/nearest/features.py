"""What every matcher starts from: standardised degree-1 maps, and their unit vectors at a degree."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

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
    tokens = np.asarray(patch_tokens, dtype=np.float32)
    mean = tokens.mean(axis=(1, 2), dtype=np.float64, keepdims=True)
    variance = tokens.var(axis=(1, 2), dtype=np.float64, keepdims=True)
    scale = 1.0 / np.sqrt(variance + EPSILON)
    scale[np.ptp(tokens, axis=(1, 2), keepdims=True) == 0] = 0.0
    standard: npt.NDArray[np.float32] = ((tokens - mean) * scale).astype(np.float32)
    return standard


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
