"""MSM: interval average, and the mutual scores of a whole set (paper section 3.3)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online import nearest
from musc_online.arrays import ArrayOrTensor, Geometry, as_float32, like, to_numpy
from musc_online.codes import Codes, average_codes, encode
from musc_online.errors import FrameError
from musc_online.parallel import spread
from musc_online.retrieval import Retrieval

DEFAULT_TABLE_BYTES = 2 * 2**30


def interval_bounds(n_references: int, low: float, high: float) -> tuple[int, int]:
    """Ranks kept by the interval average: from `int(n * low)` up to `int(n * high)`, at least one.

    The authors' code returns NaN where that would keep none (fewer than five images, or `low` of 1); we
    keep one.

    Raises:
        FrameError: not 0 <= low <= high <= 1.
    """
    if not 0.0 <= low <= high <= 1.0:
        raise FrameError(f"interval: got [{low}, {high}], expected fractions with 0 <= low <= high <= 1")
    first = min(int(n_references * low), n_references - 1)
    return first, max(int(n_references * high), first + 1)


def interval_average(nearest_distances: ArrayOrTensor, low: float = 0.0, high: float = 0.3) -> ArrayOrTensor:
    """Mean of the `low` to `high` fraction of the sorted last axis (paper equation 5).

    Args:
        nearest_distances: `[..., R]` distances to R references, R >= 1; array or tensor.
        low: fraction of the smallest to leave out, 0..1.
        high: fraction up to which distances are kept, low..1.

    Returns:
        `[...]` float64, the same kind as given.

    Raises:
        FrameError: R is 0, or not 0 <= low <= high <= 1.
    """
    values = to_numpy(nearest_distances)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise FrameError(f"nearest: got shape {values.shape}, expected [..., R] with at least one reference")
    first, last = interval_bounds(values.shape[-1], low, high)
    ordered = np.sort(values, axis=-1)[..., first:last]
    return like(nearest_distances, np.asarray(ordered.mean(axis=-1, dtype=np.float64)))


def score_codes(
    codes: Codes, references: npt.NDArray[np.intp], geometry: Geometry, interval: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Patch scores of one image from its row of the mutual table: interval average, then the means.

    Args:
        codes: `[R, S * D * P]` distance codes of the image's patches to each slot.
        references: `[n]` rows of `codes` that were measured, n >= 1.
        geometry: of the images.
        interval: (low, high) fractions.

    Returns:
        `[H * W]` float64, a score for each patch of `geometry.frame_grid`.
    """
    averages = np.empty(codes.shape[1], np.float64)
    average_codes(codes, references, *interval_bounds(len(references), *interval), averages)
    return geometry.per_patch(averages)


def of_finest_degree(codes: Codes, geometry: Geometry) -> tuple[Codes, Geometry]:
    """Codes `[n, S * D * P]` of the smallest degree alone, `[n, S * P]`, and the geometry they then have."""
    if geometry.n_degrees == 1:
        return codes, geometry
    finest = min(geometry.degrees)
    by_degree = codes.reshape(len(codes), *geometry.shape)[:, :, geometry.degrees.index(finest)]
    return by_degree.reshape(len(codes), -1), replace(geometry, degrees=(finest,))


