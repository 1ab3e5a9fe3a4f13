"""What a person reads on the terminal when a replay ends: ranking, metrics, parity, findings."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.names import plain
from bench.replay import ranking, table
from bench.replay.outcome import STAGES, Entry
from bench.replay.table import COLUMNS, LABEL_COLUMNS, Rows
from bench.replay.verdicts import SAID
from streamer.printable import printable

WIDTH = 132
_PARTS = (slice(0, 6), slice(6, None))
_LABEL_PARTS = (slice(0, 5), slice(5, None))
"""Of a table that is wider than the terminal: the columns of the one and of the other below it."""


def show(document: Mapping[str, Any], console: Console, output: Path | None = None) -> None:
    """Print tables and verdicts; a pipe gets the whole width, a narrow terminal two tables for one.

    Args:
        document: of the replay.
        console: to print on.
        output: where the report goes; None for nowhere.
    """
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDTH, highlight=False)
    for entry in document["categories"]:
        if entry.get("ranking"):
            ranking.show(entry, console, output)
    parts, label_parts = (_PARTS, _LABEL_PARTS) if console.width < WIDTH else ((slice(None),),) * 2
    if any(entry.get(stage) for entry in document["categories"] for stage in STAGES):
        for columns in parts:
            console.print(results(document, columns))
    for columns in label_parts:
        if (said := labels(document, columns)) is not None:
            console.print(said)
    for entry in document["categories"]:
        online = entry["online"]
        missing = entry["n_images"] - online["n_provisional"]
        _line(console, table.verdict(entry))
        _line(console, f"  {table.counted(entry)}")
        _line(
            console,
            f"  provisional figures are of {online['n_provisional']} frames; {missing} had nothing to be "
            f"scored against; warm-up {online['n_warmup']} frames; {online['labels_flipped']} of "
            f"{online['labels_compared']} labels changed by the end{_kept_out(online['n_kept_out'])}",
        )
        _line(console, f"  {table.threshold(entry)}")
        for caption, (headings, rows) in _findings(entry):
            console.print(_plain_table(caption, headings, rows))
        for line in table.undefined(entry):
            _line(console, f"  {line}")
        if entry.get("saved"):
            _line(console, f"  {table.saved(entry)}")


def results(document: Mapping[str, Any], columns: slice = slice(None)) -> Table:
    """The metrics of every category with labels, and their mean where there are several.

    Args:
        document: of the replay.
        columns: which of `COLUMNS`.
    """
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title=f"{document['dataset']}, per cent")
    shown.add_column("category", no_wrap=True)
    shown.add_column("scores", no_wrap=True)
    for _, _, heading in COLUMNS[columns]:
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, entry in table.blocks(document):
        for index, (stage, cells) in enumerate(table.lines(entry, document["published"].get(name))):
            shown.add_row(plain(name if index == 0 else ""), stage, *cells[columns])
        shown.add_section()
    return shown


def labels(document: Mapping[str, Any], columns: slice = slice(None)) -> Table | None:
    """What the labels that were sent are worth; None where there are no true labels.

    Args:
        document: of the replay.
        columns: which of `LABEL_COLUMNS`.
    """
    rows = table.label_rows(document)
    if not rows:
        return None
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title="labels as they were sent, per cent")
    shown.add_column("category", no_wrap=True)
    shown.add_column("said", no_wrap=True)
    for _, heading in LABEL_COLUMNS[columns]:
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, said, *cells in rows:
        first = plain(name if said == SAID[0] else "")
        shown.add_row(first, said, *cells[columns], end_section=said == SAID[-1])
    return shown


def _line(console: Console, text: str) -> None:
    # On a terminal between words; a pipe keeps its lines.
    console.print(printable(text), soft_wrap=not console.is_terminal, markup=False, highlight=False)


def _kept_out(count: int) -> str:
    return f"; {count} kept out of the ring" if count else ""


def _findings(entry: Entry) -> Iterator[tuple[str, Rows]]:
    found = entry["findings"]
    if found.get("sweep"):
        n_seeds = len({row["seed"] for row in found["sweep"]})
        spread = f", mean over {n_seeds} orders (lowest to highest)" if n_seeds > 1 else ""
        yield f"{entry['category']}: per cent against ring capacity{spread}", table.sweep_rows(found["sweep"])
    if found.get("repeat"):
        name = found["repeat"]["frame_id"]
        yield f"{entry['category']}: {name} many times in a row", table.repeat_rows(found["repeat"])


def _plain_table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title=plain(caption))
    for heading in headings:
        shown.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        # Narrow enough for a terminal: the spread goes below its mean.
        shown.add_row(*(cell.replace(" (", "\n(").replace(" to ", "-") for cell in row))
    return shown
