"""Findings as rows of text, for the terminal's table and for the report's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Rows = tuple[list[str], list[list[str]]]
"""Headings, and rows of cells."""

_SHOWN = {"image_auroc": "image AUROC", "image_raw_auroc": "before RsCIN", "pro": "PRO"}
_STAGES = ("provisional", "revised")


def sweep(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """One row a capacity, per cent: means over the seeds, lowest and highest in brackets."""
    headings = ["capacity", *(f"{stage} {what}" for stage in _STAGES for what in _SHOWN.values())]
    cells = []
    for capacity in sorted({row["capacity"] for row in rows}):
        chosen = [row for row in rows if row["capacity"] == capacity]
        values = [_spread([row[stage][metric] for row in chosen]) for stage in _STAGES for metric in _SHOWN]
        changed = sum(row["labels_flipped"] for row in chosen)
        compared = sum(row["labels_compared"] for row in chosen)
        cells.append([str(capacity), *values, f"{changed} of {compared}"])
    return [*headings, "labels changed"], cells


def repeat(found: Mapping[str, Any]) -> Rows:
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
