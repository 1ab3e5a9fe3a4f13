"""Metrics, labels, parity and findings as rows and lines: for the terminal and for the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.metrics.labels import SETTLED
from bench.replay.outcome import STAGES, Entry
from bench.replay.verdicts import SAID
from streamer.sources import told

Rows = tuple[list[str], list[list[str]]]
"""Headings, and rows of cells."""

_SHOWN = {"image_auroc": "image AUROC", "image_raw_auroc": "before RsCIN", "pro": "PRO"}
_ONLINE = ("provisional", "revised")
COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("image", "auroc", "image\nAUROC"),
    ("image", "f1_max", "image\nF1-max"),
    ("image", "ap", "image\nAP"),
    ("image_raw", "auroc", "before\nRsCIN\nAUROC"),
    ("image_raw", "f1_max", "before\nRsCIN\nF1-max"),
    ("image_raw", "ap", "before\nRsCIN\nAP"),
    ("pixel", "auroc", "pixel\nAUROC"),
    ("pixel", "f1_max", "pixel\nF1-max"),
    ("pixel", "ap", "pixel\nAP"),
    ("pixel", "pro", "pixel\nPRO"),
)
LABEL_COLUMNS: tuple[tuple[str, str], ...] = (
    ("n_labelled", "labelled"),
    ("n_withheld", "withheld"),
    ("recall", "recall"),
    ("precision", "precision"),
    ("false_alarms", "false\nalarms"),
    ("f1", "F1"),
    ("best_f1", "best F1 of\none threshold"),
    ("f1_over_best", "F1 over\nbest"),
)


def lines(entry: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> list[tuple[str, list[str]]]:
    """One category's rows: what was scored how, and the cells of `COLUMNS`."""
    rows = [(stage, _cells(entry[stage])) for stage in STAGES if entry.get(stage)]
    if theirs:
        rows.append(("published", _cells(theirs)))
        if entry.get("batch"):
            rows.append(("batch - published", _cells(_minus(entry["batch"], theirs), signed=True)))
    return rows or [("no labels", ["-"] * len(COLUMNS))]


def label_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the categories with true labels, and their mean: name, when it was said, `LABEL_COLUMNS`."""
    return [
        [name, said, *(_label_cell(entry["verdict"][said], column) for column, _ in LABEL_COLUMNS)]
        for name, entry in blocks(document)
        if any(value is not None for said in SAID for value in (entry["verdict"][said] or {}).values())
        for said in SAID
    ]


def threshold(entry: Entry) -> str:
    """One line: the threshold when first stated and in the end, and when it had settled."""
    stated, after = entry["verdict"]["threshold"], entry["verdict"]["stable_after"]
    if not stated:
        return "no threshold was stated on arrival"
    first, last = stated[0], stated[-1]
    line = f"threshold {three(first['threshold'])} from frame {first['arrival']} on"
    if len(stated) > 1:
        line += f", {three(last['threshold'])} from frame {last['arrival']} on ({len(stated)} values)"
    if after is None:
        return line
    return f"{line}; within {SETTLED:.0%} of the last after {after} frames"


def verdict(entry: Entry) -> str:
    """One line: whether the stream ended in the batch result, and that in the one of plain float32."""
    parity = entry["parity"]
    distances = (
        f"stream and batch: raw scores within {_small(parity['max_abs_image_score'])}, "
        f"maps {_small(parity['max_abs_map'])}, metrics {_small(parity['max_abs_metric'])}"
    )
    second = parity["independent"]
    if second is not None:
        distances += (
            f"; batch and plain float32 on {second['n_images']} images: patch scores within "
            f"{_small(second['max_abs_patch_score'])}, raw scores {_small(second['max_abs_image_score'])}"
        )
    if parity["holds"] is None:
        return f"{entry['category']}: parity not applicable ({parity['reason']}); {distances}"
    said = "parity holds" if parity["holds"] else "PARITY DOES NOT HOLD"
    return f"{entry['category']}: {said}: {distances} (allowed 1e-04)"


def undefined(entry: Entry) -> Sequence[str]:
    """A line for each reason why a metric of the category is undefined."""
    reasons: dict[str, list[str]] = {}
    for stage in STAGES:
        for metric, reason in ((entry[stage] or {}).get("reasons") or {}).items():
            reasons.setdefault(reason, []).append(f"{stage} {metric}")
    for said in SAID:
        for rate, reason in ((entry["verdict"][said] or {}).get("reasons") or {}).items():
            reasons.setdefault(reason, []).append(f"{said} labels' {rate}")
    return [
        f"{entry['category']}: undefined, {reason}: {', '.join(metrics)}"
        for reason, metrics in reasons.items()
    ]


def counted(entry: Entry) -> str:
    """One line: how many images there were, normal and anomalous, and what was left out."""
    total, anomalous = entry["n_images"], entry["n_anomalous"]
    kinds = "without labels" if anomalous is None else f"{total - anomalous} normal, {anomalous} anomalous"
    left_out = f"; {told(entry['left_out'])}" if entry.get("left_out") else ""
    return f"{total} images: {kinds}{left_out}"


def saved(entry: Entry) -> str:
    """One line: how many files `--save` wrote, and of how many images there is none, and why."""
    files, left_out = entry["saved"]["n_files"], entry["saved"]["left_out"]
    line = "saved: " + ", ".join(f"{count} {kind}" for kind, count in files.items())
    return line + "".join(f"; {_images(count)} without {why}" for why, count in left_out.items())


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def counted_by_name(entry: Entry) -> str:
    """`counted`, with the category's name before it."""
    return f"{entry['category']}: {counted(entry)}"


