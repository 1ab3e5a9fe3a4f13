"""What labels were worth, counted: of all frames, of each kind of defect, and beside the best threshold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from bench.report import frames as said
from bench.report.frames import Frame


def counted(frames: Sequence[Frame]) -> dict[str, Any]:
    """The numbers behind the report's words, for its JSON.

    Returns:
        `final` and `provisional`: how many frames were of each `Kind`, by the label said last and on arrival.
        `withheld`: of those without a final label, how many are `anomalous` and `normal`, by their truth.
        `defects`: of each kind of defect `defect`, `n`, `found`, `missed`, `withheld`.
        `best_threshold`: see `best_threshold`. `thresholds`: the lowest and the highest that a final label
        goes by, or null.
    """
    withheld = Counter(frame.truth for frame in frames if frame.said is None)
    return {
        "final": _tally([frame.kind for frame in frames]),
        "provisional": _tally([said.kind(frame.truth, frame.said_first) for frame in frames]),
        "withheld": {"anomalous": withheld[True], "normal": withheld[False]},
        "defects": by_defect(frames),
        "best_threshold": best_threshold(frames),
        "thresholds": thresholds(frames),
    }


def _tally(kinds: Sequence[said.Kind]) -> dict[str, int]:
    return dict(sorted(Counter(kinds).items()))


def by_defect(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """How many of each kind of defect were found; sorted by name."""
    kinds: dict[str, list[Frame]] = {}
    for frame in frames:
        if frame.truth:
            kinds.setdefault(frame.defect, []).append(frame)
    rows = []
    for name, members in sorted(kinds.items()):
        tally = Counter(frame.kind for frame in members)
        words: Mapping[str, int] = {key: tally[key] for key in ("found", "missed", "withheld")}
        rows.append({"defect": name, "n": len(members), **words})
    return rows


def thresholds(frames: Sequence[Frame]) -> list[float] | None:
    """The lowest and the highest threshold that a final label goes by; None where there is none."""
    known = [frame.threshold for frame in frames if frame.said is not None and frame.threshold is not None]
    return [min(known), max(known)] if known else None


def best_threshold(frames: Sequence[Frame]) -> float | None:
    """The one threshold on the last raw scores with the best F1; only who knows the truth can know it.

    Looked at are the frames that were given a label, as for `best_f1`; None where they are not of both kinds.
    """
    labelled = [frame for frame in frames if frame.said is not None and frame.raw is not None]
    truth = np.array([bool(frame.truth) for frame in labelled])
    if not 0 < truth.sum() < len(truth):
        return None
    precision, recall, thresholds = precision_recall_curve(truth, [frame.raw for frame in labelled])
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)[:-1]
    return float(thresholds[np.argmax(f1)])
