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
# References at a time, and images,
_MOST_DISTANCES = 2**27
# fewer where so many of their distances (half a GiB) would be more.
_NEAR = 0.03
# Below it a distance is computed by differences: 2 - 2 * cosine leaves a rounding of 4e-4 at a twin.

Doubles = npt.NDArray[np.float64]
View = tuple[float, float, float, float]
"""A frame's top, left, bottom and right edge on the patches, which reach from 0 to 1."""


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
    map_size: int | tuple[int, int],
    subsets: Sequence[Sequence[int]] | None = None,
    references: Sequence[npt.NDArray[np.intp]] | None = None,
    position: int | None = None,
    grid: tuple[int, int] | None = None,
    ignored: npt.NDArray[np.bool_] | None = None,
    tiles: tuple[int, int, int] = (1, 1, 0),
    views: Sequence[View] | None = None,
    hidden: npt.NDArray[np.bool_] | None = None,
    worst: float | None = None,
    scored: npt.NDArray[np.bool_] | None = None,
    done: Callable[[int], None] = lambda count: None,
) -> Distances:
    """Score the chosen images again and compare.

    Args:
        patch_scores: `[N, P]` of the batch, P of the whole frame.
        raw: `[N]` image scores of the batch, before RsCIN.
        patch_tokens: `[S, N, P, C]` without class tokens, P of one map; of T tiles `[T * S, N, P, C]`.
        chosen: indices of the images.
        degrees: LNAMD's.
        interval: (low, high) fractions of the interval average.
        map_size: side of the anomaly map, or (height, width); its maximum is the image score.
        subsets: as for the batch: an image is scored against the others of its own.
        references: of each of the N images, the images that it is scored against; None for all the others.
        position: only patches at most so many grid steps apart, down and across, are compared; None for all.
        grid: (height, width) in patches; None for a square.
        ignored: `[P]` or `[S, P]`: patches of every image that nothing is compared with and that score 0.
        tiles: rows and columns of them, and how many patches neighbours share.
        views: N times where a frame's edges lie on the patches; None where they show the frame and no more.
        hidden: `[H, W]`: pixels of the map that are 0.
        worst: the image score is the mean of this share of the patches instead.
        scored: `[N, P]`: the patches that it is of; None for all.
        done: told how many more references are done, at each stage.
    """
    everyone = list(range(patch_tokens.shape[1]))
    others = [
        np.setdiff1d(next(part for part in subsets or [everyone] if image in part), [image])
        if references is None
        else np.asarray(references[image])
        for image in chosen
    ]
    n_stages, _, n_patches, _ = patch_tokens.shape
    side = math.isqrt(n_patches)
    height, width = grid or (side, side)
    masked = np.broadcast_to(
        np.zeros(n_patches, np.bool_) if ignored is None else ignored, (n_stages, n_patches)
    )
    compared = _compared((height, width), position, masked)
    by_tile = _patch_scores(
        patch_tokens, chosen, others, degrees, interval, (height, width), compared, tiles[0] * tiles[1], done
    )
    grids = by_tile.reshape(-1, height, width) if tiles[:2] == (1, 1) else _stitched(by_tile, tiles)
    scores, chosen = grids.reshape(len(grids), -1), list(chosen)
    if worst is None:
        size = map_size if isinstance(map_size, tuple) else (map_size, map_size)
        shown = None if views is None else [views[image] for image in chosen]
        image_scores = _highest(grids, size, shown, hidden)
    else:
        kept = np.ones(scores.shape, np.bool_) if scored is None else scored[chosen]
        image_scores = np.array([_worst(one[of], worst) for one, of in zip(scores, kept, strict=True)])
    # NumPy's maximum hands NaN on: a score that is not a number is not near anything.
    return Distances(
        len(chosen),
        float(np.abs(scores - patch_scores[chosen]).max()),
        float(np.abs(image_scores - raw[chosen]).max()),
    )


def _compared(
    sides: tuple[int, int], position: int | None, ignored: npt.NDArray[np.bool_]
) -> list[torch.Tensor | None]:
    """For each stage `[P, P]`: which patches of two images are compared; None for all of them."""
    if position is None and not ignored.any():
        return [None] * len(ignored)
    places = torch.cartesian_prod(torch.arange(sides[0]), torch.arange(sides[1])).float()
    steps = torch.cdist(places, places, p=torch.inf)
    near = steps <= (max(sides) if position is None else position)
    seen = ~torch.from_numpy(ignored.copy())
    return [near & stage & stage[:, None] for stage in seen]