def blocks(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The categories by name, and their mean where there are several."""
    blocks = [(str(entry["category"]), entry) for entry in document["categories"]]
    return [*blocks, ("mean", document["mean"])] if len(blocks) > 1 else blocks


def _cells(stage: Mapping[str, Any], *, signed: bool = False) -> list[str]:
    values = [(stage.get(level) or {}).get(name) for level, name, _ in COLUMNS]
    form = "{:+.2f}" if signed else "{:.2f}"
    return ["-" if value is None else form.format(100 * value) for value in values]


def _label_cell(values: Mapping[str, Any], column: str) -> str:
    value = values.get(column)  # a mean has no counts
    if value is None:
        return "-"
    return str(value) if column.startswith("n_") else f"{100 * value:.2f}"


def _minus(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {
        level: {
            name: ours[level][name] - value
            for name, value in metrics.items()
            if (ours.get(level) or {}).get(name) is not None
        }
        for level, metrics in theirs.items()
    }


def _small(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1e}"


def sweep_rows(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """One row a capacity, per cent: means over the seeds, lowest and highest in brackets."""
    headings = ["capacity", *(f"{stage} {what}" for stage in _ONLINE for what in _SHOWN.values())]
    cells = []
    for capacity in sorted({row["capacity"] for row in rows}):
        chosen = [row for row in rows if row["capacity"] == capacity]
        values = [_spread([row[stage][metric] for row in chosen]) for stage in _ONLINE for metric in _SHOWN]
        changed = sum(row["labels_flipped"] for row in chosen)
        compared = sum(row["labels_compared"] for row in chosen)
        cells.append([str(capacity), *values, f"{changed} of {compared}"])
    return [*headings, "labels changed"], cells


def repeat_rows(found: Mapping[str, Any]) -> Rows:
    """One row a copy of the repeated defect."""
    headings = [
        "copy",
        "score on arrival",
        "normal images below it",
        "threshold",
        "called anomalous",
        "final",
    ]
    cells = []
    for row in found["copies"]:
        label = "withheld" if row["label"] is None else ("yes" if row["label"] else "no")
        below = "-" if row["rank"] is None else f"{100 * row['rank']:.0f}%"
        scores = three(row["raw"]), below, three(row["threshold"]), label, three(row["final_raw"])
        cells.append([str(row["copy"]), *scores])
    return headings, cells


def three(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def _spread(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{np.mean(known):.2f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.2f} to {max(known):.2f})"
