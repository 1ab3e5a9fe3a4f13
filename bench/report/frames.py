"""What was said of each frame, and what it is: `scores.csv` for people, `frames.json` for the report."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.replay.outcome import Outcome
from bench.replay.scored import Doubles
from bench.report.excel import spreadsheet

Kind = Literal["found", "missed", "false_alarm", "passed", "anomalous", "normal", "withheld"]
"""What became of a frame: said and true, or only said where the truth is not known."""

JUDGED: tuple[Kind, ...] = ("found", "missed", "false_alarm", "passed")
"""What becomes of a frame whose truth is known and that has a label."""
_SAMPLE_COLUMNS = ("frame_id", "label", "defect", "arrival", "n_references")
_TITLE = "What was said of each frame, in the order of the files."


@dataclass(frozen=True)
class Frame:
    """One frame of a stream that has ended.

    `truth` is whether it is anomalous, None where nobody said; `defect` its kind, "" where unknown. `first`,
    `raw` and `rescored` are the raw score on arrival, the last raw score and that after RsCIN, None where
    there is none. `said_first` and `said` are the labels on arrival and last, None where withheld; the last
    one's is the `threshold`. `error` is `image_errors`, None where undefined.
    """

    frame_id: str
    truth: bool | None
    defect: str
    arrival: int
    first: float | None
    raw: float | None
    rescored: float | None
    said_first: bool | None
    said: bool | None
    threshold: float | None
    error: float | None

    @property
    def kind(self) -> Kind:
        """What became of it in the end."""
        return kind(self.truth, self.said)

    @property
    def above(self) -> float | None:
        """How far the last raw score is above its threshold; None where there is no threshold or score."""
        return None if self.raw is None or self.threshold is None else self.raw - self.threshold


def kind(truth: bool | None, said: bool | None) -> Kind:
    """What became of a frame whose label is `said`."""
    if said is None:
        return "withheld"
    if truth is None:
        return "anomalous" if said else "normal"
    if truth:
        return "found" if said else "missed"
    return "false_alarm" if said else "passed"


def of(outcome: Outcome) -> list[Frame]:
    """The frames of a category, in the order of its samples."""
    recorder, errors = outcome.recorder, errors_of(outcome)
    arrivals = {one.index: (number, one) for number, one in enumerate(recorder.arrivals, start=1)}
    made = []
    for index, sample in enumerate(outcome.category.samples):
        number, first = arrivals[index]
        made.append(
            Frame(
                frame_id=sample.frame_id,
                truth=None if outcome.truth is None else bool(outcome.truth.labels[index]),
                defect=sample.defect,
                arrival=number,
                first=known(recorder.provisional.raw[index]),
                raw=known(recorder.revised.raw[index]),
                rescored=known(recorder.revised.rescored[index]),
                said_first=_label(first.label),
                said=_label(recorder.last_label.get(index)),
                threshold=recorder.thresholds.get(index),
                error=known(errors[index]),
            )
        )
    return made


def save(path: Path, frames: Sequence[Frame]) -> None:
    """Write the frames for `load`.

    Raises:
        OSError: the file cannot be written.
    """
    rows = [json.dumps(list(asdict(frame).values())) for frame in frames]
    columns = json.dumps([field.name for field in fields(Frame)])
    about = json.dumps(_TITLE)
    content = f'{{"about": {about},\n"columns": {columns},\n"frames": [\n' + ",\n".join(rows) + "\n]}\n"
    path.write_text(content, encoding="utf-8")


def load(path: Path) -> list[Frame] | None:
    """The frames that `save` wrote; None where the file is missing or is not what it wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [Frame(**dict(zip(content["columns"], row, strict=True))) for row in content["frames"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_scores(path: Path, outcome: Outcome) -> None:
    """Write `scores.csv`: every score and label of every frame, in the order of the files.

    Raises:
        OSError: the file cannot be written.
    """
    recorder, samples = outcome.recorder, outcome.category.samples
    arrival = {one.index: (number, one) for number, one in enumerate(recorder.arrivals, start=1)}
    errors = errors_of(outcome)
    stages = {"provisional": recorder.provisional, "final": recorder.revised, "batch": outcome.batch}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [f"{name}_{kind}" for name in stages for kind in ("raw", "rescored")]
        files = [f"{kind}_file" for kind in outcome.saved]
        writer.writerow([*_SAMPLE_COLUMNS, *columns, "provisional_label", "final_label", "error", *files])
        for index, sample in enumerate(samples):
            number, first = arrival[index]
            about = (spreadsheet(sample.frame_id), _plain(sample.label), spreadsheet(sample.defect))
            scores = [
                _plain(value) for one in stages.values() for value in (one.raw[index], one.rescored[index])
            ]
            labels = [_plain(first.label), _plain(recorder.last_label.get(index))]
            more = (_plain(errors[index]), *(files[index] or "" for files in outcome.saved.values()))
            writer.writerow((*about, number, first.n_references, *scores, *labels, *more))


def errors_of(outcome: Outcome) -> Doubles:
    """`image_errors` of the last scores; NaN where there are no labels."""
    scores = outcome.recorder.revised.rescored
    if outcome.truth is None:
        return np.full(len(scores), np.nan)
    return image_errors(outcome.truth.labels, scores)


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


def known(value: float) -> float | None:
    """A score or metric; None where it is not finite, which JSON has no word for."""
    return float(value) if np.isfinite(value) else None


def _label(said: bool | None) -> bool | None:
    return None if said is None else bool(said)


def _plain(value: Any) -> Any:
    """Nothing for what is not known, 0 or 1 for a truth value, all digits of a number."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return ""
    return int(value) if isinstance(value, bool | np.bool_) else value
