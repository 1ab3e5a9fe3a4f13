"""The published metrics of a set of image scores and pixel maps; undefined is NaN with a reason, never 0."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from bench.metrics.curves import (
    Curve,
    average_precision,
    exact_pro,
    f1_max,
    pro_curve,
    published_pro,
    region_weights,
    roc_area,
    roc_curve,
    thinned,
)
from bench.metrics.ranks import count_ranks
from musc_online.arrays import to_numpy
from musc_online.errors import DataError

IMAGE_METRICS = ("auroc", "f1_max", "ap")
PIXEL_METRICS = ("auroc", "f1_max", "ap", "pro", "pro_exact", "pro_05")


class Metrics(dict[str, float]):
    """Metric name -> fraction in 0..1, or NaN; `reasons` says of each NaN, by name, why it is undefined."""

    reasons: dict[str, str]

    def __init__(self, values: dict[str, float], reasons: dict[str, str] | None = None) -> None:
        super().__init__(values)
        self.reasons = {} if reasons is None else reasons


def image_metrics(labels: Any, scores: Any) -> Metrics:
    """AUROC, F1-max and AP of image scores.

    Args:
        labels: `[N]` numbers or booleans, nonzero = anomalous; None = nobody knows.
        scores: `[N]` floats, larger = more anomalous, any range.

    Returns:
        `auroc`, `f1_max` (the best F1 over the precision-recall curve), `ap`: fractions in 0..1. NaN, with
        a reason in `.reasons`, where there is no image, only one class, an image without a label, or a
        score that is not finite (the published code says 0 for a single class).

    Raises:
        DataError: the two lengths differ.
    """
    given, values = to_numpy(labels).ravel(), to_numpy(scores).ravel().astype(np.float64)
    truth = given != 0
    if truth.shape != values.shape:
        raise DataError(f"image metrics: got {truth.size} labels and {values.size} scores, expected one each")
    reason = _undefined(int(truth.sum()), truth.size, bool(np.isfinite(values).all()), "image", "score")
    if given.dtype == object and any(label is None for label in given):
        reason = "an image has no label"
    if reason:
        return _all_undefined(IMAGE_METRICS, reason)
    precision, recall, _ = precision_recall_curve(truth, values)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    return Metrics(
        {
            "auroc": float(roc_auc_score(truth, values)),
            "f1_max": float(f1.max()),
            "ap": float(average_precision_score(truth, values)),
        }
    )


def pixel_metrics(masks: Any, maps: Any) -> Metrics:
    """AUROC, F1-max, AP and PRO of anomaly maps, over all pixels of all images at once.

    Args:
        masks: `[N, H, W]` (or `[N, 1, H, W]`), nonzero = anomalous.
        maps: of the same shape, floats, larger = more anomalous, any range.

    Returns:
        Fractions in 0..1: `auroc`, `f1_max`, `ap`; `pro`, the published formula at a false-positive rate of
        0.3; `pro_exact`, the exact integral up to the same rate; `pro_05`, the exact integral up to 0.05.
        NaN, with a reason in `.reasons`, where undefined.

    Raises:
        DataError: the shapes differ or are not those above.
    """
    truth, values = _pixels(masks, maps)
    # A sum is NaN or infinite if a value is: one pass, no copy.
    finite = bool(np.isfinite(values.sum(dtype=np.float64)))
    reason = _undefined(int(np.count_nonzero(truth)), truth.size, finite, "pixel", "map value")
    if reason:
        return _all_undefined(PIXEL_METRICS, reason)
    ranks = count_ranks(truth, values, region_weights(truth))
    metrics = {
        "auroc": roc_area(ranks),
        "f1_max": f1_max(ranks),
        "ap": average_precision(ranks),
        "pro": published_pro(ranks),
        "pro_exact": exact_pro(ranks, 0.3),
        "pro_05": exact_pro(ranks, 0.05),
    }
    reasons = {}
    if np.isnan(metrics["pro"]):
        reasons["pro"] = "fewer than two of the 200 published thresholds have a false-positive rate below 0.3"
    return Metrics(metrics, reasons)


def pixel_curves(masks: Any, maps: Any) -> dict[str, Curve]:
    """The curves behind `pixel_metrics`, thinned for drawing.

    Args:
        masks: as for `pixel_metrics`.
        maps: as for `pixel_metrics`.

    Returns:
        `roc` and `pro`: false-positive rates and true-positive rates or mean overlaps, float64 0..1,
        ascending; empty where undefined.

    Raises:
        DataError: as `pixel_metrics`.
    """
    truth, values = _pixels(masks, maps)
    n_anomalous = int(np.count_nonzero(truth))
    if not 0 < n_anomalous < truth.size or not np.isfinite(values.sum(dtype=np.float64)):
        return {}
    ranks = count_ranks(truth, values, region_weights(truth))
    return {"roc": thinned(roc_curve(ranks)), "pro": thinned(pro_curve(ranks))}


def _pixels(masks: Any, maps: Any) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
    truth, values = _stack(masks, "masks") != 0, _stack(maps, "maps")
    if truth.shape != values.shape:
        raise DataError(
            f"pixel metrics: masks are {truth.shape} and maps {values.shape}, expected equal shapes"
        )
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    return truth, values


def _stack(values: Any, name: str) -> npt.NDArray[Any]:
    array = to_numpy(values)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        raise DataError(f"pixel metrics: {name} have shape {array.shape}, expected [N, H, W]")
    return array


def _undefined(n_anomalous: int, n_total: int, finite: bool, thing: str, value: str) -> str:
    if n_total == 0:
        return f"no {thing}s"
    if not finite:
        return f"a {value} is NaN or infinite"
    if n_anomalous == 0:
        return f"no anomalous {thing}"
    if n_anomalous == n_total:
        return f"no normal {thing}"
    return ""


def _all_undefined(names: tuple[str, ...], reason: str) -> Metrics:
    return Metrics(dict.fromkeys(names, float("nan")), dict.fromkeys(names, reason))
