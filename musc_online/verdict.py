"""From patch scores to what is said of a frame: map, raw score, label, regions."""

import numpy as np
import numpy.typing as npt

from musc_online import anomaly_map, regions, threshold
from musc_online.arrays import FrameId
from musc_online.config import Config
from musc_online.score import Score, State

Values = npt.NDArray[np.float64]


class Verdict:
    """The current threshold and range of raw scores, and the scores they lead to.

    Args:
        config: of the detector.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.threshold = threshold.decide(np.empty(0), config.threshold)
        self.lowest = self.highest = 0.0

    def learn(self, raw_scores: Values) -> None:
        """Take threshold and range from the window's `[N]` raw scores, N >= 1."""
        self.threshold = threshold.decide(raw_scores, self.config.threshold)
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
            pred_score=None if limit is None else threshold.normalised(raw, limit, self.lowest, self.highest),
            pred_label=None if limit is None or state == "warmup" else raw >= limit,
            threshold=limit,
            state=state,
            n_references=n_references,
            regions=regions.find(map_, limit, frame_shape) if output.regions and limit is not None else [],
            patch_scores=patch_scores,
            anomaly_map=map_ if output.anomaly_map else None,
        )
