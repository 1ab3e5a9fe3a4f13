"""Batch: mutual scores of a set, by the published recipe, by faiss and by gemm; same tokens, interleaved.

The recipe, restated: per stage and degree, the distances of one image's patches to all patches of all images
by one float32 `cdist`, then the minimum over each image's patches; then the interval average. It is given its
aggregated unit vectors for nothing; our own times include the aggregation.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.speed.setup import Shape, timed
from musc_online.lnamd import aggregate
from musc_online.msm import interval_average, mutual_scores

Scores = npt.NDArray[np.float64]
Report = Callable[[str], None]
Vectors = dict[tuple[int, int], torch.Tensor]
"""(stage, degree) to unit vectors `[N, P, C]`."""


def measure(
    patch_tokens: npt.NDArray[np.float32], shape: Shape, *, rounds: int, with_faiss: bool, say: Report
) -> dict[str, Any]:
    """Seconds, ratios and the largest difference of any patch score from the published recipe's.

    The recipe's images are dealt over the rounds, and gemm scores the whole set once a round: other work on
    the machine then meets both alike.
    """
    n_images = patch_tokens.shape[1]
    say("compiling")
    started = time.perf_counter()
    mutual_scores(patch_tokens[:, :2], shape.degrees)
    first_call = time.perf_counter() - started
    vectors = aggregated(patch_tokens, shape.degrees)
    published, recipe_seconds = np.empty((n_images, shape.n_patches)), []
    gemm, gemm_seconds = np.empty_like(published), []
    for turn in range(rounds):
        say(f"batch, round {turn + 1} of {rounds}")
        for image in range(turn, n_images, rounds):
            seconds, published[image] = _published_image(vectors, image)
            recipe_seconds.append(seconds)
        started = time.perf_counter()
        gemm = mutual_scores(patch_tokens, shape.degrees, matcher="gemm")
        gemm_seconds.append(time.perf_counter() - started)
    directed, pairs = n_images * n_images, n_images * (n_images - 1) / 2
    work = directed * shape.pair_flop(degrees=True)
    total = sum(recipe_seconds)
    result: dict[str, Any] = {
        "images": n_images,
        "first_call_s": first_call,
        "published": {
            "seconds": total,
            "best_s": n_images * min(recipe_seconds),
            "gflops": work / total / 1e9,
        },
        "gemm": {
            "seconds": median(gemm_seconds),
            "best_s": min(gemm_seconds),
            "gflops": work / median(gemm_seconds) / 1e9,
            "multiplied_gops": pairs * shape.pair_flop(degrees=False) / median(gemm_seconds) / 1e9,
            "max_difference": float(np.abs(gemm - published).max()),
        },
    }
    if with_faiss:
        say("batch, faiss")
        faiss = np.empty_like(published)

        def run_faiss() -> None:
            faiss[:] = mutual_scores(patch_tokens, shape.degrees, matcher="faiss")

        seconds = timed(run_faiss)
        difference = float(np.abs(faiss - published).max())
        result["faiss"] = {"seconds": seconds, "gflops": work / seconds / 1e9, "max_difference": difference}
    for name in ("gemm", "faiss"):
        if name in result:
            result[name]["ratio"] = total / result[name]["seconds"]
    result["gemm"]["ratio_of_best"] = result["published"]["best_s"] / result["gemm"]["best_s"]
    return result


def _published_image(vectors: Vectors, image: int) -> tuple[float, Scores]:
    """Seconds of the recipe's distances of one image, and its patch scores (not in the seconds)."""
    started = time.perf_counter()
    found = [nearest_to_all(part, part, image) for part in vectors.values()]
    seconds = time.perf_counter() - started
    return seconds, patch_scores(np.stack([part.numpy() for part in found]), image)


def aggregated(patch_tokens: npt.NDArray[np.float32], degrees: Sequence[int]) -> Vectors:
    """Unit vectors of every stage and degree of `[S, N, P, C]` tokens."""
    return {
        (stage, degree): torch.from_numpy(np.ascontiguousarray(aggregate(tokens, degree)))
        for stage, tokens in enumerate(patch_tokens)
        for degree in degrees
    }


def nearest_to_all(vectors: torch.Tensor, references: torch.Tensor, image: int) -> torch.Tensor:
    """`[P, R]` distances of the image's patches to their nearest in each of `references [R, P, C]`."""
    n_references, n_patches, n_channels = references.shape
    distances = torch.cdist(vectors[image], references.reshape(n_references * n_patches, n_channels))
    return distances.reshape(-1, n_references, n_patches).amin(dim=2)


def patch_scores(nearest: npt.NDArray[np.float32], image: int) -> npt.NDArray[np.float64]:
    """`[P]` scores from `[stages * degrees, P, N]` distances, the image itself left out."""
    others = np.delete(nearest, image, axis=2)
    scores: npt.NDArray[np.float64] = np.asarray(interval_average(others)).mean(axis=0)
    return scores
