"""What labels are worth: recall, precision, false alarms; and the threshold behind them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.metrics import Metrics, image_metrics
from musc_online.arrays import to_numpy
from musc_online.errors import DataError

RATES = ("recall", "precision", "false_alarms", "f1", "best_f1", "f1_over_best")
SETTLED = 0.05
"""How far, as a fraction of the last threshold, earlier ones may be from it and count as settled."""


@dataclass(frozen=True)
class Verdicts:
    """What the labels of a set of frames are worth; frames whose label was withheld are in no rate.

    `n_labelled` and `n_withheld` are frames and add up to all of them. `rates`, by the names of `RATES`:

    - `recall`: of the anomalous frames, those called anomalous; 0..1.
    - `precision`: of the frames called anomalous, those that are; 0..1.
    - `false_alarms`: of the normal frames, those called anomalous; 0..1.
    - `f1`: the harmonic mean of recall and precision, 0 where nothing was caught; 0..1.
    - `best_f1`: the best F1 of any one threshold on the raw scores of the same frames; 0..1.
    - `f1_over_best`: `f1 / best_f1`; above 1 where a threshold that moved did better than any one could.

    NaN, with a reason in `rates.reasons`, where undefined.
    """

    n_labelled: int
    n_withheld: int
    rates: Metrics

    def rate(self, name: str) -> float | None:
        """One of `RATES`; None where undefined."""
        value = self.rates[name]
        return None if math.isnan(value) else value

    def as_json(self) -> dict[str, Any]:
        """For JSON: counts, and rates as fractions; undefined is null, its reason under `reasons`."""
        plain = {name: self.rate(name) for name in self.rates}
        reasons = {"reasons": dict(self.rates.reasons)} if self.rates.reasons else {}
        return {"n_labelled": self.n_labelled, "n_withheld": self.n_withheld} | plain | reasons


def judge(labels_true: Any, said_labels: Sequence[bool | None], raw_scores: Any) -> Verdicts:
    """Compare the labels that were said of frames with the truth.

    Args:
        labels_true: `[N]` numbers or booleans, nonzero = anomalous.
        said_labels: N labels in the same order, True = called anomalous, None = withheld.
        raw_scores: `[N]` floats that the labels were made from, larger = more anomalous, any range; those of
            frames whose label was withheld are not looked at and may be None or NaN.

    Raises:
        DataError: the lengths differ, or a true label is None.
    """
    truth = to_numpy(labels_true).ravel()
    scores = np.asarray(raw_scores, np.float64).ravel()  # None becomes NaN
    if not truth.size == len(said_labels) == scores.size:
        raise DataError(
            f"labels: got {truth.size} true labels, {len(said_labels)} said labels and {scores.size} raw "
            "scores, expected one each"
        )
    if truth.dtype == object and any(label is None for label in truth):
        raise DataError("labels: a true label is None; judge only frames whose true label is known")
    labelled = np.array([label is not None for label in said_labels], bool)
    called = np.array([bool(label) for label in said_labels], bool)[labelled]
    n_labelled = int(labelled.sum())
    if n_labelled:
        rates = _rates((truth != 0)[labelled], called, scores[labelled])
    else:
        reason = "every label was withheld" if truth.size else "no frames"
        rates = Metrics(dict.fromkeys(RATES, math.nan), dict.fromkeys(RATES, reason))
    return Verdicts(n_labelled, truth.size - n_labelled, rates)


def threshold_changes(thresholds: Sequence[float | None]) -> list[dict[str, Any]]:
    """Where the stated threshold changed.

    Args:
        thresholds: as stated with each arrival, in order of arrival, in units of raw scores; None = no
            threshold yet.

    Returns:
        `arrival` (counted from 1) and the `threshold` from that arrival on, of each change, the first
        statement among them.
    """
    return [
        {"arrival": number, "threshold": threshold}
        for number, (before, threshold) in enumerate(pairwise([None, *thresholds]), start=1)
        if threshold != before
    ]


def stable_after(thresholds: Sequence[float | None]) -> int | None:
    """After how many frames every stated threshold was within `SETTLED` of the last one.

    Compared is with the last, not with the one before: a threshold that creeps has not settled.

    Args:
        thresholds: as for `threshold_changes`.

    Returns:
        Frames, 0..N-1; None where no threshold was stated last.
    """
    last = thresholds[-1] if thresholds else None
    if last is None:
        return None
    allowed = SETTLED * abs(last)
    away = [threshold is None or abs(threshold - last) > allowed for threshold in thresholds]
    return max((number for number, far in enumerate(away, start=1) if far), default=0)


def flipped(first: Sequence[bool | None], last: Sequence[bool | None]) -> tuple[int, int]:
    """Frames whose label changed, and frames that had both; None = withheld, and such frames are in neither.

    Args:
        first: N labels as said on arrival.
        last: N labels of the same frames as said for the last time.

    Raises:
        DataError: the lengths differ.
    """
    if len(first) != len(last):
        raise DataError(f"labels: got {len(first)} first and {len(last)} last ones, expected one each")
    both = [pair for pair in zip(first, last, strict=True) if None not in pair]
    return sum(before != after for before, after in both), len(both)


def _rates(anomalous: npt.NDArray[np.bool_], called: npt.NDArray[np.bool_], scores: Any) -> Metrics:
    """Of `[N]` frames with a label, N >= 1."""
    n_anomalous, n_called = int(anomalous.sum()), int(called.sum())
    n_caught = int((anomalous & called).sum())
    no_anomalous, no_normal = "no anomalous frame with a label", "no normal frame with a label"
    rates = Metrics({})
    _add(rates, "recall", n_caught, n_anomalous, no_anomalous)
    _add(rates, "precision", n_caught, n_called, "no frame was called anomalous")
    _add(rates, "false_alarms", n_called - n_caught, len(anomalous) - n_anomalous, no_normal)
    # Without anomalous frames the formula would say 0, as if something had been missed.
    _add(rates, "f1", 2 * n_caught, n_anomalous + n_called if n_anomalous else 0, no_anomalous)
    best = image_metrics(anomalous, scores)
    reason = best.reasons.get("f1_max", "")
    one_class = {"no anomalous image": no_anomalous, "no normal image": no_normal}
    _add(rates, "best_f1", best["f1_max"], 1, one_class.get(reason, reason))
    reason = rates.reasons.get("f1") or rates.reasons.get("best_f1", "")
    _add(rates, "f1_over_best", rates["f1"], rates["best_f1"], reason)
    return rates


def _add(rates: Metrics, name: str, part: float, whole: float, reason: str) -> None:
    """`part / whole`, or NaN and why where there is no whole."""
    rates[name] = part / whole if whole else math.nan
    if math.isnan(rates[name]):
        rates.reasons[name] = reason
