"""Online: one arrival into a full ring, against the published recipe for that image in one direction.

And how the matcher's cost grows: with the ring's size and with the number of patches.
"""

import math
import time
from dataclasses import replace
from statistics import mean, median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.speed.batch import Report, Vectors, aggregated, nearest_to_all
from bench.speed.setup import Shape, timed, tokens
from musc_online import config, nearest
from musc_online.detector import Detector

RINGS = (25, 50, 100, 200)
SIDES = (8, 12, 16, 24, 32)


def measure(
    patch_tokens: npt.NDArray[np.float32],
    shape: Shape,
    *,
    ring: int,
    repeats: int,
    with_faiss: bool,
    say: Report,
) -> dict[str, Any]:
    """Milliseconds of `step_tokens` with its phases, of a revision, of the recipe and of faiss; bytes."""
    detector = filled(patch_tokens, shape, ring, say)
    vectors = aggregated(patch_tokens, shape.degrees)
    recipe, steps, phases = [], [], []
    for turn in range(repeats):
        say(f"online, round {turn + 1} of {repeats}")
        recipe.append(_published_arrival(vectors, turn, ring))
        for more in range(3):
            at = 3 * turn + more
            seconds, latency = _step(detector, patch_tokens, ring + at)
            steps.append(seconds)
            phases.append(latency)
    revise = timed(detector.revise)
    work = ring * shape.pair_flop(degrees=True)
    result: dict[str, Any] = {
        "ring": ring,
        "published": {
            "ms": 1e3 * median(recipe),
            "best_ms": 1e3 * min(recipe),
            "gflops": work / median(recipe) / 1e9,
        },
        "gemm": {
            "ms": 1e3 * median(steps),
            "best_ms": 1e3 * min(steps),
            "gflops": work / median(steps) / 1e9,
            "multiplied_gops": ring * shape.pair_flop(degrees=False) / median(steps) / 1e9,
            "ratio": median(recipe) / median(steps),
            "ratio_of_best": min(recipe) / min(steps),
        },
        "phases_ms": {name: mean(part[name] for part in phases) for name in phases[0]},
        "revise_ms": 1e3 * revise,
        "matcher": detector.status()["matcher"],
        "bytes": _bytes(detector, shape, ring),
    }
    if with_faiss:
        say("online, faiss")
        seconds = _faiss_match(patch_tokens, shape, ring)
        result["faiss"] = {
            "ms": 1e3 * seconds,
            "gflops": work / seconds / 1e9,
            "ratio": median(recipe) / seconds,
        }
    return result


def scaling(shape: Shape, *, largest_ring: int, repeats: int, say: Report) -> dict[str, Any]:
    """Milliseconds of one match (best of `repeats`) and the slopes of log cost over log size.

    A slope of 1 over the ring's size and of 2 over the patches is what the arithmetic asks for.
    """
    say("scaling")
    rings = [ring for ring in RINGS if ring <= largest_ring] or [largest_ring]
    over_ring = {ring: _match_ms(shape, ring, repeats) for ring in rings}
    over_patches = {
        side * side: _match_ms(replace(shape, n_patches=side * side), 8, repeats) for side in SIDES
    }
    return {
        "ring_ms": over_ring,
        "ring_slope": slope(over_ring),
        "patches_ms": over_patches,
        "patches_slope": slope(over_patches),
        "patches_ring": 8,
    }


def slope(costs: dict[int, float]) -> float:
    """Least-squares slope of log cost over log size; NaN for a single size."""
    if len(costs) < 2:
        return math.nan
    return float(np.polyfit(np.log(list(costs)), np.log(list(costs.values())), 1)[0])


def filled(patch_tokens: npt.NDArray[np.float32], shape: Shape, ring: int, say: Report) -> Detector:
    """A detector whose ring is full, by stepping."""
    settings = {"ring": {"capacity": ring}, "method": {"degrees": list(shape.degrees)}}
    detector = Detector(config.load(settings))
    for arrival in range(ring):
        if arrival % 20 == 0:
            say(f"online, filling the ring: {arrival} of {ring}")
        _step(detector, patch_tokens, arrival)
    return detector


def _step(
    detector: Detector, patch_tokens: npt.NDArray[np.float32], arrival: int
) -> tuple[float, dict[str, float]]:
    # A little noise: tokens are reused to fill the ring, and exact twins would take another path.
    generator = np.random.default_rng(arrival)
    tokens = patch_tokens[:, arrival % patch_tokens.shape[1]]
    tokens = tokens + generator.standard_normal(tokens.shape, np.float32)
    class_token = generator.standard_normal(384, np.float32)
    started = time.perf_counter()
    score = detector.step_tokens(tokens, class_token, arrival)
    return time.perf_counter() - started, score.latency_ms


def _published_arrival(vectors: Vectors, image: int, ring: int) -> float:
    seconds = 0.0
    for part in vectors.values():
        references = part[torch.arange(ring) % part.shape[0]]
        started = time.perf_counter()
        nearest_to_all(part, references, image)
        seconds += time.perf_counter() - started
    return seconds


def _faiss_match(patch_tokens: npt.NDArray[np.float32], shape: Shape, ring: int) -> float:
    store = nearest.create("faiss", ring, shape.geometry)
    features = [store.prepare(patch_tokens[:, image]) for image in range(min(ring, patch_tokens.shape[1]))]
    for slot in range(ring):
        store.put(slot, features[slot % len(features)])
    size = (ring, shape.n_stages, len(shape.degrees), shape.n_patches)
    forward, backward = np.empty(size, np.float32), np.empty(size, np.float32)
    return timed(lambda: store.match(features[0], np.arange(ring), forward, backward))


def _bytes(detector: Detector, shape: Shape, ring: int) -> dict[str, float]:
    ring_held = detector.ring
    if ring_held is None:
        raise ValueError("ring: empty, expected a filled one")
    store = ring_held.store
    kept = sum(array.nbytes for array in store.state().values()) / ring
    published = shape.n_patches * shape.n_channels * shape.n_stages * len(shape.degrees) * 4
    return {
        "published_per_image": published,
        "kept_per_image": kept,
        "published_over_kept": published / kept,
        "store": store.nbytes,
        "mutual_table": ring_held.table.nbytes,
        "ring": ring_held.nbytes,
    }


def _match_ms(shape: Shape, ring: int, repeats: int) -> float:
    images = tokens(shape, 2)
    store = nearest.create("gemm", ring, shape.geometry)
    arrival, kept = (store.prepare(np.ascontiguousarray(images[:, image])) for image in range(2))
    for slot in range(ring):
        store.put(slot, kept)
    size = (ring, shape.n_stages, len(shape.degrees), shape.n_patches)
    forward, backward = np.empty(size, np.float32), np.empty(size, np.float32)
    slots = np.arange(ring)
    return 1e3 * min(timed(lambda: store.match(arrival, slots, forward, backward)) for _ in range(repeats))
