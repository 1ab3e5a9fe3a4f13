"""From patch scores to what is said of a frame: map, raw score, threshold without labels, label, regions."""

import numpy as np
import numpy.typing as npt

from musc_online import anomaly_map
from musc_online.arrays import FrameId
from musc_online.config import Config, ThresholdConfig
from musc_online.score import Score, State

Values = npt.NDArray[np.float64]


class Verdict:
    """The current threshold and range of raw scores, and the scores they lead to.

    Args:
        config: of the detector.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.threshold = decide(np.empty(0), config.threshold)
        self.lowest = self.highest = 0.0

    def learn(self, raw_scores: Values) -> None:
        """Take threshold and range from the window's `[N]` raw scores, N >= 1."""
        self.threshold = decide(raw_scores, self.config.threshold)
        self.lowest, self.highest = float(raw_scores.min()), float(raw_scores.max())

    def maps(self, patch_scores: Values) -> npt.NDArray[np.float32]:
        """`[N, P]` patch scores to `[N, S, S]` maps."""
        maps: npt.NDArray[np.float32] = anomaly_map.upsample(patch_scores, self.config.map_size)
        return maps

    def state(self, n_references: int, cut_short: bool = False) -> State:
        """`warmup` below `warmup` references, `degraded` where the deadline left references out."""
        if n_references < self.config.warmup:
            return "warmup"
        return "degraded" if cut_short else "ready"

    def unscored(self, frame_id: FrameId, n_references: int) -> Score:
        """What is said of a frame with nothing to be scored against."""
        return Score(frame_id, None, state=self.state(n_references), threshold=self.threshold)

    def score(
        self,
        frame_id: FrameId,
        patch_scores: Values,
        map_: npt.NDArray[np.float32],
        n_references: int,
        frame_shape: tuple[int, int] | None,
        cut_short: bool = False,
    ) -> Score:
        """All that `[P]` patch scores and their `[S, S]` map say; RsCIN and revision are the caller's."""
        raw, limit, output = anomaly_map.image_score(map_), self.threshold, self.config.output
        state = self.state(n_references, cut_short)
        return Score(
            frame_id,
            raw,
            pred_score=None if limit is None else normalised(raw, limit, self.lowest, self.highest),
            pred_label=None if limit is None or state == "warmup" else raw >= limit,
            threshold=limit,
            state=state,
            n_references=n_references,
            regions=anomaly_map.find_regions(map_, limit, frame_shape)
            if output.regions and limit is not None
            else [],
            patch_scores=patch_scores,
            anomaly_map=map_ if output.anomaly_map else None,
        )


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
