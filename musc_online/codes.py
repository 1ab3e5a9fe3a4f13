"""Distances as 16-bit codes: half the memory of float32, finer than float16, and quick to average.

Nearest-patch distances lie in 0..2, so a fixed point of 2/65534 is wrong by at most 1.6e-5 everywhere
(float16 by 4.9e-4 near 2), and integers let the interval average find its k-th value by bisection over
sixteen bits instead of a sort.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online.compiled import compiled

Codes = npt.NDArray[np.uint16]
SCALE = 32767.0
MISSING = np.uint16(65535)
"""The pair was never measured."""
_LANES = 64


def encode(distances: npt.NDArray[np.floating[Any]]) -> Codes:
    """Distances in 0..2 to codes; `[...]` floating to `[...]` uint16."""
    codes: Codes = np.rint(np.minimum(distances, 2.0) * SCALE).astype(np.uint16)
    return codes


def decode(codes: Codes) -> npt.NDArray[np.float32]:
    """Codes back to distances; `[...]` uint16 to `[...]` float32, MISSING to NaN."""
    distances = codes.astype(np.float32) / np.float32(SCALE)
    distances[codes == MISSING] = np.nan
    return distances


@compiled
def _sum_smallest(values: Codes, k: int, threshold: Codes, trial: Codes, below: Codes, total: Any) -> None:
    """Per column of `values` (rows a multiple of four): the sum of its k smallest, into `total`."""
    lanes = range(values.shape[1])
    for lane in lanes:
        threshold[lane] = 0
        total[lane] = 0
    # The largest t with count(v < t) < k is the k-th smallest value itself.
    for bit in range(15, -1, -1):
        for lane in lanes:
            trial[lane] = threshold[lane] | np.uint16(1 << bit)
            below[lane] = 0
        for row in range(0, values.shape[0], 4):  # four rows a pass: half the loads and stores of `below`
            for lane in lanes:
                t = trial[lane]
                first = np.uint16(values[row, lane] < t) + np.uint16(values[row + 1, lane] < t)
                second = np.uint16(values[row + 2, lane] < t) + np.uint16(values[row + 3, lane] < t)
                below[lane] = np.uint16(below[lane] + np.uint16(first + second))
        for lane in lanes:
            threshold[lane] = trial[lane] if below[lane] < k else threshold[lane]
    for row in range(values.shape[0]):
        for lane in lanes:
            # min(v, t) is v below the threshold and t above it; the surplus of t is taken off below.
            total[lane] += np.int64(min(values[row, lane], threshold[lane]))
    for lane in lanes:
        total[lane] -= (values.shape[0] - k) * np.int64(threshold[lane])


@compiled
def average_codes(codes: Codes, references: Any, k_low: int, k_high: int, out: Any) -> None:
    """Interval average of every column over the rows `references`: k_low-th to k_high-th smallest.

    Args:
        codes: `[R, M]` uint16.
        references: `[n]` row numbers, none of them MISSING, n < 65532.
        k_low: how many of the smallest are left out.
        k_high: up to which they are kept, `k_low < k_high <= n`.
        out: `[M]` float64, written.
    """
    n = references.shape[0]
    values = np.full(((n + 3) // 4 * 4, _LANES), MISSING)  # padding sorts last
    threshold = np.empty(_LANES, np.uint16)
    trial = np.empty(_LANES, np.uint16)
    below = np.empty(_LANES, np.uint16)
    high, low = np.zeros(_LANES, np.int64), np.zeros(_LANES, np.int64)
    scale = 1.0 / (SCALE * (k_high - k_low))
    columns = codes.shape[1]
    for start in range(0, columns, _LANES):
        width = min(_LANES, columns - start)
        for row in range(n):
            for lane in range(width):
                values[row, lane] = codes[references[row], start + lane]
        _sum_smallest(values, k_high, threshold, trial, below, high)
        if k_low > 0:
            _sum_smallest(values, k_low, threshold, trial, below, low)
        for lane in range(width):
            out[start + lane] = (high[lane] - low[lane]) * scale
