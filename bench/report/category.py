"""What one category leaves in the report: scores, plots, and overlays of its worst and best images."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bench.datasets import read_frame
from bench.replay.outcome import STAGES, Outcome
from bench.replay.scored import Doubles
from bench.replay.settings import Options
from bench.report import pictures
from bench.report.excel import spreadsheet
from musc_online.errors import DataError
from streamer.overlays import Scale, panels

_SAMPLE_COLUMNS = ("frame_id", "label", "defect", "arrival", "n_references")
Files = dict[str, Any]
"""File names below the category's folder, and for each overlay what it shows."""


def write(folder: Path, outcome: Outcome, options: Options) -> Files:
    """Write `scores.csv`, the plots and the overlays of one category.

    Raises:
        DataError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_scores(folder / "scores.csv", outcome)
        files: Files = {"scores": "scores.csv", "plots": _write_plots(folder, outcome)}
        if options.heatmaps != "none":
            files |= _write_overlays(folder, outcome, options)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); give another --output") from None
    return files


def _write_scores(path: Path, outcome: Outcome) -> None:
    recorder, samples = outcome.recorder, outcome.category.samples
    arrival = {one.index: (number, one) for number, one in enumerate(recorder.arrivals, start=1)}
    errors = _errors(outcome)
    stages = {"provisional": recorder.provisional, "final": recorder.revised, "batch": outcome.batch}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"{name}_{kind}" for name in stages for kind in ("raw", "rescored")]
        writer.writerow([*_SAMPLE_COLUMNS, *columns, "provisional_label", "final_label", "error"])
        for index, sample in enumerate(samples):
            number, first = arrival[index]
            about = (spreadsheet(sample.frame_id), _plain(sample.label), spreadsheet(sample.defect))
            scores = [
                _plain(value) for one in stages.values() for value in (one.raw[index], one.rescored[index])
            ]
            labels = [_plain(first.label), _plain(recorder.last_label.get(index))]
            writer.writerow((*about, number, first.n_references, *scores, *labels, _plain(errors[index])))


def _write_plots(folder: Path, outcome: Outcome) -> dict[str, str]:
    truth, found = outcome.truth, outcome.findings
    pictures.timeline(outcome.recorder, None if truth is None else truth.labels, folder / "timeline.png")
    drawn = {"timeline": "timeline.png"}
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
        lines = {"image_auroc": _known(batch["image"]["auroc"]), "pro": _known(batch["pixel"]["pro"])}
        pictures.sweep(found["sweep"], lines, folder / "capacity.png")
        drawn["sweep"] = "capacity.png"
    if found.get("repeat"):
        pictures.repeat(found["repeat"], folder / "repeated_defect.png")
        drawn["repeat"] = "repeated_defect.png"
    return drawn


def _write_overlays(folder: Path, outcome: Outcome, options: Options) -> Files:
    truth, scores = outcome.truth, outcome.recorder.revised
    ranked = ranking(None if truth is None else truth.labels, scores.rescored)
    if not len(ranked):
        return {}
    worst = ranked[: options.overlays]
    best = ranked[::-1][: min(options.overlays, len(ranked) - len(worst))]
    shown = np.concatenate([worst, best])
    errors, threshold = _errors(outcome), outcome.recorder.last_threshold
    whole = Scale.of(scores.maps, threshold)
    files: Files = {"worst": [], "best": []}
    for number, index in enumerate(shown):
        kind, place = ("worst", number + 1) if number < len(worst) else ("best", number - len(worst) + 1)
        name = f"{kind}_{place:02d}.png"
        sample = outcome.category.samples[index]
        mask = None if truth is None or truth.masks is None else truth.masks[index]
        picture = panels(
            read_frame(sample.path, sample.bit_depth),
            scores.maps[index],
            whole if options.heatmaps == "set" else Scale.of([scores.maps[index]], threshold),
            threshold if threshold is not None and scores.raw[index] >= threshold else None,
            mask,
        )
        (folder / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        files[kind].append(
            {
                "file": name,
                "frame_id": sample.frame_id,
                "label": sample.label,
                "defect": sample.defect,
                "raw": _known(scores.raw[index]),
                "rescored": _known(scores.rescored[index]),
                "error": _known(errors[index]),
            }
        )
    return files


def image_errors(labels: npt.NDArray[np.int64], scores: Doubles) -> Doubles:
    """How wrong each image's place in the order is: `[N]`, 0 (right) to 1.

    Of an anomalous image the fraction of normal images that score at least as high; of a normal one the
    fraction of anomalous images that score at most as high. NaN where there is no image of the other kind or
    no score.
    """
    errors = np.full(len(scores), np.nan)
    normal, anomalous = scores[labels == 0], scores[labels == 1]
    for index, (label, score) in enumerate(zip(labels, scores, strict=True)):
        others = normal if label else anomalous
        if len(others) and np.isfinite(score):
            errors[index] = np.mean(others >= score) if label else np.mean(others <= score)
    return errors


def ranking(labels: npt.NDArray[np.int64] | None, scores: Doubles) -> npt.NDArray[np.intp]:
    """Indices of the images with a score, worst first: by error, then by distance from the other kind.

    Without labels: by score, highest first.
    """
    known = np.flatnonzero(np.isfinite(scores))
    if labels is None:
        return known[np.argsort(-scores[known], kind="stable")]
    errors = np.nan_to_num(image_errors(labels, scores))
    margins = np.where(
        labels == 1, scores - _middle(scores[labels == 0]), _middle(scores[labels == 1]) - scores
    )
    return known[np.lexsort((margins[known], -errors[known]))]


def _middle(scores: Doubles) -> float:
    known = scores[np.isfinite(scores)]
    return float(np.median(known)) if len(known) else 0.0


def _errors(outcome: Outcome) -> npt.NDArray[np.float64]:
    scores = outcome.recorder.revised.rescored
    if outcome.truth is None:
        return np.full(len(scores), np.nan)
    return image_errors(outcome.truth.labels, scores)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Nothing for what is not known, 0 or 1 for a truth value, all digits of a number."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    return int(value) if isinstance(value, bool | np.bool_) else value
