"""ROC and precision-recall metrics from ranks; equal to scikit-learn's, ties included."""

import numpy as np

from bench.pixel_counts import Ranks


def roc_area(ranks: Ranks) -> float:
    """Area under the ROC curve, 0..1: the chance that an anomalous pixel is above a normal one, ties half."""
    group = np.diff(ranks.true_from, prepend=0)
    # Normal pixels above, plus half of those level with the group.
    losses = group * (ranks.false_above + 0.5 * (ranks.false_from - ranks.false_above))
    return float(1.0 - losses.sum() / (ranks.n_true * ranks.n_false))


def average_precision(ranks: Ranks) -> float:
    """Precision averaged over the recall gained at each threshold, 0..1, not interpolated."""
    precision = ranks.true_from / (ranks.true_from + ranks.false_from)
    return float((np.diff(ranks.true_from, prepend=0) / ranks.n_true * precision).sum())


def f1_max(ranks: Ranks) -> float:
    """The best F1 over all thresholds, 0..1; it is reached at an anomalous pixel's value."""
    return float((2 * ranks.true_from / (ranks.true_from + ranks.false_from + ranks.n_true)).max())
