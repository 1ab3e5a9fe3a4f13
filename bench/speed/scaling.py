"""How the matcher's cost grows: with the ring's size and with the number of patches."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from bench.speed.batch import Report
from bench.speed.setup import Shape, timed, tokens
from musc_online import nearest

RINGS = (25, 50, 100, 200)
SIDES = (8, 12, 16, 24, 32)


def measure(shape: Shape, *, largest_ring: int, repeats: int, say: Report) -> dict[str, Any]:
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
