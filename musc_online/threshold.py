"""Label-free decision threshold from the window's scores, and the normalised score."""

import numpy as np
import numpy.typing as npt

from musc_online.config import ThresholdConfig

MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


def decide(raw_scores: npt.NDArray[np.float64], rule: ThresholdConfig) -> float | None:
    """Threshold on raw scores, from `[N]` raw scores of the window; None when there is nothing to go by."""
    if rule.rule == "fixed":
        return rule.value
    if not len(raw_scores):
        return None
    if rule.rule == "quantile":
        return float(np.quantile(raw_scores, rule.quantile))
    median = np.median(raw_scores)
    return float(median + rule.k * MAD_TO_SIGMA * np.median(np.abs(raw_scores - median)))


def normalised(raw_score: float, threshold: float, lowest: float, highest: float) -> float:
    """`raw_score` on 0..1 with 0.5 at the threshold, scaled by the window's range of raw scores."""
    spread = highest - lowest
    if spread <= 0.0:
        return 0.5 if raw_score == threshold else float(raw_score > threshold)
    return float(np.clip((raw_score - threshold) / spread + 0.5, 0.0, 1.0))
