"""What one category leaves in the report: scores, plots, counts, and overlays of the frames shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.replay.outcome import STAGES, Outcome
from bench.replay.settings import Options
from bench.report import frames as said
from bench.report import pictures, shown, worth
from bench.report.frames import Frame, known
from musc_online.errors import DataError

Files = dict[str, Any]
"""File names below the category's folder, and what they show."""


def write(folder: Path, outcome: Outcome, options: Options) -> Files:
    """Write `scores.csv`, `frames.json`, the plots and the overlays of one category.

    Raises:
        DataError: the folder cannot be written to.
    """
    frames = said.of(outcome)
    counts = worth.counted(frames)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        said.write_scores(folder / "scores.csv", outcome)
        said.save(folder / "frames.json", frames)
        plots = _write_plots(folder, outcome, frames, counts)
        files: Files = {"scores": "scores.csv", "frames": "frames.json", "plots": plots, "counts": counts}
        files["threshold"] = outcome.recorder.last_threshold
        if options.heatmaps != "none":
            files |= shown.write(folder, outcome, frames, options)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); give another --output") from None
    return files


def _write_plots(
    folder: Path, outcome: Outcome, frames: Sequence[Frame], counts: Mapping[str, Any]
) -> dict[str, str]:
    truth, found = outcome.truth, outcome.findings
    labels = None if truth is None else truth.labels
    pictures.timeline(outcome.recorder, labels, folder / "timeline.png")
    scores = np.array([np.nan if frame.raw is None else frame.raw for frame in frames])
    pictures.histogram(
        scores, labels, counts["thresholds"], counts["best_threshold"], folder / "histogram.png"
    )
    drawn = {"timeline": "timeline.png", "histogram": "histogram.png"}
    if truth is None:
        return drawn
    stages = (outcome.batch, outcome.recorder.provisional, outcome.recorder.revised)
    pictures.curves(truth, dict(zip(STAGES, stages, strict=True)), folder / "curves.png")
    drawn["curves"] = "curves.png"
    if found.get("seen"):
        pictures.against_seen(found["seen"], folder / "frames_seen.png")
        drawn["seen"] = "frames_seen.png"
    if len({row["capacity"] for row in found.get("sweep", [])}) > 1:
        batch = outcome.levels["batch"]
        lines = {"image_auroc": known(batch["image"]["auroc"]), "pro": known(batch["pixel"]["pro"])}
        pictures.sweep(found["sweep"], lines, folder / "capacity.png")
        drawn["sweep"] = "capacity.png"
    if found.get("repeat"):
        pictures.repeat(found["repeat"], folder / "repeated_defect.png")
        drawn["repeat"] = "repeated_defect.png"
    return drawn
