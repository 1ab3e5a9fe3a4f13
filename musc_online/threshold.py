"""Which raw score is the limit between normal and anomalous, found without labels or with a few.

`auto` (docs/method.md#the-threshold) rests on two things seen on every real set: raw scores are distances,
so that their spread is a proportion of their level, and defects are few or far. The normal frames' scores are
taken to end a fixed proportion above their 85th percentile, and the normal frames are those below that end:
the limit is the highest score of which both hold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from musc_online.config import ThresholdConfig

Values = npt.NDArray[np.float64]

FLOOR = 0.02
"""Least threshold that a rule learns of the window: features this near are the same picture with another
noise."""
MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""
ANCHOR = 0.85
"""Quantile of the normal frames that `auto` measures from: high enough to be near the limit, and a seventh of
the frames may lie above it."""
SPREAD = 0.113
"""Standard deviation of the logarithm of normal frames' scores (docs/method.md#the-threshold), at most: it is
less where the frames themselves spread less."""
LEAST_SPREAD = 0.08
"""And at least: a line on which little differs is soon another one by a little (light, wear)."""
QUARTER = 0.25
"""Quantile of the normal frames from which their spread is seen, up to `ANCHOR`: defects lie above both."""
ENOUGH = 30
"""Frames from which on spread and gap are looked for: fewer show either by chance."""
TAIL = 1.2
"""Upper tails are longer than what lies below shows."""
FEW = 8
"""Frames by which the end of few is less certain than that of many: with so many the reach is doubled."""
LEAST_NORMAL = 0.4
"""`auto` never calls fewer than this share of the window normal."""
SEPARATION = 4.25
"""Distance of two groups' means, in standard deviations within them, that a single group does not show: the
best division of a normal distribution has 2.65."""
MAJORITY = 0.55
"""Share of all frames in the lower of two groups, at least: half of them may be one kind of good parts."""
BANDWIDTH = 0.04
"""Of the smoothing of a confirmed frame's score, as a proportion of it."""


def decide(raw_scores: Values, rule: ThresholdConfig) -> float | None:
    """Threshold on raw scores, from `[N]` raw scores of the window; None when there is nothing to go by."""
    if rule.rule == "fixed":
        return rule.value
    if not len(raw_scores):
        return None
    if rule.rule == "auto":
        return auto(raw_scores, rule.false_alarms)
    if rule.rule == "quantile":
        limit = np.quantile(raw_scores, rule.quantile)
    else:
        median = np.median(raw_scores)
        limit = median + rule.k * MAD_TO_SIGMA * np.median(np.abs(raw_scores - median))
    # What is at the limit is anomalous, and scores that are all alike are not.
    return float(np.nextafter(max(FLOOR, limit), math.inf))


def auto(raw_scores: Values, false_alarms: float) -> float:
    """The end of the normal frames' scores, found among `[N]` raw scores that hold defects too.

    Args:
        raw_scores: of the window, N >= 1.
        false_alarms: share of normal frames that may lie above it, 0 to 0.15 exclusive.
    """
    scores = np.maximum(raw_scores, FLOOR)
    normal = NormalDist()
    steps = normal.inv_cdf(1.0 - false_alarms) - normal.inv_cdf(ANCHOR)
    steps *= 1.0 + FEW / len(scores)
    limit, below = math.inf, scores
    while True:
        quarter, anchor = np.quantile(below, (QUARTER, ANCHOR)).tolist()
        spread = _spread(anchor / quarter) if len(scores) >= ENOUGH else SPREAD
        end = anchor * math.exp(spread * steps)
        if end >= limit or not _is_most(scores, end):
            break
        limit, below = end, scores[scores < end]
    return min(limit, gap(scores))


def gap(scores: Values) -> float:
    """The middle between two groups of `[N]` positive scores that lie far apart; infinite where none do."""
    if len(scores) < ENOUGH:
        return math.inf
    # Python's own logarithm: NumPy's differs in the last bit from processor to processor.
    groups = two_groups(np.sort([math.log(score) for score in scores.tolist()]))
    if groups is None or groups.lower < MAJORITY or groups.distance < SEPARATION:
        return math.inf
    return float(math.exp((groups.low + groups.high) / 2))


