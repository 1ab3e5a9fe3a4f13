"""What labels are worth: pure functions of what was said and what was true."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.verdict.stream import Labels, Said

STABLE = 0.05
"""A threshold is stable once it stays within this share of its last value."""


@dataclass(frozen=True)
class Figures:
    """Of the frames that were labelled; fractions in 0..1, None where undefined.

    `recall` is of defective frames (None without one), `false_alarms` of good frames (None without one).
    `f1` is the labels' and `best_f1` that of the best threshold on the same frames' raw scores, known only
    afterwards; both, and `f1_over_best`, are None without a defective frame. `n_withheld` frames had none.
    """

    recall: float | None
    false_alarms: float | None
    f1: float | None
    best_f1: float | None
    f1_over_best: float | None
    n_missed: int
    n_false_alarms: int
    n_withheld: int


def judge(said: Said, truth: npt.NDArray[np.bool_]) -> Figures:
    """Measure the labels of N frames; `truth` is `[N]`, True is defective."""
    known = np.array([label is not None for label in said.labels], np.bool_)
    called = np.array([bool(label) for label in said.labels], np.bool_)[known]
    defective, raw = truth[known], said.raw[known]
    n_defective, n_good = int(defective.sum()), int((~defective).sum())
    n_found, n_false = int((called & defective).sum()), int((called & ~defective).sum())
    f1 = best = None
    if n_defective:
        f1 = _f1(n_found, n_false, n_defective)
        best = best_f1(defective, raw)
    return Figures(
        recall=n_found / n_defective if n_defective else None,
        false_alarms=n_false / n_good if n_good else None,
        f1=f1,
        best_f1=best,
        f1_over_best=None if f1 is None or best is None else f1 / best,
        n_missed=n_defective - n_found,
        n_false_alarms=n_false,
        n_withheld=int((~known).sum()),
    )


def best_f1(defective: npt.NDArray[np.bool_], raw: npt.NDArray[np.float64]) -> float:
    """F1 of the best of all thresholds on `[n]` raw scores, at least one of them defective."""
    order = np.argsort(-raw, kind="stable")
    found = np.cumsum(defective[order])
    last_of_equals = np.append(np.diff(raw[order]) != 0, True)
    called = np.arange(1, len(raw) + 1)
    f1 = 2 * found / (called + found[-1])
    return float(f1[last_of_equals].max())


def flipped(arrival: Labels, final: Labels) -> tuple[int, int]:
    """Frames whose label changed from arrival to the end, and frames that had both."""
    both = [
        (first, last)
        for first, last in zip(arrival, final, strict=True)
        if first is not None and last is not None
    ]
    return sum(first != last for first, last in both), len(both)


def stable_after(thresholds: list[float | None], last: float | None) -> int | None:
    """Frames until the threshold never again was more than `STABLE` from its last value.

    All frames if only what came after the last one brought it there.

    Args:
        thresholds: after each arrival; None while there is none.
        last: of all, after the flush; None where there never was one, and so is the answer.
    """
    if last is None:
        return None
    allowed = STABLE * abs(last)
    unstable = [
        frame
        for frame, threshold in enumerate(thresholds, start=1)
        if threshold is None or abs(threshold - last) > allowed
    ]
    return unstable[-1] if unstable else 0


def _f1(n_found: int, n_false: int, n_defective: int) -> float:
    return 2 * n_found / (n_found + n_false + n_defective)
