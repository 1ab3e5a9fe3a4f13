"""ROC and precision-recall metrics from ranks; equal to scikit-learn's, ties included."""

import numpy as np

from bench.metrics.pixel_counts import Floats, Ranks

Curve = tuple[Floats, Floats]


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


def roc_curve(ranks: Ranks) -> Curve:
    """The corners of the exact ROC curve: false- and true-positive rates, `[2V + 2]` each, ascending."""
    return corners(ranks, ranks.true_from / ranks.n_true)


def corners(ranks: Ranks, gained: Floats) -> Curve:
    """A curve over false-positive rates that turns only at anomalous pixels' values.

    Args:
        ranks: of V distinct values.
        gained: `[V]`, what is reached (0..1) once everything of at least this value is called anomalous.

    Returns:
        Rates and heights `[2V + 2]`, from (0, 0) to (1, 1). At each value there is a corner before it and one
        after it, joined by a slope where normal pixels share the value, upright where none does.
    """
    rate, height = np.empty(2 * len(gained) + 2), np.empty(2 * len(gained) + 2)
    rate[0], rate[1:-1:2], rate[2:-1:2], rate[-1] = 0, ranks.false_above, ranks.false_from, ranks.n_false
    height[0], height[-1] = 0.0, 1.0
    height[1:-1:2], height[2:-1:2] = np.append(0.0, gained[:-1]), gained
    return rate / ranks.n_false, height


def thinned(curve: Curve, n_cells: int = 1000) -> Curve:
    """The curve's points that fall into another cell of an n_cells x n_cells grid than the one before.

    Enough to draw: no point dropped is further than a cell from one that is kept. The ends stay.
    """
    rate, height = curve
    cell = np.floor(rate * n_cells) * (n_cells + 1) + np.floor(height * n_cells)
    kept = np.append(True, cell[1:] != cell[:-1])
    kept[-1] = True
    return rate[kept], height[kept]
