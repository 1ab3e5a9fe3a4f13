"""A clean line: nothing but good parts, and whatever is said of them is a false alarm."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from bench.datasets import Category
from bench.metrics.labels import judge
from bench.names import plain
from bench.verdict import rounds
from bench.verdict.pairs import Memory
from bench.verdict.protocol import Plan, Series
from bench.verdict.sets import Matched
from bench.verdict.show import percent
from bench.verdict.stream import Said, Stream, play
from bench.verdict.summary import mean
from musc_online.events import Kind

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Clean:
    """One stream of `n_frames` good frames of `n_images` images.

    `events` counts them by kind; `arrival` and `final` are the shares of the frames with a label that were
    labelled anomalous (0..1, None where no frame had one); `n_withheld` had none on arrival.
    """

    category: str
    series: str
    order: int
    n_frames: int
    n_images: int
    n_withheld: int
    events: dict[str, int]
    arrival: float | None
    final: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, null where undefined."""
        return asdict(self)


def measure(
    category: Category,
    n_frames: int,
    series: Sequence[Series],
    plan: Plan,
    matched: Matched,
    streams: Callable[[int], Any],
) -> Iterator[Clean]:
    """Play `n_frames` of a category's good images, in `plan.n_orders` orders.

    Args:
        category: with labels.
        n_frames: of a stream, >= 2.
        series: whose configurations share features and distances.
        plan: how often; draws do not count.
        matched: gives the pairs.
        streams: a context for so many streams that gives whom to tell after each.

    Raises:
        DataError: an image that cannot be used, or no good one.
        CapacityError: a ring does not fit in `ring.max_bytes`.
    """
    samples = rounds.good(category)
    with rounds.pictures(samples, rounds.shown(len(samples), n_frames, plan.seed), plan.seed) as pictures:
        pairs = matched.pairs(category.name, pictures, series[0].config)
    with streams(plan.n_orders * len(series)) as done:
        for order in range(plan.n_orders):
            images = rounds.order(len(samples), n_frames, plan.seed + order)
            memory: Memory = {}
            for one in series:
                stream = play(pairs, one.config, images, memory)
                yield summed(category.name, one.name, order, len(samples), stream)
                done(1)


def summed(category: str, series: str, order: int, n_images: int, stream: Stream) -> Clean:
    """What was said on a line without a defect."""
    told: Counter[str] = Counter(event.kind for _, event in stream.events)
    return Clean(
        category=category,
        series=series,
        order=order,
        n_frames=len(stream.arrival.labels),
        n_images=n_images,
        n_withheld=stream.arrival.labels.count(None),
        events={kind: told[kind] for kind in KINDS},
        arrival=false_alarms(stream.arrival),
        final=false_alarms(stream.final),
    )


def false_alarms(said: Said, first: int = 0) -> float | None:
    """Of good frames, from frame `first` on, the share labelled anomalous; None where none has a label."""
    labels, raw = said.labels[first:], said.raw[first:]
    return judge(np.zeros(len(labels)), labels, raw).rate("false_alarms")


def table(found: Sequence[Clean]) -> Table:
    """One row a category and rule: means over the orders."""
    shown = Table(box=box.SIMPLE_HEAD, padding=0, title=Text("good parts alone, mean over orders"))
    for heading in ("category", "rule"):
        shown.add_column(heading, overflow="fold")
    for heading in (
        "frames",
        *(f"{kind}\nevents" for kind in KINDS),
        "arriv.,\nper cent",
        "final,\nper cent",
    ):
        shown.add_column(heading, justify="right")
    groups: dict[tuple[str, str], list[Clean]] = {}
    for one in found:
        groups.setdefault((one.category, one.series), []).append(one)
    for (category, series), runs in groups.items():
        shown.add_row(
            plain(category),
            plain(series),
            str(runs[0].n_frames),
            *(f"{mean([run.events[kind] for run in runs]):.1f}" for kind in KINDS),
            percent(mean([run.arrival for run in runs])),
            percent(mean([run.final for run in runs])),
        )
    return shown
