"""What a person reads on the terminal: metrics, whether parity holds, findings; their rows for the report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bench.metrics.labels import SETTLED
from bench.names import plain
from bench.replay.outcome import STAGES, Entry
from bench.replay.verdicts import SAID
from streamer.printable import printable
from streamer.sources import told

Rows = tuple[list[str], list[list[str]]]
"""Headings, and rows of cells."""

_SHOWN = {"image_auroc": "image AUROC", "image_raw_auroc": "before RsCIN", "pro": "PRO"}
_ONLINE = ("provisional", "revised")
WIDTH = 132
COLUMNS = (
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
LABEL_COLUMNS = (
    ("n_labelled", "labelled"),
    ("n_withheld", "withheld"),
    ("recall", "recall"),
    ("precision", "precision"),
    ("false_alarms", "false\nalarms"),
    ("f1", "F1"),
    ("best_f1", "best F1 of\none threshold"),
    ("f1_over_best", "F1 over\nbest"),
)


def results(document: Mapping[str, Any]) -> Table:
    """The metrics of every category, and their mean where there are several."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title=f"{document['dataset']}, per cent")
    table.add_column("category", no_wrap=True)
    table.add_column("scores", no_wrap=True)
    for _, _, heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, entry in _blocks(document):
        for index, (stage, cells) in enumerate(lines(entry, document["published"].get(name))):
            table.add_row(plain(name if index == 0 else ""), stage, *cells)
        table.add_section()
    return table


def lines(entry: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> list[tuple[str, list[str]]]:
    """One category's rows: what was scored how, and the cells of `COLUMNS`."""
    rows = [(stage, _cells(entry[stage])) for stage in STAGES if entry.get(stage)]
    if theirs:
        rows.append(("published", _cells(theirs)))
        if entry.get("batch"):
            rows.append(("batch - published", _cells(_minus(entry["batch"], theirs), signed=True)))
    return rows or [("no labels", ["-"] * len(COLUMNS))]


def labels(document: Mapping[str, Any]) -> Table | None:
    """What the labels that were sent are worth; None where there are no true labels."""
    rows = label_rows(document)
    if not rows:
        return None
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title="labels as they were sent, per cent")
    table.add_column("category", no_wrap=True)
    table.add_column("said", no_wrap=True)
    for _, heading in LABEL_COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, said, *cells in rows:
        shown = plain(name if said == SAID[0] else "")
        table.add_row(shown, said, *cells, end_section=said == SAID[-1])
    return table


def label_rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the categories with true labels, and their mean: name, when it was said, `LABEL_COLUMNS`."""
    return [
        [name, said, *(_label_cell(entry["verdict"][said], column) for column, _ in LABEL_COLUMNS)]
        for name, entry in _blocks(document)
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


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print table and verdicts; a pipe gets the whole width."""
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH, highlight=False)
    console.print(results(document))
    said = labels(document)
    if said is not None:
        console.print(said)
    for entry in document["categories"]:
        online = entry["online"]
        missing = entry["n_images"] - online["n_provisional"]
        _line(console, verdict(entry))
        _line(console, f"  {counted(entry)}")
        _line(
            console,
            f"  provisional figures are of {online['n_provisional']} frames; {missing} had nothing to be "
            f"scored against; warm-up {online['n_warmup']} frames; {online['labels_flipped']} of "
            f"{online['labels_compared']} labels changed by the end{_kept_out(online['n_kept_out'])}",
        )
        _line(console, f"  {threshold(entry)}")
        for caption, (headings, rows) in _findings(entry):
            console.print(_plain_table(caption, headings, rows))
        for line in undefined(entry):
            _line(console, f"  {line}")


def _line(console: Console, text: str) -> None:
    console.print(printable(text), soft_wrap=True, markup=False, highlight=False)


def counted(entry: Entry) -> str:
    """One line: how many images there were, normal and anomalous, and what was left out."""
    total, anomalous = entry["n_images"], entry["n_anomalous"]
    kinds = "without labels" if anomalous is None else f"{total - anomalous} normal, {anomalous} anomalous"
    left_out = f"; {told(entry['left_out'])}" if entry.get("left_out") else ""
    return f"{total} images: {kinds}{left_out}"


def counted_by_name(entry: Entry) -> str:
    """`counted`, with the category's name before it."""
    return f"{entry['category']}: {counted(entry)}"


def _blocks(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The categories by name, and their mean where there are several."""
    blocks = [(str(entry["category"]), entry) for entry in document["categories"]]
    return [*blocks, ("mean", document["mean"])] if len(blocks) > 1 else blocks


def _kept_out(count: int) -> str:
    return f"; {count} kept out of the ring" if count else ""


def _findings(entry: Entry) -> Iterator[tuple[str, Rows]]:
    found = entry["findings"]
    if found.get("sweep"):
        n_seeds = len({row["seed"] for row in found["sweep"]})
        spread = f", mean over {n_seeds} orders (lowest to highest)" if n_seeds > 1 else ""
        yield f"{entry['category']}: per cent against ring capacity{spread}", sweep_rows(found["sweep"])
    if found.get("repeat"):
        name = found["repeat"]["frame_id"]
        yield f"{entry['category']}: {name} many times in a row", repeat_rows(found["repeat"])


def _plain_table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title=plain(caption))
    for heading in headings:
        shown.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        # Narrow enough for a terminal: the spread goes below its mean.
        shown.add_row(*(cell.replace(" (", "\n(").replace(" to ", "-") for cell in row))
    return shown


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
