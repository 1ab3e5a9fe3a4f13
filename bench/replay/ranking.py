"""The ranking: which images stand out most, and where. For sets of which nobody said what is a defect."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.names import plain
from bench.replay.outcome import Entry, Outcome
from musc_online.anomaly_map import find_regions
from streamer import outlines
from streamer.printable import printable

MOST_SHOWN = 20
_SAID = {True: "anomalous", False: "normal", None: "withheld"}
_LEAST_NAME = 6
_BETWEEN = 2
Row = dict[str, Any]


def of(outcome: Outcome) -> list[Row]:
    """The images that have a score, the highest first; of equal ones the first by name.

    Returns:
        Of each `rank` (from 1), `frame_id`, `score` (raw, the last one said), `label` and `threshold` (the
        last ones; null while withheld), `box` (x, y, width, height in the image's pixels: of an image called
        anomalous, of the regions that reach the threshold the one with the highest score; else null),
        `n_regions`, and `peak`
        (x, y of the highest value of the map).
    """
    scores = outcome.recorder.revised.raw
    known = np.flatnonzero(np.isfinite(scores))
    ranked = known[np.argsort(-scores[known], kind="stable")]
    return [_row(outcome, int(index), rank) for rank, index in enumerate(ranked, start=1)]


def _row(outcome: Outcome, index: int, rank: int) -> Row:
    recorder, shape = outcome.recorder, outcome.shapes[index]
    anomaly_map, threshold = recorder.revised.maps[index], recorder.thresholds.get(index)
    label = recorder.last_label.get(index)
    level = outlines.level(None if label is None else bool(label), threshold)
    regions = [] if level is None else find_regions(anomaly_map, level, shape)
    top = np.unravel_index(int(np.argmax(anomaly_map)), anomaly_map.shape)
    # Corners are aligned: the first and the last value lie on the first and the last pixel.
    peak = [
        round(int(at) * (size - 1) / max(1, side - 1))
        for at, side, size in zip(top, anomaly_map.shape, shape, strict=True)
    ]
    return {
        "rank": rank,
        "frame_id": outcome.category.samples[index].frame_id,
        "score": float(recorder.revised.raw[index]),
        "label": None if label is None else bool(label),
        "threshold": threshold,
        "box": list(regions[0][:4]) if regions else None,
        "n_regions": len(regions),
        "peak": peak[::-1],
    }


def show(entry: Entry, console: Console, output: Path | None) -> None:
    """Print the first of the ranking, as wide as the console, and where the others are.

    Args:
        entry: of a category without labels.
        console: at least 60 columns wide for all to be read.
        output: where the report goes; None for nowhere.
    """
    rows: list[Row] = entry["ranking"]
    shown = rows[:MOST_SHOWN]
    console.print(_table(entry, shown, console.width))
    for line in _below(entry, len(shown), output):
        console.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def _table(entry: Entry, rows: Sequence[Row], width: int) -> Table:
    title = Text.assemble(plain(entry["category"]), ": what stands out most")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, title=title)
    cells = [(str(row["rank"]), f"{row['score']:.3f}", _SAID[row["label"]], where(row)) for row in rows]
    headings = ("rank", "score", "label", "where: x,y width x height")
    beside = sum(
        max(len(heading), *(len(one[column]) for one in cells), 0) + _BETWEEN
        for column, heading in enumerate(headings)
    )
    room = max(_LEAST_NAME, width - beside)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("frame", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("label", no_wrap=True)
    table.add_column(headings[-1], no_wrap=True)
    for row, (rank, score, label, place) in zip(rows, cells, strict=True):
        table.add_row(rank, Text(end_of(printable(row["frame_id"]), room)), score, label, place)
    return table


def where(row: Row) -> str:
    """`412,230 64x48 +2`: the worst region, and how many more; where none reaches the threshold, the peak."""
    if row["box"] is None:
        x, y = row["peak"]
        return f"peak {x},{y}"
    x, y, width, height = row["box"]
    more = row["n_regions"] - 1
    return f"{x},{y} {width}x{height}" + (f" +{more}" if more else "")


def _below(entry: Entry, n_shown: int, output: Path | None) -> list[str]:
    rows, n_images = entry["ranking"], entry["n_images"]
    called = sum(row["label"] is True for row in rows)
    withheld = sum(row["label"] is None for row in rows)
    stated = {row["threshold"] for row in rows} - {None}
    at = f" (threshold {stated.pop():.3f})" if len(stated) == 1 else ""
    said = f"{called} of {n_images} called anomalous{at}"
    if withheld:
        said += f", {withheld} with the label withheld"
    if len(rows) < n_images:
        said += f", {n_images - len(rows)} without a score"
    if output is not None:
        place = f"all scores: {output / entry['category'] / 'scores.csv'}"
    elif len(rows) > n_shown:
        place = f"{len(rows) - n_shown} more: --output DIR writes all of them, with pictures"
    else:
        place = "--output DIR writes pictures of them"
    shown = f"{n_shown} of {len(rows)} shown; " if len(rows) > n_shown else ""
    return [f"{shown}{said}", place]


def end_of(name: str, room: int) -> str:
    """A name in at most `room` cells of a terminal: its end, where the numbers are, after an ellipsis."""
    if cell_len(name) <= room:
        return name
    kept = name[-room:]
    while cell_len(kept) > room - 1:
        kept = kept[1:]
    return f"…{kept}"
