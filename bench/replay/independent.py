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
    done: Callable[[int], None] = lambda count: None,
) -> Distances:
    """Score the chosen images again and compare.

    Args:
        patch_scores: `[N, P]` of the batch.
        raw: `[N]` image scores of the batch, before RsCIN.
        patch_tokens: `[S, N, P, C]` without class tokens.
        chosen: indices of the images.
        degrees: LNAMD's.
        interval: (low, high) fractions of the interval average.
        map_size: side of the anomaly map, or (height, width); its maximum is the image score.
        subsets: as for the batch: an image is scored against the others of its own.
        references: of each of the N images, the images that it is scored against; None for all the others.
        position: only patches at most so many grid steps apart, down and across, are compared; None for all.
        grid: (height, width) in patches; None for a square.
        ignored: `[P]` or `[S, P]`: patches of every image that nothing is compared with and that score 0.
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
    hidden = np.broadcast_to(
        np.zeros(n_patches, np.bool_) if ignored is None else ignored, (n_stages, n_patches)
    )
    compared = _compared((height, width), position, hidden)
    scores = _patch_scores(patch_tokens, chosen, others, degrees, interval, (height, width), compared, done)
    grids = torch.from_numpy(scores).reshape(-1, 1, height, width)
    size = map_size if isinstance(map_size, tuple) else (map_size, map_size)
    maps = F.interpolate(grids, size, mode="bilinear", align_corners=True)
    image_scores = maps.amax(dim=(1, 2, 3)).numpy()
    chosen = list(chosen)
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
    done: Callable[[int], None],
) -> Doubles:
    """`[n, P]` scores of the chosen images, each against its `others`: means over stages and degrees."""
    n_stages, n_images, n_patches, _ = patch_tokens.shape
    total: Doubles = np.zeros((len(chosen), n_patches))
    together = max(1, min(_TOGETHER, int(math.sqrt(_MOST_DISTANCES)) // n_patches))
    for tokens, allowed in zip(patch_tokens, compared, strict=True):
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
    total /= n_stages * len(degrees)
    return total


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
