"""What the options for small defects cost: `ring.nearest` in small and large rings, and tiles."""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import mean, median
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.speed.batch import Report
from bench.speed.setup import Shape, timed, tokens
from musc_online import config
from musc_online import nearest as matchers
from musc_online.arrays import Geometry, grid_side
from musc_online.detector import Detector
from musc_online.tiles import Tiling

RINGS = (200, 2000)
NEAREST = 32
STEPS = 40
"""Measured steps a round: two revisions' worth, at the default `revise.every`."""
_SCENES = 20
_CLASS_CHANNELS = 384
_TILED_REFERENCES = 32


class Line:
    """Frames of one line without end: `_SCENES` poses, each frame of one of them, with what is its own.

    Frame n is the same in every line of a shape, so rings of all sizes see the same frames.
    """

    def __init__(self, shape: Shape) -> None:
        self._scenes = tokens(shape, _SCENES)
        self._poses = np.random.default_rng(1).standard_normal((_SCENES, _CLASS_CHANNELS), np.float32)

    def frame(self, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """`[S, P, C]` patch tokens and `[D]` class token."""
        generator = np.random.default_rng([2, number])
        pose = int(generator.integers(_SCENES))
        scene = self._scenes[:, pose]
        own = 0.5 * generator.standard_normal(scene.shape, np.float32)
        return scene + own, self._poses[pose] + 0.5 * generator.standard_normal(_CLASS_CHANNELS, np.float32)


def nearest(
    shape: Shape, *, rings: tuple[int, int] = RINGS, steps: int = STEPS, repeats: int, say: Report
) -> dict[str, Any]:
    """Milliseconds of a step and of the revisions that are due, in full rings that evict with every arrival.

    The rings take steps in turn, so that other work on the machine meets both alike.

    Args:
        shape: of a frame's features.
        rings: capacities, the smaller first.
        steps: measured a round.
        repeats: rounds.
        say: told what is going on.

    Returns:
        By ring the median `step_ms`, `revisions_ms` a step, `both_ms` a step and `bytes`; `step_ratio` and
        `both_ratio` are those of the larger ring over the smaller.
    """
    line = Line(shape)
    detectors = {ring: _detector(shape, ring) for ring in rings}
    largest = max(rings)
    for number in range(largest + 1):  # one more than there is room for: from then on each arrival evicts
        if number % 50 == 0:
            say(f"nearest, filling rings: {number} of {largest}")
        for ring, detector in detectors.items():
            if number >= largest - ring:
                _step(detector, line, number)
    spent: dict[int, list[float]] = {ring: [] for ring in rings}
    revised = dict.fromkeys(rings, 0.0)
    for turn in range(repeats):
        say(f"nearest, round {turn + 1} of {repeats}")
        for number in range(largest + 1 + turn * steps, largest + 1 + (turn + 1) * steps):
            for ring, detector in detectors.items():
                step, revision = _step(detector, line, number)
                spent[ring].append(step)
                revised[ring] += revision
    found = {ring: _of_ring(detector, spent[ring], revised[ring]) for ring, detector in detectors.items()}
    small, large = (found[ring] for ring in rings)
    return {
        "nearest": NEAREST,
        "rings": found,
        "step_ratio": large["step_ms"] / small["step_ms"],
        "both_ratio": large["both_ms"] / small["both_ms"],
    }


def tiles(shape: Shape, *, repeats: int, say: Report) -> dict[str, Any]:
    """Milliseconds (best) of matching a frame of one tile, and one of 2 x 2 tiles of the same size."""
    say("tiles")
    side = grid_side(shape.n_patches)
    four = replace(shape.geometry, n_stages=4 * shape.n_stages, tiling=Tiling(2, 2, side))
    matches = [_match(shape.geometry, shape), _match(four, replace(shape, n_stages=four.n_stages))]
    best = [np.inf, np.inf]
    for _ in range(2 * repeats + 1):
        best = [min(known, timed(match)) for known, match in zip(best, matches, strict=True)]
    return {
        "references": _TILED_REFERENCES,
        "one_ms": 1e3 * best[0],
        "four_ms": 1e3 * best[1],
        "ratio": best[1] / best[0],
    }


def _detector(shape: Shape, ring: int) -> Detector:
    wanted = min(NEAREST, ring)
    settings = {
        "ring": {"capacity": ring, "nearest": wanted},
        "method": {"degrees": list(shape.degrees)},
        "output": {"anomaly_map": False, "regions": False},
    }
    return Detector(config.load(settings))


def _step(detector: Detector, line: Line, number: int) -> tuple[float, float]:
    """Seconds of a step, and of the revision that is due after it; 0 where none is."""
    patch_tokens, class_token = line.frame(number)
    started = time.perf_counter()
    detector.step_tokens(patch_tokens, class_token, number)
    stepped = time.perf_counter()
    detector.take_finals()
    if not detector.revise_due:
        return stepped - started, 0.0
    return stepped - started, timed(detector.revise)


def _of_ring(detector: Detector, spent: list[float], revised: float) -> dict[str, float]:
    if detector.ring is None:
        raise ValueError("ring: empty, expected a filled one")
    return {
        "step_ms": 1e3 * median(spent),
        "revisions_ms": 1e3 * revised / len(spent),
        "both_ms": 1e3 * (mean(spent) + revised / len(spent)),
        "bytes": detector.ring.nbytes,
    }


def _match(geometry: Geometry, shape: Shape) -> Callable[[], None]:
    images = tokens(shape, 2)
    store = matchers.create("gemm", _TILED_REFERENCES, geometry)
    arrival, kept = (store.prepare(np.ascontiguousarray(images[:, image])) for image in range(2))
    for slot in range(_TILED_REFERENCES):
        store.put(slot, kept)
    size = (_TILED_REFERENCES, *geometry.shape)
    forward, backward = np.empty(size, np.float32), np.empty(size, np.float32)
    slots = np.arange(_TILED_REFERENCES)
    return lambda: store.match(arrival, slots, forward, backward)
