"""A set scored at once, each image against all the others, as the paper does: no ring, nothing kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from musc_online import msm, rscin
from musc_online.anomaly_map import FrameMaps, FrameShapes
from musc_online.config import Config
from musc_online.errors import FrameError
from musc_online.ignore import ignored_maps
from musc_online.ring_setup import geometry_of, maps_of

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchScores:
    """All that is said of N images.

    `patch_scores` `[N, P]` float64; `maps` `[N, H, W]` float32; `raw` `[N]` float64, the image scores;
    `rescored` `[N]` float64, after RsCIN, 0..1.
    """

    patch_scores: Values
    maps: npt.NDArray[np.float32]
    raw: Values
    rescored: Values


def score(
    config: Config,
    patch_tokens: npt.NDArray[Any],
    class_tokens: npt.NDArray[Any],
    subsets: Sequence[Sequence[int]] | None = None,
    frame_shapes: FrameShapes = None,
) -> BatchScores:
    """Score a set (docs/method.md#the-batch).

    Args:
        config: tiles, method, `ignore`, RsCIN and map size are used.
        patch_tokens: `[S, N, P, C]` without class tokens, N >= 2; `[T * S, N, P, C]` of T tiles.
        class_tokens: `[N, D]`.
        subsets: indices of the images that are scored together, each image in one (`divide_num`); None is one
            set. RsCIN always looks at the whole set, as in the published code.
        frame_shapes: N times (height, width) of the frame, or None where it is unknown; None for all. Only
            frames that are padded or cropped need theirs.

    Raises:
        ConfigError: an `ignore` that cannot be used.
        FrameError: shapes or values that cannot be used, subsets that are not a division of the set, or one
            with fewer than two images.
    """
    n_images = patch_tokens.shape[1]
    divided = [list(members) for members in subsets or [range(n_images)]]
    if sorted(index for members in divided for index in members) != list(range(n_images)):
        raise FrameError(f"subsets: got {divided}, expected each of {n_images} images in exactly one")
    wanted = config.rscin
    patches: Values | None = None
    for members in divided:
        # Indexing copies, and the tokens of a set may lie on disk.
        tokens = patch_tokens if len(divided) == 1 else patch_tokens[:, members]
        scored = _patch_scores(config, tokens, class_tokens[members])
        patches = np.empty((n_images, scored.shape[1])) if patches is None else patches
        patches[members] = scored
    assert patches is not None  # noqa: S101 - there is a subset
    shown = FrameMaps(config)
    maps = shown.maps(patches, frame_shapes)
    raw = shown.raw_scores(patches, maps, frame_shapes)
    rescored = rscin.rescore(raw, class_tokens, wanted.neighbour_counts, wanted.normalise)
    return BatchScores(shown.kept(patches), maps, raw, rescored)


def _patch_scores(config: Config, patch_tokens: npt.NDArray[Any], class_tokens: npt.NDArray[Any]) -> Values:
    """`[N, H * W]`: a tile is scored against the same tile of other images, stitched tiles as one image."""
    n_maps, _, n_patches, n_channels = patch_tokens.shape
    geometry = geometry_of(config, n_maps // config.tiles.count, n_patches, n_channels)
    maps, method, ignored = maps_of(config, patch_tokens), config.method, ignored_maps(config, geometry)
    n_tiles = 1 if geometry.tiling is None else geometry.tiling.n_tiles
    n_stages = len(maps) // n_tiles
    scored = [
        msm.mutual_scores(
            maps[first : first + n_stages],
            method.degrees,
            *method.interval,
            config.ring.nearest,
            class_tokens,
            method.position,
            grid=geometry.sides,
            ignored=None if ignored is None else ignored[first : first + n_stages],
        )
        for first in range(0, len(maps), n_stages)
    ]
    if geometry.tiling is None:
        return cast(Values, scored[0])
    together: Values = np.concatenate(scored, axis=1)[:, geometry.tiling.source]
    return together
