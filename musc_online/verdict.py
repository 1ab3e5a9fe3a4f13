"""From patch scores to what is said of a frame, and what another rule would change about it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online import threshold
from musc_online.anomaly_map import FrameMaps, Maps, find_regions
from musc_online.arrays import FrameId
from musc_online.config import Config, ThresholdConfig
from musc_online.known import KnownFrames
from musc_online.score import Score, State

Values = npt.NDArray[np.float64]


class Verdict:
    """The current threshold and range of raw scores, and the scores they lead to.

    Args:
        config: of the detector.

    Raises:
        ConfigError: tiles that cannot be, or an `ignore` that cannot be used.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.frame_maps = FrameMaps(config)
        self.rule = config.threshold
        """As configured, or as an operator set it since."""
        self.known = KnownFrames()
        self.raw_scores: Values = np.empty(0)
        """`[N]` raw scores of the window, of which the threshold was learned."""
        self.parting = math.inf
        """Raw score that parts good from defective frames of that window (`musc_online.division`)."""
        self.lowest = self.highest = 0.0
        self.threshold = self.threshold_by(self.rule)

    def learn(self, raw_scores: Values, parting: float = math.inf) -> None:
        """Take threshold and range from the window's `[N]` raw scores, N >= 1, and where they part."""
        self.raw_scores, self.parting = raw_scores, parting
        self.threshold = self.threshold_by(self.rule)
        self.lowest, self.highest = float(raw_scores.min()), float(raw_scores.max())

    def threshold_by(self, rule: ThresholdConfig) -> float | None:
        """What a rule makes of the window and of the frames that operators told of."""
        limit = threshold.decide(self.raw_scores, rule)
        if limit is None or rule.rule != "auto":
            return limit
        good, defects = self.known.scores("good"), self.known.scores("defect")
        limit = min(limit, self.parting)
        return threshold.calibrated(limit, self.raw_scores, good, defects, rule.false_alarms)

    def set_rule(self, rule: ThresholdConfig) -> None:
        """Decide by another rule from now on; what is known of no score yet stays until there is one."""
        if rule == self.rule and not len(self.raw_scores):
            return
        self.rule = rule
        self.threshold = self.threshold_by(rule)

    def compare(self, rule: ThresholdConfig, scores: Sequence[Score]) -> dict[str, Any]:
        """What another rule would change (`Detector.set_threshold`).

        Args:
            rule: to be tried.
            scores: last ones of the window's frames whose truth nobody told.
        """
        limits = self.threshold, self.threshold_by(rule)
        flips: tuple[list[FrameId], list[FrameId]] = ([], [])
        for score in scores:
            if score.raw_score is None or score.state == "warmup":
                continue
            was, will = (_is_above(score.raw_score, limit) for limit in limits)
            if was != will:
                flips[0 if will else 1].append(score.frame_id)
        before, after = (
            {"rule": by.rule, "threshold": limit, "wrong": self._wrong(limit)}
            for by, limit in zip((self.rule, rule), limits, strict=True)
        )
        return {"before": before, "after": after, "to_anomalous": flips[0], "to_normal": flips[1]}

    def _wrong(self, limit: float | None) -> list[FrameId]:
        """Confirmed frames that a threshold labels against their truth."""
        return [
            frame_id
            for frame_id, word in self.known.words.items()
            if word.raw_score is not None and _is_above(word.raw_score, limit) != (word.truth == "defect")
        ]

    def state(self, n_references: int, cut_short: bool = False) -> State:
        """`warmup` below `warmup` references, `degraded` where the deadline left references out."""
        if n_references < self.config.warmup:
            return "warmup"
        return "degraded" if cut_short else "ready"

    def label(self, raw_score: float, n_references: int) -> bool | None:
        """Whether a score is anomalous; None during warm-up and before there is a threshold."""
        if self.threshold is None or self.state(n_references) == "warmup":
            return None
        return bool(raw_score >= self.threshold)

    def unscored(self, frame_id: FrameId, n_references: int) -> Score:
        """What is said of a frame with nothing to be scored against."""
        return Score(frame_id, None, state=self.state(n_references), threshold=self.threshold)

    def score(
        self,
        frame_id: FrameId,
        patch_scores: Values,
        map_: Maps,
        n_references: int,
        frame_shape: tuple[int, int] | None,
        cut_short: bool = False,
    ) -> Score:
        """All that `[P]` patch scores and their `[H, W]` map say; RsCIN and revision are the caller's."""
        output, limit, maps = self.config.output, self.threshold, self.frame_maps
        raw = float(maps.raw_scores(patch_scores[None], map_[None], [frame_shape])[0])
        state = self.state(n_references, cut_short)
        has_regions = output.regions and _is_above(raw, limit)
        return Score(
            frame_id,
            raw,
            pred_score=None if limit is None else normalised(raw, limit, self.lowest, self.highest),
            pred_label=None if limit is None or state == "warmup" else raw >= limit,
            threshold=limit,
            state=state,
            n_references=n_references,
            regions=find_regions(map_, limit, frame_shape) if has_regions and limit is not None else [],
            patch_scores=maps.kept(patch_scores[None])[0],
            anomaly_map=map_ if output.anomaly_map else None,
            frame_shape=frame_shape,
        )

    def state_dict(self) -> dict[str, Any]:
        """For a snapshot: JSON types."""
        return {
            "threshold": self.threshold,
            "range": [self.lowest, self.highest],
            "raw_scores": self.raw_scores.tolist(),
            "parting": None if math.isinf(self.parting) else self.parting,
            "configured": self.config.threshold.model_dump(),
            "rule": self.rule.model_dump(),
            "known": self.known.state(),
        }

    def restore(self, state: dict[str, Any]) -> bool:
        """Take over `state_dict()`; whether the rule is still the one the threshold was learned by.

        A rule that was configured since overrules what an operator had set before.
        """
        unchanged = bool(state["configured"] == self.config.threshold.model_dump())
        self.known.restore(state["known"])
        self.raw_scores = np.array(state["raw_scores"], np.float64)
        parting = state.get("parting")  # a snapshot made before there was one has none
        self.parting = math.inf if parting is None else parting
        self.lowest, self.highest = state["range"]
        self.rule = ThresholdConfig(**state["rule"]) if unchanged else self.config.threshold
        # A fixed threshold is what the rule says now; any other stays until the next revision.
        self.threshold = self.rule.value if self.rule.rule == "fixed" else state["threshold"]
        return unchanged


def _is_above(raw_score: float, limit: float | None) -> bool:
    return limit is not None and bool(raw_score >= limit)


def normalised(raw_score: float, threshold: float, lowest: float, highest: float) -> float:
    """`raw_score` on 0..1 with 0.5 at the threshold, scaled by the window's range of raw scores."""
    spread = highest - lowest
    if spread <= 0.0:
        return 0.5 if raw_score == threshold else float(raw_score > threshold)
    return float(np.clip((raw_score - threshold) / spread + 0.5, 0.0, 1.0))
