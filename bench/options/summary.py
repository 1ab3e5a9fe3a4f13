"""Rows as figures: what is shown of a row, and means over the categories."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bench.options.measure import Row


@dataclass(frozen=True)
class Figures:
    """What is shown of one option, for one category or as the mean over those where it is defined.

    Fractions, NaN where undefined; image metrics are those before RsCIN. Times in milliseconds a frame.
    `f1_over_best` and `false_alarms` are those of the labels as said last, `*_arrival` as said first.
    """

    batch_auroc: float
    provisional_auroc: float
    revised_auroc: float
    rscin_auroc: float
    ap: float
    pro: float
    f1_over_best_arrival: float
    f1_over_best: float
    false_alarms: float
    backbone_ms: float
    stream_ms: float


def figures(row: Row) -> Figures:
    """Of one category."""
    revised = row.levels["revised"]
    first, last = row.verdict["provisional"], row.verdict["final"]
    return Figures(
        batch_auroc=row.levels["batch"]["image_raw"]["auroc"],
        provisional_auroc=row.levels["provisional"]["image_raw"]["auroc"],
        revised_auroc=revised["image_raw"]["auroc"],
        rscin_auroc=revised["image"]["auroc"],
        ap=revised["image_raw"]["ap"],
        pro=revised["pixel"]["pro"],
        f1_over_best_arrival=_known(first["f1_over_best"]),
        f1_over_best=_known(last["f1_over_best"]),
        false_alarms=_known(last["false_alarms"]),
        backbone_ms=row.backbone_ms,
        stream_ms=row.stream_ms,
    )


def means(rows: Sequence[Row]) -> dict[str, Figures]:
    """By option, over the categories that every option was measured on.

    An option left out of a category would otherwise have the mean of easier or harder ones.
    """
    names = list(dict.fromkeys(row.option for row in rows))
    measured = {name: {row.category for row in rows if row.option == name} for name in names}
    shared = set.intersection(*measured.values()) if measured else set()
    if not shared:
        return {}
    return {
        name: _mean([figures(row) for row in rows if row.option == name and row.category in shared])
        for name in names
    }


def as_json(found: Figures) -> dict[str, Any]:
    """Plain values; undefined is null."""
    values = {field.name: getattr(found, field.name) for field in fields(Figures)}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _mean(found: Sequence[Figures]) -> Figures:
    def over(name: str) -> float:
        known = [value for one in found if not math.isnan(value := getattr(one, name))]
        return float(np.mean(known)) if known else math.nan

    return Figures(**{field.name: over(field.name) for field in fields(Figures)})


def _known(value: float | None) -> float:
    return math.nan if value is None else value
