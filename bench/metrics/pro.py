"""Per-region overlap (PRO): the published formula, and the exact integral beside it."""

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.metrics import auc

from bench.metrics.pixel_counts import Floats, Ranks
from bench.metrics.pixel_curves import Curve, corners


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
