"""Patch scores to pixel map and image score (paper section 3.3, end)."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from musc_online.arrays import ArrayOrTensor, grid_side, like, to_numpy
from musc_online.errors import FrameError


def upsample(patch_scores: ArrayOrTensor, size: int) -> ArrayOrTensor:
    """Bilinear interpolation of the patch grid to `size` x `size`, corners aligned.

    Args:
        patch_scores: `[N, P]`, P a square number; array or tensor.
        size: side of the map in pixels.

    Returns:
        `[N, size, size]` float32, the same kind as given.

    Raises:
        FrameError: not two axes, or P not square.
    """
    scores = to_numpy(patch_scores)
    if scores.ndim != 2:
        raise FrameError(f"patch_scores: got shape {scores.shape}, expected [N, P]")
    side = grid_side(scores.shape[1])
    weights = _weights(side, size)
    grids = scores.reshape(-1, side, side).astype(np.float64)
    maps = np.empty((len(grids), size, size), np.float32)
    for image, grid in enumerate(grids):  # one image at a time: float64 in the cache, float32 in memory
        maps[image] = weights @ grid @ weights.T
    return like(patch_scores, maps)


def image_score(anomaly_map: npt.NDArray[np.float32]) -> float:
    """The image's raw score: the maximum of its map."""
    return float(anomaly_map.max())


@lru_cache(maxsize=16)
def _weights(side: int, size: int) -> npt.NDArray[np.float64]:
    """`[size, side]` interpolation matrix of one axis."""
    position = np.linspace(0.0, side - 1.0, size) if size > 1 else np.zeros(1)
    lower = np.minimum(position.astype(np.intp), max(side - 2, 0))
    fraction = position - lower
    weights = np.zeros((size, side))
    rows = np.arange(size)
    weights[rows, lower] = 1.0 - fraction
    if side > 1:
        weights[rows, lower + 1] = fraction
    weights.flags.writeable = False
    return weights