def _patch_scores(
    patch_tokens: npt.NDArray[Any],
    chosen: Sequence[int],
    others: Sequence[npt.NDArray[np.intp]],
    degrees: Sequence[int],
    interval: tuple[float, float],
    sides: tuple[int, int],
    compared: Sequence[torch.Tensor | None],
    n_tiles: int,
    done: Callable[[int], None],
) -> Doubles:
    """`[n, T, P]` scores of the chosen images, each against its `others`: means over stages and degrees."""
    n_maps, n_images, n_patches, _ = patch_tokens.shape
    n_stages = n_maps // n_tiles
    scores: Doubles = np.zeros((len(chosen), n_tiles, n_patches))
    together = max(1, min(_TOGETHER, int(math.sqrt(_MOST_DISTANCES)) // n_patches))
    for at, (tokens, allowed) in enumerate(zip(patch_tokens, compared, strict=True)):
        total = scores[:, at // n_stages]
        own = _neighbourhoods(tokens[list(chosen)], degrees, sides)
        nearest = np.empty((len(degrees), len(chosen), n_patches, n_images), np.float32)
        for start in range(0, n_images, together):
            theirs = _neighbourhoods(tokens[start : start + together], degrees, sides)
            for row, (mine, them) in enumerate(zip(own, theirs, strict=True)):
                for image in range(0, len(chosen), together):
                    found = _nearest(mine[image : image + together], them, allowed)
                    nearest[row, image : image + together, :, start : start + together] = found
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
    grids: Doubles,
    map_shape: tuple[int, int],
    views: Sequence[View] | None,
    hidden: npt.NDArray[np.bool_] | None,
) -> Doubles:
    """`[n]` maxima of the maps of `[n, h, w]` patch scores."""
    scores = torch.from_numpy(grids)[:, None]
    if views is None:
        maps = F.interpolate(scores, map_shape, mode="bilinear", align_corners=True)
    else:
        places = torch.stack([_places(view, map_shape) for view in views])
        # What lies outside of the grid fades to 0, and is never the highest.
        maps = F.grid_sample(scores, places, mode="bilinear", align_corners=True)
    if hidden is not None:
        maps.masked_fill_(torch.from_numpy(hidden.copy()), 0.0)
    highest: Doubles = maps.amax(dim=(1, 2, 3)).numpy()
    return highest


def _worst(scores: Doubles, share: float) -> float:
    n_worst = max(1, int(share * len(scores)))
    return float(np.sort(scores)[-n_worst:].mean())


def _places(view: View, map_shape: tuple[int, int]) -> torch.Tensor:
    """`[H, W, 2]`: (x, y) of the map's pixels on the patches, which reach from -1 to 1."""
    top, left, bottom, right = (2 * edge - 1 for edge in view)
    x = torch.linspace(left, right, map_shape[1], dtype=torch.float64)
    y = torch.linspace(top, bottom, map_shape[0], dtype=torch.float64)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def _neighbourhoods(
    tokens: npt.NDArray[Any], degrees: Sequence[int], sides: tuple[int, int]
) -> list[torch.Tensor]:
    """LNAMD of `[n, P, C]` tokens of one stage: unit vectors `[n, P, C]` of each degree."""
    n_images, n_patches, n_channels = tokens.shape
    standard = F.layer_norm(torch.tensor(np.asarray(tokens, np.float32)), (n_patches, n_channels), eps=1e-5)
    grid = standard.transpose(1, 2).reshape(n_images, n_channels, *sides)
    found = []
    for degree in degrees:
        pooled = F.avg_pool2d(F.pad(grid, (degree // 2,) * 4), degree, stride=1)  # zeros count: r * r divides
        vectors = pooled.reshape(n_images, n_channels, n_patches).transpose(1, 2)
        found.append(F.normalize(vectors, dim=2).contiguous())
    return found


def _nearest(
    own: torch.Tensor, theirs: torch.Tensor, allowed: torch.Tensor | None
) -> npt.NDArray[np.float32]:
    """`[n, P, m]` distances of the vectors `own [n, P, C]` to the nearest of each of `theirs [m, P, C]`.

    Of those that are `allowed [P, P]`; 0 where none is.
    """
    n_patches = own.shape[1]
    mine, references = own.flatten(0, 1), theirs.flatten(0, 1)
    to_all = torch.cdist(mine, references, compute_mode="use_mm_for_euclid_dist")
    to_all = to_all.reshape(len(own), n_patches, len(theirs), n_patches)
    if allowed is not None:
        to_all.masked_fill_(~allowed[:, None], torch.inf)
    found = to_all.amin(dim=3).flatten(0, 1)
    for column, vectors in enumerate(theirs):
        near = torch.nonzero(found[:, column] < _NEAR)[:, 0]
        if len(near):
            exact = torch.cdist(mine[near], vectors, compute_mode="donot_use_mm_for_euclid_dist")
            if allowed is not None:
                exact.masked_fill_(~allowed[near % n_patches], torch.inf)
            found[near, column] = exact.amin(dim=1)
    found[found.isinf()] = 0.0
    distances: npt.NDArray[np.float32] = found.reshape(len(own), n_patches, len(theirs)).numpy()
    return distances
