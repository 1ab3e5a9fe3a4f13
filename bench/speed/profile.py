"""Where the time goes: Python's calls of an arrival, and the compiled parts of one tile."""

import cProfile
import io
import pstats
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.speed import online
from bench.speed.batch import Report
from bench.speed.setup import Shape, timed
from musc_online.compiled import compiled
from musc_online.lnamd import standardise
from musc_online.nearest.gemm import maxima, packing, tile
from musc_online.nearest.gemm.near import NEAR_COSINE
from musc_online.nearest.gemm.reach import make_reach, of_stage
from musc_online.nearest.gemm.scratch import make_scratch


def report(patch_tokens: npt.NDArray[np.float32], shape: Shape, ring: int, say: Report) -> str:
    """Text: ten arrivals by cumulative time, then microseconds of the parts of one pair and stage."""
    detector = online.filled(patch_tokens, shape, ring, say)
    say("profiling")
    watch = cProfile.Profile()
    for arrival in range(10):
        tokens = np.ascontiguousarray(patch_tokens[:, arrival % patch_tokens.shape[1]]) + np.float32(arrival)
        watch.enable()
        detector.step_tokens(tokens, np.ones(384, np.float32), ring + arrival)
        watch.disable()
    text = io.StringIO()
    pstats.Stats(watch, stream=text).sort_stats("cumulative").print_stats(25)
    rows = [f"{name:32}{micros:10.1f}" for name, micros in tile_parts(patch_tokens, shape).items()]
    return "\n".join([f"Ten arrivals into a ring of {ring}", text.getvalue(),
                      "One pair and stage, one thread, best of 100 (us)", *rows, ""])  # fmt: skip


def tile_parts(patch_tokens: npt.NDArray[np.float32], shape: Shape) -> dict[str, float]:
    """Microseconds of multiplying, window sums over rows, maxima by degree, and the whole tile."""
    halos = np.array([degree // 2 for degree in shape.degrees], np.int64)
    scratch, everything = make_scratch(shape.geometry, float(NEAR_COSINE)), make_reach(shape.geometry, None)
    reach = of_stage(everything, 0)
    one, other = (_packed(patch_tokens[0, image], shape, halos) for image in (0, 1))
    parts: dict[str, Callable[[], Any]] = {
        "product": lambda: _multiply(one, other, halos.max(), reach, scratch),
        "sums over the rows' windows": lambda: _sum(halos.max(), reach, scratch),
    }
    for i, (halo, degree) in enumerate(zip(halos, shape.degrees, strict=True)):
        if halo <= 2:
            which = int(halo == 2 and 1 in halos)
            name = f"columns' windows, maxima, r={degree}"
            parts[name] = partial(_maxima, i, halo, which, halos.max(), one, other, reach, scratch)
    parts["whole tile"] = lambda: tile._match_stage(one, other, halos, reach, scratch)
    for work in parts.values():
        work()
    return {name: 1e6 * min(timed(work) for _ in range(100)) for name, work in parts.items()}


def _packed(tokens: npt.NDArray[np.float32], shape: Shape, halos: npt.NDArray[np.int64]) -> packing.Packed:
    packed = packing.Packed(*(array[0, 0] for array in packing.empty(1, shape.geometry, fine=False)))
    packing.pack_stage(standardise(tokens[None])[0], shape.geometry.sides[1], halos, *packed)
    return packed


@compiled
def _multiply(one: Any, other: Any, largest: int, reach: Any, scratch: Any) -> None:
    for panel in range(one.tokens.shape[0]):
        tile._multiply_panel(panel, largest, one, other, reach, scratch)


@compiled
def _sum(largest: int, reach: Any, scratch: Any) -> None:
    for grid_row in range(reach.height):
        maxima.sum_rows((2 << largest) - 2, largest, grid_row, reach, scratch)


@compiled
def _maxima(
    i: int, halo: int, which: int, largest: int, one: Any, other: Any, reach: Any, scratch: Any
) -> None:
    for grid_row in range(reach.height):
        maxima.take_maxima(i, halo, which, largest, grid_row, one.norms, other.norms, reach, scratch, False)