@dataclass(frozen=True)
class TwoGroups:
    """Sorted values divided in two: share and last of the lower group, both means, their distance.

    `distance` is in standard deviations within the groups.
    """

    lower: float
    last: float
    low: float
    high: float
    distance: float


def two_groups(ordered: Values) -> TwoGroups | None:
    """`[n]` sorted values in the two groups with the largest variance between them (Otsu's method).

    None if all are alike.
    """
    if not len(ordered) or ordered[0] == ordered[-1]:
        return None
    n, sums = len(ordered), np.cumsum(ordered)
    sizes = np.arange(1, n)
    low, high = sums[:-1] / sizes, (sums[-1] - sums[:-1]) / (n - sizes)
    last = int(np.argmax(sizes * (n - sizes) * (high - low) ** 2))
    within = float(np.sqrt(((ordered - np.where(np.arange(n) <= last, low[last], high[last])) ** 2).mean()))
    apart = float(high[last] - low[last])
    distance = math.inf if within == 0.0 else apart / within
    return TwoGroups((last + 1) / n, float(ordered[last]), float(low[last]), float(high[last]), distance)


def _spread(ratio: float) -> float:
    """Standard deviation of logarithms, from the ratio of the quantiles `ANCHOR` and `QUARTER`."""
    normal = NormalDist()
    seen = math.log(ratio) / (normal.inv_cdf(ANCHOR) - normal.inv_cdf(QUARTER))
    return min(SPREAD, max(LEAST_SPREAD, TAIL * seen))


def _is_most(scores: Values, limit: float) -> bool:
    """Whether enough of the window lies below a limit for it to be that of the normal frames."""
    return bool((scores < limit).sum() >= LEAST_NORMAL * len(scores))


def calibrated(
    limit: float, raw_scores: Values, good: Sequence[float], defects: Sequence[float], false_alarms: float
) -> float:
    """The limit corrected by frames whose truth an operator told.

    Good frames alone keep the promise of `false_alarms` as far as their number goes: of n exchangeable
    frames and one more, it is the highest once in n + 1 times. Too few of them to promise it can only raise
    the limit. With defects known as well, it is where F1 is highest by what both and the window say.

    Args:
        limit: without them.
        raw_scores: `[N]`, of the window.
        good: raw scores of frames known to be good.
        defects: raw scores of known defects.
        false_alarms: share of good frames that may lie above the limit.
    """
    if not good:
        return limit
    if defects:
        return _best_f1(raw_scores, np.array(good), np.array(defects))
    ordered = sorted(good)
    rank = math.ceil((len(good) + 1) * (1.0 - false_alarms) - 1e-9)  # 50 * 0.98 is 49
    end = float(np.nextafter(max(FLOOR, ordered[min(rank, len(good)) - 1]), math.inf))
    return end if rank <= len(good) else max(limit, end)


def _best_f1(raw_scores: Values, good: Values, defects: Values) -> float:
    window, known_good, known_bad = (
        np.log(np.maximum(scores, FLOOR)) for scores in (raw_scores, good, defects)
    )
    every = np.unique(np.concatenate([window, known_good, known_bad]))
    limits = (every[1:] + every[:-1]) / 2 if len(every) > 1 else every
    alarms, recall = _above(known_good, limits), _above(known_bad, limits)
    flagged = (window[None] > limits[:, None]).mean(axis=1)
    # Of the window a share `defective` is; what it flags is that share's recall and the others' alarms.
    contrast = recall - alarms
    weight = float((contrast**2).sum())
    defective = float((contrast * (flagged - alarms)).sum()) / weight if weight > 1e-9 else 0.5
    defective = min(max(defective, 0.02), 0.9)
    hits = defective * recall
    expected = hits / (hits + (1 - defective) * alarms + defective) + hits / (flagged + defective)
    # Rounded: limits that are as good as each other are told apart by no sum's order.
    return float(math.exp(limits[int(np.argmax(expected.round(9)))]))


def _above(known: Values, limits: Values) -> Values:
    """`[L]` share of `[n]` known frames above each limit, each smoothed by a logistic distribution."""
    scaled = np.clip((limits[:, None] - known[None]) / (BANDWIDTH * math.sqrt(3) / math.pi), -60, 60)
    share: Values = (1.0 / (1.0 + np.exp(scaled))).mean(axis=1)
    return share
