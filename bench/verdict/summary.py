"""Means over draws and orders, and one line a rule over all categories."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.metrics.labels import RATES
from bench.verdict.draws import ALL
from bench.verdict.protocol import Run

SEPARABLE = 0.7
"""Least image AUROC of a draw whose F1 counts in the headline: below it no threshold tells the two apart."""
CONTAMINATED = 0.05
"""Least contamination asked for (what comes of it is rounded) of a draw whose F1 counts in the headline."""
STAGES = ("arrival", "final")


@dataclass(frozen=True)
class Cell:
    """Means over the draws and orders of one category, contamination and series; None where undefined.

    `flipped` and `withheld` are shares of the frames; `stable_after` in frames.
    """

    category: str
    series: str
    contamination: str
    share: float
    n_good: int
    n_defective: int
    n_runs: int
    auroc: float | None
    arrival: dict[str, float | None]
    final: dict[str, float | None]
    flipped: float | None
    withheld: float | None
    stable_after: float | None


@dataclass(frozen=True)
class Headline:
    """One series over all categories; of cells, so that a category with many draws counts once.

    `false_alarms` (defect-free draws) and `f1_over_best` (draws at least `CONTAMINATED` with an AUROC of at
    least `SEPARABLE`): `{stage: {"mean", "worst", "where", "cells"}}`, None where there is no such draw.
    """

    series: str
    false_alarms: dict[str, dict[str, Any] | None]
    f1_over_best: dict[str, dict[str, Any] | None]


def cells(runs: Iterable[Run]) -> list[Cell]:
    """One a category, contamination and series, in the order of the runs."""
    return [_cell(chosen) for chosen in _grouped(runs).values()]


def headlines(runs: Sequence[Run]) -> list[Headline]:
    """One a series, in the order of the runs."""
    clean = [run for run in runs if not run.n_defective]
    separable = [
        run
        for run in runs
        if _asked(run) >= CONTAMINATED and run.auroc is not None and run.auroc >= SEPARABLE
    ]
    return [
        Headline(
            series,
            {stage: _over(clean, series, stage, "false_alarms", max) for stage in STAGES},
            {stage: _over(separable, series, stage, "f1_over_best", min) for stage in STAGES},
        )
        for series in dict.fromkeys(run.series for run in runs)
    ]


def as_json(runs: Sequence[Run]) -> dict[str, Any]:
    """Headlines, cells and every run, as plain values."""
    return {
        "headlines": [asdict(headline) for headline in headlines(runs)],
        "cells": [asdict(cell) for cell in cells(runs)],
        "runs": [run.as_json() for run in runs],
    }


def _named(run: Run) -> str:
    return "as is" if run.contamination == ALL else f"{run.contamination}%"


def _asked(run: Run) -> float:
    return run.share if run.contamination == ALL else float(run.contamination) / 100


def _over(runs: Sequence[Run], series: str, stage: str, name: str, worst: Any) -> dict[str, Any] | None:
    values = {
        f"{chosen[0].category} {_named(chosen[0])}": mean([getattr(run, stage).rate(name) for run in chosen])
        for chosen in _grouped(run for run in runs if run.series == series).values()
    }
    known = {where: value for where, value in values.items() if value is not None}
    if not known:
        return None
    where = worst(known, key=lambda name: known[name])
    return {"mean": mean(list(known.values())), "worst": known[where], "where": where, "cells": len(known)}


def _grouped(runs: Iterable[Run]) -> dict[tuple[str, str, str], list[Run]]:
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.category, run.contamination, run.series), []).append(run)
    return groups


def _cell(runs: list[Run]) -> Cell:
    first = runs[0]
    frames = first.n_good + first.n_defective
    return Cell(
        category=first.category,
        series=first.series,
        contamination=first.contamination,
        share=first.share,
        n_good=first.n_good,
        n_defective=first.n_defective,
        n_runs=len(runs),
        auroc=mean([run.auroc for run in runs]),
        arrival=_means(runs, "arrival"),
        final=_means(runs, "final"),
        flipped=mean([run.n_flipped / run.n_compared if run.n_compared else None for run in runs]),
        withheld=mean([run.arrival.n_withheld / frames for run in runs]),
        stable_after=mean([run.stable_after for run in runs]),
    )


def _means(runs: list[Run], stage: str) -> dict[str, float | None]:
    return {name: mean([getattr(run, stage).rate(name) for run in runs]) for name in RATES}


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are defined; None where none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
