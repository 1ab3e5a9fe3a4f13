"""Scores by a second way, in plain float32: what the batch, and with it the stream, is held to.

Batch and stream share features, matcher and 16-bit codes: an error in one of them is in both, and they agree.
So a few images are scored once more as docs/method.md has it, by PyTorch's own layer norm, pooling and
`cdist`. Nothing of what scores in `musc_online` is imported here, on purpose.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

N_IMAGES = 8
_MAX_PRODUCTS = 4e12
# Multiplications at most, but for two images: a minute on a few cores, whatever the set.
_TOGETHER = 8
# References at a time.
_NEAR = 0.03
# Below it a distance is computed by differences: 2 - 2 * cosine leaves a rounding of 4e-4 at a twin.

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """How far the batch is from the second way: largest absolute differences, in units of distance (0..2)."""

    n_images: int
    max_abs_patch_score: float
    max_abs_image_score: float


def sample(shape: tuple[int, ...], n_degrees: int, seed: int = 0) -> list[int]:
    """Which images are scored again: up to `N_IMAGES`, fewer of a large set, the same ones for the same seed.

    Args:
        shape: of the patch tokens, `[S, N, P, C]`.
        n_degrees: how many.
        seed: of the choice.
    """
    n_stages, n_images, n_patches, n_channels = shape
    products_an_image = float(n_stages * n_degrees * n_images * n_channels) * n_patches**2
    affordable = max(2, int(_MAX_PRODUCTS / products_an_image))
    chosen = np.random.default_rng(seed).permutation(n_images)[: min(N_IMAGES, affordable)]
    return sorted(int(index) for index in chosen)


def distances(
    patch_scores: Doubles,
    raw: Doubles,
    patch_tokens: npt.NDArray[Any],
    chosen: Sequence[int],
    *,
    degrees: Sequence[int],
    interval: tuple[float, float],
    map_shape: tuple[int, int],
    tiles: tuple[int, int, int] = (1, 1, 0),
    views: Sequence[tuple[float, float, float, float]] | None = None,
    worst: float | None = None,
    subsets: Sequence[Sequence[int]] | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Distances:
    """Score the chosen images again and compare.

    Args:
        patch_scores: `[N, P]` of the batch.
        raw: `[N]` image scores of the batch, before RsCIN.
        patch_tokens: `[S, N, P, C]` without class tokens, with T tiles `[T * S, N, P, C]`.
        chosen: indices of the images.
        degrees: LNAMD's.
        interval: (low, high) fractions of the interval average.
        map_shape: (height, width) of the anomaly map, whose maximum is the image score.
        tiles: rows and columns of them, and how many patches neighbours share.
        views: N times where the top, left, bottom and right edge of a padded or cropped frame lie on the
            patches, which reach from 0 to 1; None where frames are stretched.
        worst: instead, the mean of this share of the patches is the image score; not of a padded frame.
        subsets: as for the batch: an image is scored against the others of its own.
        done: told how many more references are done, at each stage.
    """
    everyone = list(range(patch_tokens.shape[1]))
    others = [
        np.setdiff1d(next(part for part in subsets or [everyone] if image in part), [image])
        for image in chosen
    ]
    grids = _stitched(_patch_scores(patch_tokens, chosen, others, degrees, interval, tiles, done), tiles)
    scores = grids.reshape(len(grids), -1)
    chosen = list(chosen)
    if worst is None:
        shown = None if views is None else [views[image] for image in chosen]
        image_scores = _highest(torch.from_numpy(grids)[:, None], map_shape, shown)
    else:
        n_worst = max(1, int(worst * scores.shape[1]))
        image_scores = np.sort(scores, axis=1)[:, -n_worst:].mean(axis=1)
    # NumPy's maximum hands NaN on: a score that is not a number is not near anything.
    return Distances(
        len(chosen),
        float(np.abs(scores - patch_scores[chosen]).max()),
        float(np.abs(image_scores - raw[chosen]).max()),
    )


def _patch_scores(
    patch_tokens: npt.NDArray[Any],
    chosen: Sequence[int],
    others: Sequence[npt.NDArray[np.intp]],
    degrees: Sequence[int],
    interval: tuple[float, float],
    tiles: tuple[int, int, int],
    done: Callable[[int], None],
) -> Doubles:
    """`[n, T, P]` scores of the chosen images, each against its `others`: means over stages and degrees."""
    n_maps, n_images, n_patches, _ = patch_tokens.shape
    n_tiles = tiles[0] * tiles[1]
    n_stages = n_maps // n_tiles
    scores: Doubles = np.zeros((len(chosen), n_tiles, n_patches))
    for at, tokens in enumerate(patch_tokens):
        total = scores[:, at // n_stages]
        own = _neighbourhoods(tokens[list(chosen)], degrees)
        nearest = np.empty((len(degrees), len(chosen), n_patches, n_images), np.float32)
        for start in range(0, n_images, _TOGETHER):
            theirs = _neighbourhoods(tokens[start : start + _TOGETHER], degrees)
            for row, (mine, them) in enumerate(zip(own, theirs, strict=True)):
                nearest[row, ..., start : start + _TOGETHER] = _nearest(mine, them)
            done(len(theirs[0]))
        for row, references in enumerate(others):
            ordered = np.sort(nearest[:, row][..., references].astype(np.float64), axis=-1)
            first = int(len(references) * interval[0])
            last = max(int(len(references) * interval[1]), first + 1)
            total[row] += ordered[..., first:last].mean(axis=-1).sum(axis=0)
    scores /= n_stages * len(degrees)
    return scores


def _stitched(scores: Doubles, tiles: tuple[int, int, int]) -> Doubles:
    """`[n, T, P]` scores of tiles to `[n, height, width]`: from the tile a patch lies deepest in."""
    rows, cols, overlap = tiles
    side = math.isqrt(scores.shape[2])
    step = side - overlap

    def deepest(place: int, n_tiles: int) -> tuple[int, int]:
        within = [(tile, place - tile * step) for tile in range(n_tiles)]
        there = [(tile, at) for tile, at in within if 0 <= at < side]
        return max(there, key=lambda one: min(one[1], side - 1 - one[1]))  # the first of equals

    down = [deepest(y, rows) for y in range(rows * step + overlap)]
    across = [deepest(x, cols) for x in range(cols * step + overlap)]
    chosen = [[scores[:, v * cols + h, y * side + x] for h, x in across] for v, y in down]
    return np.moveaxis(np.array(chosen), -1, 0).copy()


def _highest(
    grids: torch.Tensor,
    map_shape: tuple[int, int],
    views: Sequence[tuple[float, float, float, float]] | None,
) -> Doubles:
    """`[n]` maxima of the maps of `[n, 1, h, w]` patch scores."""
    if views is None:
        maps = F.interpolate(grids, map_shape, mode="bilinear", align_corners=True)
    else:
        places = torch.stack([_places(view, map_shape) for view in views])
        # What lies outside of the grid fades to 0, and is never the highest.
        maps = F.grid_sample(grids, places, mode="bilinear", align_corners=True)
    highest: Doubles = maps.amax(dim=(1, 2, 3)).numpy()
    return highest


def _places(view: tuple[float, float, float, float], map_shape: tuple[int, int]) -> torch.Tensor:
    """`[H, W, 2]`: (x, y) of the map's pixels on the patches, which reach from -1 to 1."""
    top, left, bottom, right = (2 * edge - 1 for edge in view)
    x = torch.linspace(left, right, map_shape[1], dtype=torch.float64)
    y = torch.linspace(top, bottom, map_shape[0], dtype=torch.float64)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def _neighbourhoods(tokens: npt.NDArray[Any], degrees: Sequence[int]) -> list[torch.Tensor]:
    """LNAMD of `[n, P, C]` tokens of one stage: unit vectors `[n, P, C]` of each degree."""
    n_images, n_patches, n_channels = tokens.shape
    side = math.isqrt(n_patches)
    standard = F.layer_norm(torch.tensor(np.asarray(tokens, np.float32)), (n_patches, n_channels), eps=1e-5)
    grid = standard.transpose(1, 2).reshape(n_images, n_channels, side, side)
    found = []
    for degree in degrees:
        pooled = F.avg_pool2d(F.pad(grid, (degree // 2,) * 4), degree, stride=1)  # zeros count: r * r divides
        vectors = pooled.reshape(n_images, n_channels, n_patches).transpose(1, 2)
        found.append(F.normalize(vectors, dim=2).contiguous())
    return found


def _nearest(own: torch.Tensor, theirs: torch.Tensor) -> npt.NDArray[np.float32]:
    """`[n, P, m]` distances of the vectors `own [n, P, C]` to the nearest of each of `theirs [m, P, C]`."""
    n_patches = own.shape[1]
    mine, references = own.flatten(0, 1), theirs.flatten(0, 1)
    to_all = torch.cdist(mine, references, compute_mode="use_mm_for_euclid_dist")
    found = to_all.reshape(-1, len(theirs), n_patches).amin(dim=2)
    for column, vectors in enumerate(theirs):
        near = torch.nonzero(found[:, column] < _NEAR)[:, 0]
        if len(near):
            exact = torch.cdist(mine[near], vectors, compute_mode="donot_use_mm_for_euclid_dist")
            found[near, column] = exact.amin(dim=1)
    distances: npt.NDArray[np.float32] = found.reshape(len(own), n_patches, len(theirs)).numpy()
    return distances
