"""What is shown of options: a table a category, one of the means, and a plot of AUROC over cost."""

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from rich import box
from rich.table import Table

from bench.names import drawn, plain
from bench.options.summary import Figures

_COLUMNS = {
    "batch_auroc": "AUROC\nbatch",
    "provisional_auroc": "prov.",
    "revised_auroc": "rev.",
    "ap": "AP",
    "pro": "PRO",
    "f1_over_best": "F1/\nbest",
    "false_alarms": "false\nalarms",
}
"""What fits on 80 columns; the JSON has the rest."""
_TIMES = {"backbone_ms": "ms back-\nbone", "stream_ms": "ms\nstream"}


def table(title: str, rows: Mapping[str, Figures]) -> Table:
    """One row an option: per cent, and milliseconds a frame."""
    found = Table(box=box.SIMPLE_HEAD, padding=0, title=plain(title))
    found.add_column("option", no_wrap=True)
    for heading in (*_COLUMNS.values(), *_TIMES.values()):
        found.add_column(heading, justify="right")
    for name, figures in rows.items():
        rates = (getattr(figures, column) for column in _COLUMNS)
        times = (f"{getattr(figures, column):.1f}" for column in _TIMES)
        found.add_row(
            plain(name), *("-" if math.isnan(rate) else f"{100 * rate:.1f}" for rate in rates), *times
        )
    return found


def plot(rows: Mapping[str, Figures], title: str, path: Path) -> None:
    """Milliseconds a frame, backbone and stream together, against image AUROC, revised and provisional."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    spent = [figures.backbone_ms + figures.stream_ms for figures in rows.values()]
    for stage, filled in (("revised", True), ("provisional", False)):
        heights = [100 * getattr(figures, f"{stage}_auroc") for figures in rows.values()]
        axes.scatter(spent, heights, facecolors="C0" if filled else "none", edgecolors="C0", label=stage)
    for across, (name, figures) in zip(spent, rows.items(), strict=True):
        axes.annotate(
            drawn(name), (across, 100 * figures.revised_auroc), (4, 4), textcoords="offset points", fontsize=8
        )
    axes.set(
        xscale="log",
        xlabel="milliseconds a frame: backbone, matching, averaging, revisions",
        ylabel="image AUROC, raw scores (%)",
        title=drawn(title),
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
