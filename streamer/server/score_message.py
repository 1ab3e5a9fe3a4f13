"""A detector's `Score` as the header of a score message (docs/wire.md#score)."""

import time
from collections.abc import Mapping
from typing import Any

from musc_online.score import Score
from streamer.server.stream import Origin


def header_of(score: Score, stream: str, origin: Origin, latency_ms: Mapping[str, float]) -> dict[str, Any]:
    """The header without `v`, `kind` and `pub_seq`, which publishing adds, as it does `anomaly_map`.

    Args:
        score: of the detector.
        stream: its line's name.
        origin: what is echoed of the frame.
        latency_ms: phases that the service timed, beside the detector's.
    """
    label = score.pred_label
    return {
        "stream": stream,
        "frame_id": score.frame_id,
        "seq": origin.seq,
        "capture_ns": origin.capture_ns,
        "scored_ns": time.time_ns(),
        "raw_score": score.raw_score,
        "rscin_score": score.rscin_score,
        "pred_score": score.pred_score,
        "pred_label": None if label is None else bool(label),
        "threshold": score.threshold,
        "state": score.state,
        "n_references": score.n_references,
        "revision": score.revision,
        "is_final": score.is_final,
        "regions": [list(region) for region in score.regions],
        "anomaly_map": None,
        "latency_ms": {phase: round(value, 3) for phase, value in {**latency_ms, **score.latency_ms}.items()},
        "model_id": score.model_id,
        "meta": origin.meta,
    }
