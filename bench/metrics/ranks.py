"""Where the anomalous pixels stand among the normal ones: all that the pixel metrics need, from one sort."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

N_THRESHOLDS = 200  # of the published PRO
PART_PIXELS = 2**25  # copied and sorted at a time by one thread: 128 MiB of float32

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranks:
    """Counts at each distinct value taken by an anomalous pixel, from the largest value down.

    A curve over thresholds turns only there: between two of them nothing but false positives is added.
    `true_from[V]` anomalous pixels have at least this value; `false_above[V]` normal pixels a larger one and
    `false_from[V]` at least this one; `overlap_from[V]` is the mean over regions of the share of the region's
    pixels that have at least this value (0..1). `published_*[T]` are the same, strictly above each of the
    published PRO's thresholds. `n_true`, `n_false`: all anomalous and all normal pixels.
    """

    true_from: Counts
    false_above: Counts
    false_from: Counts
    overlap_from: Floats
    published_false: Counts
    published_overlap: Floats
    n_true: int
    n_false: int


def count_ranks(truth: npt.NDArray[np.bool_], values: npt.NDArray[Any], weights: Floats) -> Ranks:
    """Sort once, count everywhere.

    Args:
        truth: `[N, H, W]` bool, at least one pixel of each kind.
        values: `[N, H, W]` float32 or float64, finite.
        weights: `[n_true]` float64 in the order of `values[truth]`: what each anomalous pixel adds to the
            mean overlap of regions; they sum to 1.

    Only the few anomalous pixels need to know which they are; the many normal ones are sorted as bare values
    (no index travels along), part by part on a few threads, and asked how many lie above each value. Beside
    the maps this needs a copy of one part for each thread.
    """
    positive = values[truth]
    order = np.argsort(positive)[::-1]
    positive, weights = positive[order], weights[order]
    last = np.flatnonzero(np.append(positive[1:] != positive[:-1], True))
    distinct = positive[last]
    thresholds = _published_thresholds(values)
    overlap = np.cumsum(weights)
    above, at_least, published = _count_normal(truth, values, distinct, thresholds)
    # Ascending view of the anomalous values: how many are strictly above each published threshold.
    n_above = positive.size - np.searchsorted(positive[::-1], thresholds, side="right")
    return Ranks(
        true_from=last + 1,
        false_above=above,
        false_from=at_least,
        overlap_from=overlap[last],
        published_false=published,
        published_overlap=np.append(0.0, overlap)[n_above],
        n_true=positive.size,
        n_false=truth.size - positive.size,
    )


def _count_normal(
    truth: npt.NDArray[np.bool_],
    values: npt.NDArray[Any],
    distinct: npt.NDArray[Any],
    thresholds: npt.NDArray[Any],
) -> tuple[Counts, Counts, Counts]:
    ascending = distinct[::-1]

    def part(images: slice) -> tuple[Counts, Counts, Counts]:
        normal = values[images][~truth[images]]
        normal.sort()
        above = normal.size - np.searchsorted(normal, ascending, side="right")
        at_least = normal.size - np.searchsorted(normal, ascending, side="left")
        return above[::-1], at_least[::-1], normal.size - np.searchsorted(normal, thresholds, side="right")

    n_threads = min(len(values), 4, os.cpu_count() or 1)
    n_parts = min(len(values), max(n_threads, -(-values.size // PART_PIXELS)))
    edges = np.linspace(0, len(values), n_parts + 1).astype(int)
    with ThreadPoolExecutor(n_threads) as pool:  # sort and searchsorted release the interpreter's lock
        parts = list(pool.map(part, [slice(*edge) for edge in pairwise(edges)]))
    above, at_least, published = (sum(column) for column in zip(*parts, strict=True))
    return np.asarray(above), np.asarray(at_least), np.asarray(published)


def _published_thresholds(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The published PRO's thresholds in the maps' own type, such that `value > threshold` is unchanged."""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / N_THRESHOLDS
    exact = np.arange(low, high, step) if step > 0 else np.empty(0)
    rounded = exact.astype(values.dtype)
    # A search in float32 with float64 keys would copy every pixel. Rounded down, a threshold separates the
    # same float32 values as before.
    down = np.nextafter(rounded, np.asarray(-np.inf, values.dtype))
    return np.where(rounded.astype(np.float64) > exact, down, rounded)
