"""What the detector says of one frame."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId

State = Literal["warmup", "ready", "degraded"]
Region = tuple[int, int, int, int, float]


@dataclass(frozen=True, eq=False)
class Score:
    """One score message before it is put on the wire (docs/wire.md#score), plus its arrays.

    Attributes:
        frame_id: of the frame.
        raw_score: 0..2, the maximum of `anomaly_map`, or as `method.image_score` says the mean of its worst
            patches; None for the first frame of a stream, which has nothing to be scored against.
        rscin_score: the same re-scored within the window (docs/method.md#rscin).
        pred_score: 0..1, 0.5 at the threshold.
        pred_label: whether it is anomalous; None while that is not known.
        threshold: that `pred_label` goes by, on raw scores.
        state: `warmup`, `ready`, or `degraded` where the deadline left references out.
        n_references: that it was scored against.
        revision: 0 for the provisional score, then counting up.
        is_final: whether no later one will come.
        regions: `(x, y, w, h, score)` in pixels of the frame (of the map when tokens were scored without a
            frame); none unless `raw_score` reaches `threshold`.
        latency_ms: milliseconds that each phase took, by its name.
        model_id: network, size and weights.
        known_defect: name of the rejected defect that the frame shows again.
        patch_scores: `[P]` float64, of all tiles together, 0 where the frame is ignored; None while
            `raw_score` is.
        anomaly_map: `[H, W]` float32 of the whole frame; None while `raw_score` is.
        frame_shape: (height, width) of the frame that the arrays are of, where known; it goes with them.
        stream: of the message; the service writes this and the following ones, the detector leaves them so.
        seq: of the message.
        capture_ns: when the frame was taken, nanoseconds since 1970.
        scored_ns: when it was scored, nanoseconds since 1970.
        meta: as it came with the frame.
    """

    frame_id: FrameId
    raw_score: float | None
    rscin_score: float | None = None
    pred_score: float | None = None
    pred_label: bool | None = None
    threshold: float | None = None
    state: State = "warmup"
    n_references: int = 0
    revision: int = 0
    is_final: bool = False
    regions: list[Region] = field(default_factory=list)
    latency_ms: dict[str, float] = field(default_factory=dict)
    model_id: str = ""
    known_defect: str | None = None
    patch_scores: npt.NDArray[np.float64] | None = None
    anomaly_map: npt.NDArray[np.float32] | None = None
    frame_shape: tuple[int, int] | None = None
    # Of the message, not of the detector: the service writes them into the header.
    stream: str = ""
    seq: int = 0
    capture_ns: int = 0
    scored_ns: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
