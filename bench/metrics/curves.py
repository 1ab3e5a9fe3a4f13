"""Metrics from ranks: ROC and precision-recall, equal to scikit-learn's with ties; per-region overlap."""

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.metrics import auc

from bench.metrics.ranks import Floats, Ranks

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


def region_weights(truth: npt.NDArray[np.bool_]) -> Floats:
    """What each anomalous pixel adds to the mean overlap: 1 / (its region's area x the number of regions).

    Args:
        truth: `[N, H, W]` bool.

    Returns:
        `[n_anomalous]` float64 in the order of `values[truth]`; sums to 1. A region is a set of anomalous
        pixels of one image connected by sides or corners, as in the published code.
    """
    parts: list[Floats] = []
    n_regions = 0
    for mask in truth:
        if not mask.any():
            continue
        n_labels, regions = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        region = regions[mask]
        parts.append(1.0 / np.bincount(region, minlength=n_labels)[region])
        n_regions += n_labels - 1
    return np.concatenate(parts) / n_regions if parts else np.empty(0)


def published_pro(ranks: Ranks, limit: float = 0.3) -> float:
    """The authors' formula, 0..1: 200 even thresholds over the range of the maps.

    Points with a false-positive rate below `limit` are kept, the rates are stretched to 0..1, and the
    trapezoid rule gives the area. NaN where fewer than two different rates are left (the published code
    divides by zero there).
    """
    rate = ranks.published_false / ranks.n_false
    kept = rate < limit
    rate, overlap = rate[kept], ranks.published_overlap[kept]
    if rate.size < 2 or rate.max() == rate.min():
        return float("nan")
    stretched = (rate - rate.min()) / (rate.max() - rate.min())
    return float(auc(stretched, overlap))


def exact_pro(ranks: Ranks, limit: float) -> float:
    """Area under overlap against false-positive rate from 0 to `limit`, divided by `limit`: 0..1, exact.

    Where the published formula's 200 thresholds step over the curve, and stretch what they saw to the full
    width, this is the integral both stand for (Bergmann et al., the MVTec AD evaluation).
    """
    rate, overlap = pro_curve(ranks)
    inside = int(np.searchsorted(rate, limit, side="right"))
    x, y = rate[:inside], overlap[:inside]
    if inside < rate.size:
        slope = (overlap[inside] - y[-1]) / (rate[inside] - x[-1])
        x, y = np.append(x, limit), np.append(y, y[-1] + slope * (limit - x[-1]))
    return float(auc(x, y) / limit)


def pro_curve(ranks: Ranks) -> Curve:
    """The corners of the exact PRO curve: false-positive rates and mean overlaps, `[2V + 2]`, ascending."""
    return corners(ranks, ranks.overlap_from)