def mutual_scores(
    patch_tokens: ArrayOrTensor,
    degrees: Sequence[int] = (1, 3, 5),
    low: float = 0.0,
    high: float = 0.3,
    nearest: int | None = None,
    class_tokens: ArrayOrTensor | None = None,
    position: int | None = None,
    *,
    matcher: str = "gemm",
    max_bytes: int = DEFAULT_TABLE_BYTES,
    grid: tuple[int, int] | None = None,
    ignored: npt.NDArray[np.bool_] | None = None,
) -> ArrayOrTensor:
    """Score every patch of every image against the other images (paper sections 3.2 and 3.3).

    With `nearest`, which the paper does not have, an image is scored against so many of them: those whose
    class tokens have the largest cosines with its own; of equal ones the first.

    Each pair of images is multiplied once and serves both directions, while the distances of one stage
    fit in `max_bytes`; beyond that, pairs are multiplied twice and memory stays bounded.

    Args:
        patch_tokens: `[S, N, P, C]` backbone tokens without class tokens; array or tensor, N >= 2.
        degrees: LNAMD's degrees, odd.
        low: see `interval_average`.
        high: see `interval_average`.
        nearest: K >= 1, number of images that each is scored against; None for all.
        class_tokens: `[N, D]`, needed with `nearest`.
        matcher: `gemm`, `faiss` or `auto`.
        max_bytes: bound on the table of one stage's distances.
        position: patches are compared with those at most so many grid steps away, down and across; None for
            all.
        grid: (height, width) in patches; None for a square.
        ignored: `[P]`, or `[S, P]` for each stage: patches of every image that nothing is compared with and
            that score 0; None for none.

    Returns:
        `[N, P]` float64, Euclidean distances in 0..2, the same kind as given.

    Raises:
        FrameError: wrong shape, fewer than two images, a value that is not finite, an even degree, no
            interval, a grid or ignored patches of another number of patches, or `nearest` without class
            tokens or below 1.
        ConfigError: `nearest` or the matcher needs FAISS, which is not installed.
    """
    tokens = to_numpy(patch_tokens)
    if tokens.ndim != 4 or min(tokens.shape) < 1:
        raise FrameError(f"patch_tokens: got shape {tokens.shape}, expected [S, N, P, C]")
    if tokens.shape[1] < 2:
        raise FrameError("patch_tokens: got 1 image, expected at least 2 to be scored against each other")
    n_stages, _, n_patches, n_channels = tokens.shape
    geometry = Geometry(n_stages, tuple(degrees), n_patches, n_channels, grid, position)
    references = references_of(tokens.shape[1], nearest, class_tokens)
    hidden = _each_stage(ignored, (n_stages, n_patches))
    total = np.zeros((tokens.shape[1], tokens.shape[2]), np.float64)
    for given, unseen in zip(tokens, hidden, strict=True):
        stage_tokens = as_float32(given)
        if not np.isfinite(stage_tokens).all():
            raise FrameError("patch_tokens: got NaN or infinity, expected finite float32 numbers")
        total += _stage_scores(stage_tokens, geometry, unseen, (low, high), references, matcher, max_bytes)
    return like(patch_tokens, total / tokens.shape[0])


def _each_stage(
    ignored: npt.NDArray[np.bool_] | None, shape: tuple[int, int]
) -> list[npt.NDArray[np.bool_] | None]:
    """One `[1, P]` mask a stage, or None."""
    if ignored is None:
        return [None] * shape[0]
    mask = np.asarray(ignored)
    if mask.dtype != np.bool_ or mask.shape not in (shape, shape[1:]):
        raise FrameError(
            f"ignored: got {mask.dtype} {mask.shape}, expected bool {shape[1:]}, or {shape} for each stage"
        )
    return [stage[None] for stage in np.broadcast_to(mask, shape)]


def _stage_scores(
    tokens: npt.NDArray[Any],
    geometry: Geometry,
    ignored: npt.NDArray[np.bool_] | None,
    interval: tuple[float, float],
    references: Sequence[npt.NDArray[np.intp]],
    matcher: str,
    max_bytes: int,
) -> npt.NDArray[np.float64]:
    n_images, n_patches, _ = tokens.shape
    # Features as a ring of all stages keeps them: the stream then ends in these very figures.
    store_geometry = replace(geometry, n_stages=1)
    store = nearest.create(matcher, n_images, store_geometry, like=geometry, ignored=ignored)
    features = spread(lambda image: store.prepare(np.ascontiguousarray(image[None], np.float32)), tokens)
    for slot, kept in enumerate(features):
        store.put(slot, kept)
    shape = (1, geometry.n_degrees, n_patches)
    most = max(map(len, references))
    if n_images * most * geometry.n_degrees * n_patches * 2 <= max_bytes:
        whole = most == n_images - 1 == min(map(len, references))
        table = whole_table(store, features, shape) if whole else _chosen(store, features, shape, references)
        rows = references if whole else [np.arange(len(others)) for others in references]
        scored = spread(
            lambda image: score_codes(table[image], rows[image], store_geometry, interval), range(n_images)
        )
        return np.stack(scored)
    scores = np.empty((n_images, n_patches), np.float64)
    forward, backward = (np.empty((most, *shape), np.float32) for _ in range(2))
    for image, others in enumerate(references):
        found = forward[: len(others)]
        store.match(features[image], others, found, backward[: len(others)])
        codes = encode(found).reshape(len(others), -1)
        scores[image] = score_codes(codes, np.arange(len(others)), store_geometry, interval)
    return scores


