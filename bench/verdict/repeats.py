"""One defect on many parts: how many of them are labelled on arrival, and when the line is told of it."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table
from rich.text import Text

from bench.datasets import Category, Sample
from bench.names import plain
from bench.replay.order import Indices
from bench.verdict.jitter import write_jittered
from bench.verdict.pairs import Memory, Pairs
from bench.verdict.protocol import Plan, Series
from bench.verdict.sets import Matched, truth
from bench.verdict.show import span
from bench.verdict.stream import Stream, play


@dataclass(frozen=True)
class Repeat:
    """One stream with `n_copies` parts that show the same defect.

    `n_labelled` of them were labelled anomalous on arrival; `event_at` is the copy, counted from 1, whose
    arrival brought the first `repeat` event that names a copy, None where there was none; `n_good` good
    frames, of which `n_false_alarms` were labelled anomalous on arrival.
    """

    category: str
    series: str
    defect: str
    order: int
    n_copies: int
    n_labelled: int
    event_at: int | None
    n_good: int
    n_false_alarms: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, null where there was no event."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Parts:
    """The pictures of a set: its good images once each, then `n_copies` of each chosen defective one."""

    samples: tuple[Sample, ...]
    defects: tuple[str, ...]
    n_good: int
    n_copies: int

    def copies(self, defect: int) -> Indices:
        """Where the copies of the n-th chosen defective image lie."""
        return self.n_good + defect * self.n_copies + np.arange(self.n_copies)


def choose(category: Category, n_copies: int, n_defects: int, seed: int) -> Parts:
    """The good images and copies of some of the defective ones, none of them jittered yet.

    Raises:
        DataError: an image without a label, or no good image.
    """
    labels = truth(category)
    good, defective = np.flatnonzero(~labels), np.flatnonzero(labels)
    chosen = np.random.default_rng(seed).permutation(defective)[:n_defects]
    images = np.concatenate([good, np.repeat(chosen, n_copies)])
    samples = tuple(category.samples[index] for index in images)
    names = tuple(category.samples[index].frame_id for index in chosen)
    return Parts(samples, names, len(good), n_copies)


def sequence(parts: Parts, defect: int, seed: int) -> Indices:
    """One order of arrival: a third of the good parts, then the rest and the copies, shuffled."""
    generator = np.random.default_rng(seed)
    good = generator.permutation(parts.n_good)
    first = len(good) // 3
    return np.concatenate([good[:first], generator.permutation([*good[first:], *parts.copies(defect)])])


def measure(
    category: Category,
    n_copies: int,
    series: Sequence[Series],
    plan: Plan,
    matched: Matched,
    streams: Callable[[int], Any],
) -> Iterator[Repeat]:
    """Play a defect on many parts: `plan.n_draws` defects, each in `plan.n_orders` orders.

    Args:
        category: with labels.
        n_copies: parts that show the defect.
        series: whose configurations share features and distances.
        plan: how often.
        matched: gives the pairs.
        streams: a context for so many streams that gives whom to tell after each.

    Raises:
        DataError: an image that cannot be used, or no good one.
    """
    parts = choose(category, n_copies, plan.n_draws, plan.seed)
    with tempfile.TemporaryDirectory(prefix="musc-jitter-") as folder:
        pictures = write_jittered(parts.samples, Path(folder), plan.seed)
        pairs = matched.pairs(category.name, pictures, series[0].config)
    with streams(len(parts.defects) * plan.n_orders * len(series)) as done:
        for defect, name in enumerate(parts.defects):
            for order in range(plan.n_orders):
                images = sequence(parts, defect, plan.seed + order)
                memory: Memory = {}
                for one in series:
                    yield _played(category.name, name, order, one, parts, pairs, images, memory)
                    done(1)


def _played(
    category: str,
    defect: str,
    order: int,
    series: Series,
    parts: Parts,
    pairs: Pairs,
    images: Indices,
    memory: Memory,
) -> Repeat:
    stream, is_copy = play(pairs, series.config, images, memory), images >= parts.n_good
    called = np.array([bool(label) for label in stream.arrival.labels])
    return Repeat(
        category=category,
        series=series.name,
        defect=defect,
        order=order,
        n_copies=parts.n_copies,
        n_labelled=int((called & is_copy).sum()),
        event_at=event_at(stream, is_copy),
        n_good=parts.n_good,
        n_false_alarms=int((called & ~is_copy).sum()),
    )


def event_at(stream: Stream, is_copy: npt.NDArray[np.bool_]) -> int | None:
    """How many copies had come when the first `repeat` event that names one was told; None for never."""
    for frame, event in stream.events:
        if event.kind == "repeat" and any(is_copy[int(named)] for named in event.frame_ids):
            return int(is_copy[: frame + 1].sum())
    return None


def table(found: Sequence[Repeat]) -> Table:
    """One row a defect and rule, over the orders: from the fewest to the most."""
    shown = Table(box=box.SIMPLE_HEAD, padding=0, title=Text("one defect on many parts, on arrival"))
    for heading in ("category", "defect", "rule"):
        shown.add_column(heading, overflow="fold")
    for heading in ("labelled", "of", "event at\ncopy", "false alarms,\nper cent"):
        shown.add_column(heading, justify="right")
    groups: dict[tuple[str, str, str], list[Repeat]] = {}
    for one in found:
        groups.setdefault((one.category, one.defect, one.series), []).append(one)
    for (category, defect, series), runs in groups.items():
        alarms = 100 * sum(run.n_false_alarms for run in runs) / sum(run.n_good for run in runs)
        shown.add_row(
            plain(category),
            plain(defect),
            plain(series),
            span([run.n_labelled for run in runs]),
            str(runs[0].n_copies),
            span([run.event_at for run in runs]),
            f"{alarms:.1f}",
        )
    return shown
