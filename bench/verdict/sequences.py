"""Wear: frames of one place in the order of time, on which a defect appears, stays and grows."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table
from rich.text import Text

from bench.datasets import Category, Sample
from bench.names import plain
from bench.verdict.protocol import Series
from bench.verdict.sets import Matched
from bench.verdict.show import percent
from bench.verdict.stream import Labels, play
from musc_online import text_file
from musc_online.errors import DataError

COLUMNS = ("file", "sequence", "time_index", "defective")


@dataclass(frozen=True)
class Wear:
    """One sequence as a stream; all of labels on arrival.

    `appears_at` is the first defective frame, counted from 0. `labelled` is the share of the defective frames
    that were labelled anomalous, `first_within` how many frames after `appears_at` the first of them came (0
    is at once), None for never; `false_alarms` the share of the good frames; None where there are none.
    """

    category: str
    series: str
    sequence: str
    n_frames: int
    n_defective: int
    appears_at: int | None
    labelled: float | None
    first_within: int | None
    false_alarms: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, null where undefined."""
        return asdict(self)


@dataclass(frozen=True)
class Course:
    """The frames of one place as time goes; `defective` says it of each."""

    name: str
    samples: tuple[Sample, ...]
    defective: tuple[bool, ...]


def read(path: Path, category: Category) -> list[Course]:
    """The sequences of a category by name, from a CSV with the columns `COLUMNS`.

    `file` is the path of an image below the category's folder, `defective` 0 or 1.

    Raises:
        DataError: no such file, other columns, a value that is not what it should be, an image that the set
            does not have, or a sequence of one frame.
    """
    by_file = {sample.frame_id: sample for sample in category.samples}
    frames: dict[str, list[tuple[int, Sample, bool]]] = {}
    for row in _rows(path):
        sample = by_file.get(row["file"]) or by_file.get(PureWindowsPath(row["file"]).as_posix())
        if sample is None:
            raise DataError(f"{path}: names {row['file']}, which is not among the images of {category.name}")
        frame = (
            _number(path, row, "time_index"),
            sample,
            bool(_number(path, row, "defective")),
        )
        frames.setdefault(row["sequence"], []).append(frame)
    found = []
    for name, given in sorted(frames.items()):
        if len(given) < 2:
            raise DataError(f"{path}: sequence {name} has one frame, expected at least 2")
        given.sort(key=lambda frame: frame[0])
        _, samples, defective = zip(*given, strict=True)
        found.append(Course(name, samples, defective))
    return found


def measure(
    category: Category,
    sequences: Sequence[Course],
    series: Sequence[Series],
    matched: Matched,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[Wear]:
    """Play each sequence as a stream of its own.

    Args:
        category: whose name is reported.
        sequences: of the category.
        series: whose configurations share features and distances.
        matched: gives the pairs.
        done: told after each sequence.

    Raises:
        DataError: an image that cannot be used.
    """
    for sequence in sequences:
        pairs = matched.pairs(f"{category.name} {sequence.name}", sequence.samples, series[0].config)
        for one in series:
            labels = play(pairs, one.config, range(len(pairs))).arrival.labels
            yield judge(category.name, one.name, sequence.name, labels, np.array(sequence.defective))
        done(1)


def judge(category: str, series: str, sequence: str, labels: Labels, truth: npt.NDArray[np.bool_]) -> Wear:
    """What the labels on arrival of one sequence are worth; `truth` `[N]`, True is defective."""
    called, defective = np.array([bool(label) for label in labels]), np.flatnonzero(truth)
    found, n_good = np.flatnonzero(called & truth), int((~truth).sum())
    return Wear(
        category=category,
        series=series,
        sequence=sequence,
        n_frames=len(labels),
        n_defective=len(defective),
        appears_at=int(defective[0]) if len(defective) else None,
        labelled=len(found) / len(defective) if len(defective) else None,
        first_within=int(found[0] - defective[0]) if len(found) else None,
        false_alarms=int((called & ~truth).sum()) / n_good if n_good else None,
    )


def table(found: Sequence[Wear]) -> Table:
    """One row a sequence and rule."""
    shown = Table(box=box.SIMPLE_HEAD, padding=0, title=Text("wear, labels on arrival: per cent"))
    for heading in ("category", "sequence", "rule"):
        shown.add_column(heading, overflow="fold")
    for heading in ("frames", "defective\nfrom", "labelled", "first\nwithin", "false\nalarms"):
        shown.add_column(heading, justify="right")
    for one in found:
        shown.add_row(
            plain(one.category),
            plain(one.sequence),
            plain(one.series),
            str(one.n_frames),
            "-" if one.appears_at is None else str(one.appears_at),
            percent(one.labelled),
            "never" if one.first_within is None else str(one.first_within),
            percent(one.false_alarms),
        )
    return shown


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(text_file.read(path)))
        found, rows = list(reader.fieldnames or ()), list(reader)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected a CSV file") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: is not a CSV file ({error})") from None
    if not set(COLUMNS) <= set(found):
        raise DataError(f"{path}: expected the columns {', '.join(COLUMNS)}; found {found or 'none'}")
    if any(row[column] is None for row in rows for column in COLUMNS):
        raise DataError(f"{path}: a row is too short, expected {', '.join(COLUMNS)}")
    return rows


def _number(path: Path, row: dict[str, str], column: str) -> int:
    try:
        return int(row[column])
    except ValueError:
        raise DataError(f"{path}: {row['file']}: {column}: got '{row[column]}', expected a number") from None
