"""Patch scores to pixel map, image score and regions (paper section 3.3, end)."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from musc_online import ignore
from musc_online.arrays import ArrayOrTensor, grid_side, like, to_numpy
from musc_online.compiled import compiled
from musc_online.config import Config, Worst
from musc_online.errors import FrameError
from musc_online.frames import View, map_shape, view_of
from musc_online.parallel import spread
from musc_online.score import Region
from musc_online.tiles import grid_of

Values = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]
FrameShapes = Sequence[tuple[int, int] | None] | None
_AT_ONCE = 16
"""Maps that one thread makes before it looks for more."""


def upsample(
    patch_scores: ArrayOrTensor,
    size: int | tuple[int, int],
    grid: tuple[int, int] | None = None,
    views: Sequence[View] | None = None,
) -> ArrayOrTensor:
    """Bilinear interpolation of the patch grid to `size`, corners aligned.

    Args:
        patch_scores: `[N, P]`; array or tensor.
        size: (height, width) of the map in pixels, or the side of a square one.
        grid: (height, width) in patches; None for a square.
        views: N times which part of the grid a map shows, by `frames.view_of`: from the frame's top left
            corner to its bottom right one, 0 where the frame lies outside of the grid. None shows all of it.

    Returns:
        `[N, height, width]` float32, the same kind as given.

    Raises:
        FrameError: not two axes, or P not the grid's.
    """
    scores = to_numpy(patch_scores)
    if scores.ndim != 2:
        raise FrameError(f"patch_scores: got shape {scores.shape}, expected [N, P]")
    rows, cols = (grid_side(scores.shape[1]),) * 2 if grid is None else grid
    if rows * cols != scores.shape[1]:
        raise FrameError(f"patch_scores: got {scores.shape[1]} patches, expected a grid of {grid}")
    height, width = (size, size) if isinstance(size, int) else size
    grids = np.ascontiguousarray(scores.reshape(-1, rows, cols), np.float64)
    maps = np.empty((len(grids), height, width), np.float32)
    # Compiled, not a product with NumPy: the threads of its BLAS spin on for as long as a match takes.
    if views is None:
        axes = (*_axis(rows, height), *_axis(cols, width))
        parts = [slice(first, first + _AT_ONCE) for first in range(0, len(grids), _AT_ONCE)]
        spread(lambda part: _interpolate(grids[part], *axes, maps[part]), parts)
    else:
        for one, (top, left, bottom, right), map_ in zip(grids, views, maps, strict=True):
            down, across = _axis(rows, height, top, bottom), _axis(cols, width, left, right)
            _interpolate(one[None], *down, *across, map_[None])
    return like(patch_scores, maps)


def image_scores(
    patch_scores: Values, maps: Maps, image_score: Literal["max"] | Worst = "max", scored: Masks | None = None
) -> Values:
    """The images' raw scores (docs/method.md#map-and-image-score).

    Args:
        patch_scores: `[N, P]`.
        maps: `[N, H, W]` of the same images.
        image_score: `max` of the map, or the mean of the worst share of the patches.
        scored: `[N, P]` bool, the patches that a share is of, at least one an image; None for all.

    Returns:
        `[N]` float64.
    """
    if image_score == "max":
        highest: Values = maps.max(axis=(1, 2)).astype(np.float64)
        return highest
    return _worst_means(patch_scores, image_score.worst, scored)


def _worst_means(patch_scores: Values, share: float, scored: Masks | None) -> Values:
    means = np.empty(len(patch_scores))
    for image, patches in enumerate(patch_scores):
        chosen = patches if scored is None else patches[scored[image]]
        n_worst = max(1, int(share * len(chosen)))
        # Summed in order: the same to the last bit whatever the order of the patches.
        means[image] = math.fsum(np.sort(chosen)[-n_worst:]) / n_worst
    return means


class FrameMaps:
    """Patch scores of a stream's frames to maps and raw scores, as its configuration says.

    Args:
        config: backbone, tiles, `ignore`, `method.image_score` and `output.map_size` are used.

    Raises:
        ConfigError: tiles that cannot be, or a mask that cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.shape = map_shape(config)
        """(height, width) of a map."""
        self.ignored = ignore.load(config)
        self.hidden = None if self.ignored is None else self.ignored.cells(self.shape)
        """`[height, width]`: pixels of a map that are ignored."""

    def maps(self, patch_scores: Values, frame_shapes: FrameShapes = None) -> Maps:
        """`[N, P]` patch scores to `[N, height, width]` maps of the whole frames, 0 where they are ignored.

        Args:
            patch_scores: those of `frame_grid`.
            frame_shapes: N times (height, width) of the frame, or None where it is unknown; None for all.

        Raises:
            FrameError: not the patches of the configured tiles.
        """
        patch_scores = self.kept(patch_scores)
        views = None
        if self._config.tiles.fit != "stretch" and frame_shapes is not None:
            views = [view_of(self._config, shape) for shape in frame_shapes]
        grid = self.grid(patch_scores.shape[1])
        maps: Maps = upsample(patch_scores, self.shape, grid, views)
        if self.hidden is not None:
            maps[:, self.hidden] = 0.0
        return maps

    def raw_scores(self, patch_scores: Values, maps: Maps, frame_shapes: FrameShapes = None) -> Values:
        """`[N]` raw scores of frames from their `[N, P]` patch scores and `[N, height, width]` maps."""
        wanted = self._config.method.image_score
        if wanted == "max":
            return image_scores(patch_scores, maps)
        return image_scores(patch_scores, maps, wanted, self.scored(patch_scores.shape, frame_shapes))

    def worst_scores(self, patch_scores: Values, share: float, frame_shapes: FrameShapes = None) -> Values:
        """`[N]` means of the worst share of `[N, P]` patch scores, whatever `method.image_score` is."""
        return _worst_means(patch_scores, share, self.scored(patch_scores.shape, frame_shapes))

    def seen(self, n_patches: int) -> npt.NDArray[np.intp]:
        """Patches `[n]` of a frame with so many that are not ignored."""
        if self.ignored is None:
            return np.arange(n_patches)
        return np.flatnonzero(~self.ignored.patches(self.grid(n_patches)))

    def kept(self, patch_scores: Values) -> Values:
        """`[N, P]` patch scores with 0 where the frame is ignored; the same array where nothing is."""
        if self.ignored is None:
            return patch_scores
        ignored = self.ignored.patches(self.grid(patch_scores.shape[1]))
        return np.where(ignored, 0.0, patch_scores)

    def view(self, frame_shape: tuple[int, int] | None) -> View | None:
        """Which part of the grid a map shows; None where that is all of it, whatever the frame's shape."""
        return None if self._config.tiles.fit == "stretch" else view_of(self._config, frame_shape)

    def grid(self, n_patches: int) -> tuple[int, int]:
        """(height, width) in patches of a frame with so many."""
        tiles = self._config.tiles
        return grid_of(tiles.rows, tiles.cols, tiles.overlap, n_patches)

    def scored(self, shape: tuple[int, ...], frame_shapes: FrameShapes = None) -> Masks | None:
        """`[N, P]`, which is `shape`: patches not ignored, and at least half inside of a padded frame."""
        if self.ignored is not None:  # of a stretched frame: all of the grid shows it
            return np.broadcast_to(~self.ignored.patches(self.grid(shape[1])), shape)
        if frame_shapes is None or self._config.tiles.fit != "pad":
            return None
        grid = self.grid(shape[1])
        return np.stack([shown(grid, view_of(self._config, frame)) for frame in frame_shapes])


