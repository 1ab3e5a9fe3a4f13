"""Patch scores to pixel map, image score and regions (paper section 3.3, end)."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from musc_online.arrays import ArrayOrTensor, grid_side, like, to_numpy
from musc_online.compiled import compiled
from musc_online.errors import FrameError
from musc_online.score import Region


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
    grids = np.ascontiguousarray(scores.reshape(-1, side, side), np.float64)
    maps = np.empty((len(grids), size, size), np.float32)
    # Compiled, not a product with NumPy: the threads of its BLAS spin on for as long as a match takes.
    _interpolate(grids, *_axis(side, size), maps)
    return like(patch_scores, maps)


def image_score(anomaly_map: npt.NDArray[np.float32]) -> float:
    """The image's raw score: the maximum of its map."""
    return float(anomaly_map.max())


@lru_cache(maxsize=16)
def _axis(side: int, size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Of each pixel along one axis: the grid point before it, and how far it is towards the next."""
    position = np.linspace(0.0, side - 1.0, size) if size > 1 else np.zeros(1)
    lower = np.minimum(position.astype(np.intp), max(side - 2, 0))
    return lower, position - lower


@compiled
def _interpolate(grids: Any, lower: Any, fraction: Any, maps: Any) -> None:
    """`[N, side, side]` float64 grids to `[N, size, size]` float32 maps: columns first, then rows."""
    side, size = grids.shape[1], maps.shape[1]
    wide = np.empty((side, size))
    for image in range(len(grids)):
        grid = grids[image]
        for row in range(side):
            for x in range(size):
                left, right = grid[row, lower[x]], grid[row, min(lower[x] + 1, side - 1)]
                wide[row, x] = left + fraction[x] * (right - left)
        for y in range(size):
            above, below, share = wide[lower[y]], wide[min(lower[y] + 1, side - 1)], fraction[y]
            line = maps[image, y]
            for x in range(len(line)):
                line[x] = above[x] + share * (below[x] - above[x])


MAX_REGIONS = 64


def find_regions(
    anomaly_map: npt.NDArray[np.float32], threshold: float, frame_shape: tuple[int, int] | None
) -> list[Region]:
    """Bounding boxes of what is at or above the threshold, worst first, at most 64.

    Args:
        anomaly_map: `[S, S]`.
        threshold: on raw scores, so that an image labelled anomalous has at least one region.
        frame_shape: (height, width) of the frame, to whose pixels boxes are scaled; None keeps map pixels.

    Returns:
        `(x, y, width, height, score)`, score being the region's maximum.
    """
    above = (anomaly_map >= threshold).astype(np.uint8)
    if not above.any():
        return []
    count, components, boxes, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    height, width = frame_shape or anomaly_map.shape
    across, down = width / anomaly_map.shape[1], height / anomaly_map.shape[0]
    peaks = np.zeros(count, np.float32)
    inside = components > 0
    np.maximum.at(peaks, components[inside].astype(np.intp), anomaly_map[inside])
    regions = []
    for label in range(1, count):
        left, top, box_width, box_height = (int(value) for value in boxes[label, :4])
        x, y = int(left * across), int(top * down)
        right = min(width, int(np.ceil((left + box_width) * across)))
        bottom = min(height, int(np.ceil((top + box_height) * down)))
        regions.append((x, y, right - x, bottom - y, float(peaks[label])))
    return sorted(regions, key=lambda region: -region[4])[:MAX_REGIONS]
