"""Batch: mutual scores of a set, by the published recipe, by faiss and by gemm; same tokens, interleaved."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.speed import recipe
from bench.speed.setup import Shape, timed
from musc_online.msm import mutual_scores

Scores = npt.NDArray[np.float64]
Report = Callable[[str], None]


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
    vectors = recipe.aggregated(patch_tokens, shape.degrees)
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


def _published_image(vectors: recipe.Vectors, image: int) -> tuple[float, Scores]:
    """Seconds of the recipe's distances of one image, and its patch scores (not in the seconds)."""
    started = time.perf_counter()
    found = [recipe.nearest_to_all(part, part, image) for part in vectors.values()]
    seconds = time.perf_counter() - started
    return seconds, recipe.patch_scores(np.stack([part.numpy() for part in found]), image)