def shown(grid: tuple[int, int], view: View) -> Masks:
    """`[height * width]`: patches at least half inside of the frame; if there is none, those most inside."""
    shares = []
    for n_patches, start, stop in zip(grid, view[:2], view[2:], strict=True):
        edges = np.clip(np.arange(n_patches + 1) / n_patches, start, stop)
        shares.append(np.diff(edges) * n_patches)
    inside = np.outer(*shares).ravel()
    # A rounding error must not decide: half of a patch is half of it.
    return np.asarray(inside >= min(0.5, float(inside.max())) - 1e-9)


@lru_cache(maxsize=64)
def _axis(
    side: int, size: int, start: float = 0.0, stop: float = 1.0
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Of each pixel along one axis: the grid point before it, and how far it is towards the next.

    -1 for the point where the pixel lies outside of the grid.
    """
    last = side - 1.0
    position = (
        np.linspace(start * last, stop * last, size) if size > 1 else np.array([max(start, 0.0) * last])
    )
    outside = (position < -1e-9) | (position > last + 1e-9)
    lower = np.clip(position.astype(np.intp), 0, max(side - 2, 0))
    fraction = np.clip(position - lower, 0.0, 1.0)
    return np.where(outside, -1, lower), fraction


@compiled
def _interpolate(grids: Any, rows: Any, down: Any, cols: Any, across: Any, maps: Any) -> None:
    """`[N, h, w]` float64 grids to `[N, H, W]` float32 maps: columns first, then rows; -1 is outside."""
    height, width = grids.shape[1:]
    wide = np.empty((height, len(cols)))
    for image in range(len(grids)):
        grid = grids[image]
        for row in range(height):
            for x in range(len(cols)):
                left, right = grid[row, cols[x]], grid[row, min(cols[x] + 1, width - 1)]
                wide[row, x] = left + across[x] * (right - left) if cols[x] >= 0 else 0.0
        for y in range(len(rows)):
            line = maps[image, y]
            if rows[y] < 0:
                line[:] = 0.0
                continue
            above, below, share = wide[rows[y]], wide[min(rows[y] + 1, height - 1)], down[y]
            for x in range(len(line)):
                line[x] = above[x] + share * (below[x] - above[x])


MAX_REGIONS = 64


def find_regions(anomaly_map: Maps, threshold: float, frame_shape: tuple[int, int] | None) -> list[Region]:
    """Bounding boxes of what is at or above the threshold, worst first, at most 64.

    Args:
        anomaly_map: `[H, W]` of the whole frame.
        threshold: on raw scores, so that an image labelled anomalous by the maximum of its map has at least
            one region. A mean of its worst patches may lie above all of the map: then there is none.
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
