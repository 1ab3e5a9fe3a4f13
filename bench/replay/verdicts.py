"""A stream's `verdict`: what the labels that were sent are worth, and the threshold behind them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.metrics.labels import judge, stable_after, threshold_changes
from bench.replay.run import Recorder

SAID = ("provisional", "final")
"""When a label was said: on arrival, and for the last time."""


def of_stream(recorder: Recorder, labels_true: npt.NDArray[np.int64] | None) -> dict[str, Any]:
    """A category's `verdict` (docs/operate.md#the-replays-json).

    Args:
        recorder: of a stream that has ended.
        labels_true: `[N]` in the order of the samples, nonzero = anomalous; None = unknown: there is nothing
            to compare with, and `provisional` and `final` are null.
    """
    arrivals = recorder.arrivals
    judged: dict[str, Any] = dict.fromkeys(SAID)
    if labels_true is not None:
        order = [arrival.index for arrival in arrivals]
        first, last = [arrival.label for arrival in arrivals], [recorder.last_label[index] for index in order]
        for said, labels, stage in zip(
            SAID, (first, last), (recorder.provisional, recorder.revised), strict=True
        ):
            judged[said] = judge(labels_true[order], labels, stage.raw[order]).as_json()
    flipped, compared = recorder.n_flipped
    thresholds = [arrival.threshold for arrival in arrivals]
    return judged | {
        "labels_flipped": flipped,
        "labels_compared": compared,
        "threshold": threshold_changes(thresholds),
        "stable_after": stable_after(thresholds),
    }