def references_of(
    n_images: int, nearest_count: int | None, class_tokens: ArrayOrTensor | None
) -> list[npt.NDArray[np.intp]]:
    """For each image of a set `[<= K]` the images that it is scored against; all others where K is None.

    Raises:
        FrameError: K below 1, no class tokens, another number of them, or values that are not finite.
        ConfigError: FAISS is not installed.
    """
    if nearest_count is None:
        return [np.delete(np.arange(n_images), image) for image in range(n_images)]
    if nearest_count < 1:
        raise FrameError(f"nearest: got {nearest_count}, expected at least 1, or None for all images")
    tokens = None if class_tokens is None else as_float32(to_numpy(class_tokens))
    if tokens is None or tokens.ndim != 2 or len(tokens) != n_images or not np.isfinite(tokens).all():
        given = "none" if tokens is None else f"{tokens.shape}"
        raise FrameError(f"class_tokens: got {given}, expected [{n_images}, D] finite numbers with nearest")
    known = Retrieval(n_images, min(nearest_count, n_images))
    for image, token in enumerate(tokens):
        known.put(image, known.look(token), image, eligible=True, count=1)
    return [known.nearest(image, nearest_count) for image in range(n_images)]


def _chosen(
    store: nearest.PatchStore,
    features: Sequence[Any],
    shape: tuple[int, int, int],
    references: Sequence[npt.NDArray[np.intp]],
) -> Codes:
    """`[N, K, S * D * P]` codes of each image to its references, each pair matched once."""
    n_images = len(features)
    place = np.full((n_images, n_images), -1, np.int32)
    for image, others in enumerate(references):
        place[image, others] = np.arange(len(others))
    table = np.zeros((n_images, max(map(len, references)), int(np.prod(shape))), np.uint16)
    for image in range(1, n_images):
        others = np.flatnonzero((place[image, :image] >= 0) | (place[:image, image] >= 0))
        if not len(others):
            continue
        forward, backward = (np.empty((len(others), *shape), np.float32) for _ in range(2))
        store.match(features[image], others, forward, backward)
        for near, way in ((place[image, others], forward), (place[others, image], backward)):
            known = near >= 0
            rows = image if way is forward else others[known]
            table[rows, near[known]] = encode(way[known]).reshape(known.sum(), table.shape[2])
    return table


def whole_table(
    store: nearest.PatchStore,
    features: Sequence[Any],
    shape: tuple[int, int, int],
    done: Callable[[int], None] = lambda count: None,
) -> Codes:
    """Every pair's nearest-patch distances, each pair matched once: the codes a ring would keep of them.

    Args:
        store: holds image i of `features` in slot i.
        features: of N images, from `store.prepare`.
        shape: (S, D, P) of the store.
        done: told after each image but the first.

    Returns:
        `[N, N, S * D * P]` uint16: `[i, j]` are image i's patches to their nearest in image j; 0 for itself.
    """
    n_images = len(features)
    table = np.zeros((n_images, n_images, int(np.prod(shape))), np.uint16)
    forward, backward = (np.empty((n_images, *shape), np.float32) for _ in range(2))
    for image in range(1, n_images):
        store.match(features[image], np.arange(image), forward[:image], backward[:image])
        table[image, :image] = encode(forward[:image]).reshape(image, -1)
        table[:image, image] = encode(backward[:image]).reshape(image, -1)
        done(1)
    return table
