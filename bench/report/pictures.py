"""The report's plots, each written as one PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from bench.metrics import pixel_curves
from bench.metrics.labels import stable_after
from bench.replay.run import Recorder
from bench.replay.scored import Scored, Truth

BLUE, RED, GREY, ORANGE = "#3b6ea8", "#c8372d", "#777777", "#d98a1f"
STYLE = {"batch": (GREY, "-", 4.0), "provisional": (ORANGE, "-", 1.4), "revised": (BLUE, "--", 1.6)}


def timeline(recorder: Recorder, labels: npt.NDArray[np.int64] | None, path: Path) -> None:
    """Raw scores in order of arrival: as said at once (rings) and in the end (dots), with the threshold.

    Args:
        recorder: of the stream.
        labels: `[N]` ground truth in the order of the samples, shown by colour, and by a cross where another
            label was sent; None = unknown.
        path: of the PNG.
    """
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    axes = figure.subplots()
    position = np.arange(1, len(recorder.arrivals) + 1)
    order = np.array([arrival.index for arrival in recorder.arrivals])
    first, last = recorder.provisional.raw[order], recorder.revised.raw[order]
    kinds = [("image", np.ones(len(order), bool), BLUE)]
    if labels is not None:
        kinds = [("normal", labels[order] == 0, BLUE), ("anomalous", labels[order] == 1, RED)]
    for name, chosen, colour in kinds:
        if not chosen.any():
            continue
        axes.vlines(position[chosen], first[chosen], last[chosen], color=colour, alpha=0.25, lw=1)
        axes.plot(
            position[chosen],
            first[chosen],
            "o",
            mfc="none",
            ms=5,
            color=colour,
            alpha=0.6,
            label=f"{name}, on arrival",
        )
        axes.plot(position[chosen], last[chosen], ".", ms=7, color=colour, label=f"{name}, final")
    thresholds = [np.nan if arrival.threshold is None else arrival.threshold for arrival in recorder.arrivals]
    if np.isfinite(thresholds).any():
        axes.step(position, thresholds, where="post", color="black", lw=1, label="threshold then")
    if labels is not None:
        _cross_wrong_labels(axes, recorder, labels)
    settled = stable_after([arrival.threshold for arrival in recorder.arrivals])
    if settled:
        axes.axvline(settled + 0.5, color=GREY, ls=":", lw=1, label="threshold settled")
    if recorder.n_warmup:
        axes.axvspan(0.5, recorder.n_warmup + 0.5, color="0.92", zorder=0)
        axes.text(0.7, 0.02, "warm-up", color=GREY, fontsize=8, transform=axes.get_xaxis_transform())
    axes.set(xlabel="arrival", ylabel="raw score", xlim=(0.5, len(position) + 0.5))
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    _save(figure, path)


def _cross_wrong_labels(axes: Axes, recorder: Recorder, labels: npt.NDArray[np.int64]) -> None:
    crosses = [
        (number, scores.raw[one.index])
        for number, one in enumerate(recorder.arrivals, start=1)
        for said, scores in (
            (one.label, recorder.provisional),
            (recorder.last_label[one.index], recorder.revised),
        )
        if said is not None and said != bool(labels[one.index])
    ]
    if crosses:
        axes.plot(*zip(*crosses, strict=True), "kx", ms=8, mew=1, label="wrong label")


def histogram(
    scores: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64] | None,
    thresholds: Sequence[float] | None,
    best: float | None,
    path: Path,
) -> None:
    """How the last raw scores are spread, with the thresholds that the last labels go by.

    Args:
        scores: `[N]`; NaN is left out.
        labels: `[N]` ground truth, by colour and one on the other; None = unknown.
        thresholds: the lowest and the highest of them; None where no frame has a label.
        best: the single threshold of the best F1, None where it cannot be known.
        path: of the PNG.
    """
    figure = Figure(figsize=(9.5, 3.0), layout="constrained")
    axes = figure.subplots()
    known = np.isfinite(scores)
    kinds = [("images", known, BLUE)]
    if labels is not None:
        kinds = [("normal", known & (labels == 0), BLUE), ("anomalous", known & (labels == 1), RED)]
    kinds = [one for one in kinds if one[1].any()]
    if kinds:
        marks = [*(thresholds or ()), *([] if best is None else [best])]
        edges = _edges(scores[known], marks)
        values, names, colours = zip(
            *((scores[chosen], name, colour) for name, chosen, colour in kinds), strict=True
        )
        axes.hist(values, edges, stacked=True, label=names, color=colours, edgecolor="white", lw=0.6)
    if thresholds is not None:
        low, high = thresholds
        if high > low:
            axes.axvspan(low, high, color="black", alpha=0.12, lw=0, label="thresholds of the labels")
        else:
            axes.axvline(low, color="black", lw=1.2, label="threshold of the labels")
    if best is not None:
        axes.axvline(best, color="black", lw=1.2, ls=":", label="threshold of the best F1")
    axes.set(xlabel="last raw score", ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    _save(figure, path)


def _edges(values: npt.NDArray[np.float64], marks: Sequence[float]) -> list[float]:
    """Of bars that are wide enough to be seen on an axis that shows the marks, too."""
    low, high = min(float(values.min()), *marks, np.inf), max(float(values.max()), *marks, -np.inf)
    room = max(1.001 * (high - low), 1e-6 * max(abs(low), abs(high)), 1e-12)
    n_bars = max(10, min(60, round(2 * len(values) ** 0.5)))
    middle = (low + high) / 2
    return [float(edge) for edge in np.linspace(middle - room / 2, middle + room / 2, n_bars + 1)]


def curves(truth: Truth, stages: Mapping[str, Scored], path: Path) -> None:
    """ROC of the images and PRO of the pixels: batch, provisional and revised."""
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    roc, pro = figure.subplots(1, 2)
    for name, scores in stages.items():
        colour, dashes, width = STYLE[name]
        look = {
            "color": colour,
            "ls": dashes,
            "lw": width,
            "label": name,
            "alpha": 0.45 if width > 3 else 1.0,
        }
        known = scores.known
        labels = truth.labels[known]
        if 0 < labels.sum() < len(labels):
            rate, found, _ = roc_curve(labels, scores.rescored[known])
            roc.plot(rate, found, **look)
        drawn = {} if truth.masks is None else pixel_curves(truth.masks[known], scores.maps[known])
        if "pro" in drawn:
            pro.plot(*drawn["pro"], **look)
    roc.set(title="images (after RsCIN)", xlabel="false-positive rate", ylabel="true-positive rate")
    pro.set(
        title="pixels", xlabel="false-positive rate", ylabel="mean overlap with regions (PRO)", xlim=(0, 0.3)
    )
    for axes in (roc, pro):
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.25)
        if axes.lines:
            axes.legend(loc="lower right", fontsize=8, frameon=False)
    _save(figure, path)


def against_seen(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Metrics of the first n frames, as said on arrival and in the end."""
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    for axes, metric, title in _pair(figure):
        for stage in ("provisional", "revised"):
            colour, dashes, width = STYLE[stage]
            values = [_number(row[stage][metric]) for row in rows]
            axes.plot(
                [row["n_seen"] for row in rows],
                values,
                color=colour,
                ls=dashes,
                lw=width,
                marker=".",
                label=stage,
            )
        axes.set(title=title, xlabel="frames seen")
        axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def sweep(rows: Sequence[Mapping[str, Any]], batch: Mapping[str, float | None], path: Path) -> None:
    """Metrics against ring capacity: a line through the means over the seeds, a dot for each seed."""
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    capacities = sorted({row["capacity"] for row in rows})
    for axes, metric, title in _pair(figure):
        for stage in ("provisional", "revised"):
            colour, dashes, width = STYLE[stage]
            values = [_number(row[stage][metric]) for row in rows]
            axes.plot([row["capacity"] for row in rows], values, ".", color=colour, alpha=0.5)
            means = [
                np.mean(
                    [value for row, value in zip(rows, values, strict=True) if row["capacity"] == capacity]
                )
                for capacity in capacities
            ]
            axes.plot(capacities, means, color=colour, ls=dashes, lw=width, label=stage)
        if batch.get(metric) is not None:
            axes.axhline(_number(batch[metric]), color=GREY, lw=1, ls=":", label="batch")
        axes.set(title=title, xlabel="ring capacity (images)", xticks=capacities)
        axes.grid(alpha=0.25)
    axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def repeat(found: Mapping[str, Any], path: Path) -> None:
    """The score of one defect that comes again and again."""
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axes = figure.subplots()
    copies = [row["copy"] for row in found["copies"]]
    axes.plot(
        copies, [_number(row["raw"]) for row in found["copies"]], "o-", color=ORANGE, label="on arrival"
    )
    axes.plot(
        copies, [_number(row["final_raw"]) for row in found["copies"]], ".--", color=BLUE, label="final"
    )
    axes.step(
        copies,
        [_number(row["threshold"]) for row in found["copies"]],
        "k",
        where="mid",
        lw=1,
        label="threshold",
    )
    axes.axhline(found["batch_raw"], color=GREY, ls=":", lw=1, label="batch, once")
    if found["normal_raw"]:
        axes.axhspan(0, found["normal_raw"][1], color=BLUE, alpha=0.08, label="normal images (batch)")
    axes.set(
        xlabel="copy",
        ylabel="raw score",
        xticks=copies if len(copies) <= 20 else copies[:: len(copies) // 10],
    )
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    _save(figure, path)


def _pair(figure: Figure) -> list[tuple[Axes, str, str]]:
    left, right = figure.subplots(1, 2)
    return [(left, "image_auroc", "image AUROC (after RsCIN)"), (right, "pro", "pixel PRO")]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
