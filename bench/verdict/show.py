"""What is shown of the protocol: a table a category, one a rule, and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.names import drawn, plain
from bench.verdict.draws import ALL
from bench.verdict.summary import STAGES, Cell, Headline

_PLOTTED = {"recall": "recall", "false_alarms": "false alarms", "f1_over_best": "F1 over best F1"}


def category_table(cells: Sequence[Cell]) -> Table:
    """One row a contamination and rule of one category; per cent, but `stable after` in frames."""
    title = f"{cells[0].category}: per cent, mean over draws and orders"
    table = Table(box=box.SIMPLE_HEAD, padding=0, title=plain(title))
    for heading in ("%", "rule"):
        table.add_column(heading)
    figures = ("recall", "false\nalarms", "F1/\nbest")
    stages = [f"{short}\n{what}" for short in ("arriv.", "final") for what in figures]
    for heading in ("AUROC", *stages, "labels\nflipped", "stable\nafter"):
        table.add_column(heading, justify="right")
    shown = ""
    for cell in cells:
        table.add_row(
            "" if cell.contamination == shown else _contamination(cell),
            plain(cell.series),
            percent(cell.auroc),
            *(percent(getattr(cell, stage)[name]) for stage in STAGES for name in _PLOTTED),
            percent(cell.flipped),
            "-" if cell.stable_after is None else f"{cell.stable_after:.0f}",
        )
        shown = cell.contamination
    return table


def headline_table(headlines: Sequence[Headline]) -> Table:
    """One row a rule and stage over all categories, per cent."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, title=Text("all categories: per cent"))
    for heading in ("rule", "labels"):
        table.add_column(heading)
    for heading in ("false alarms,\nno defect", "worst", "F1 over\nbest", "worst"):
        table.add_column(heading, justify="right")
    for headline in headlines:
        for stage in STAGES:
            table.add_row(
                plain(headline.series) if stage == STAGES[0] else "",
                stage,
                *_mean_and_worst(headline.false_alarms[stage]),
                *_mean_and_worst(headline.f1_over_best[stage]),
            )
    return table


def plot(cells: Sequence[Cell], path: Path) -> None:
    """Recall, false alarms and F1 over best against contamination: a row a category, a line a rule.

    Solid lines are final labels, dashed ones those on arrival. The set as it is (`all`) is left out: it is of
    another contamination in every category.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    categories = list(dict.fromkeys(cell.category for cell in cells))
    size = (11, 0.6 + 2.6 * len(categories))
    figure, grid = plt.subplots(len(categories), 3, figsize=size, squeeze=False, layout="constrained")
    for category, row in zip(categories, grid, strict=True):
        chosen = [cell for cell in cells if cell.category == category and cell.contamination != ALL]
        for axes, (name, label) in zip(row, _PLOTTED.items(), strict=True):
            _lines(axes, chosen, name)
            axes.set(title=drawn(f"{category}: {label}"), xlabel="defective images (%)", ylim=(-3, 103))
            axes.grid(alpha=0.3)
    if grid[0][1].get_legend_handles_labels()[0]:
        grid[0][1].legend(fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _lines(axes: Any, cells: Sequence[Cell], name: str) -> None:
    for number, series in enumerate(dict.fromkeys(cell.series for cell in cells)):
        own = [cell for cell in cells if cell.series == series]
        for stage, style in (("final", "-"), ("arrival", "--")):
            values = [getattr(cell, stage)[name] for cell in own]
            heights = [np.nan if value is None else 100 * value for value in values]
            axes.plot(
                [100 * cell.share for cell in own],
                heights,
                style,
                color=f"C{number}",
                marker="o" if stage == "final" else None,
                label=drawn(series) if stage == "final" else None,
            )


def show(cells: Sequence[Cell], headlines: Sequence[Headline], console: Console) -> None:
    """Print every table."""
    for category in dict.fromkeys(cell.category for cell in cells):
        console.print(category_table([cell for cell in cells if cell.category == category]))
    console.print(headline_table(headlines))


def _contamination(cell: Cell) -> str:
    return "as is" if cell.contamination == ALL else f"{cell.contamination}%"


def _mean_and_worst(found: dict[str, Any] | None) -> tuple[str, str | Text]:
    if found is None:
        return "-", "-"
    return percent(found["mean"]), plain(f"{percent(found['worst'])} {found['where']}")


def percent(value: float | None) -> str:
    """A fraction as a table shows it."""
    return "-" if value is None else f"{100 * value:.1f}"


def span(values: Sequence[int | None]) -> str:
    """From the lowest to the highest, and how many there are none of."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "never"
    missing = f", {len(values) - len(known)} never" if len(known) < len(values) else ""
    return (str(known[0]) if known[0] == known[-1] else f"{known[0]} to {known[-1]}") + missing
