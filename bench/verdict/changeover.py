"""The product changes: how soon the line is told, and what its labels are worth once that is accepted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from bench.datasets import Category
from bench.names import plain
from bench.replay.order import Indices
from bench.verdict import rounds
from bench.verdict.clean import false_alarms
from bench.verdict.pairs import Memory
from bench.verdict.protocol import Plan, Series
from bench.verdict.sets import Matched
from bench.verdict.show import percent, span
from bench.verdict.stream import Operator, Said, Stream, play
from bench.verdict.summary import mean
from musc_online import config as configuration
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.events import Event

SETTLING = 30
"""Frames after the acceptance that are not measured: the ring fills with the new product."""
SECOND = 60 + SETTLING + 60
"""Least frames of the second product: to be told of and accepted, to settle, to measure."""


@dataclass(frozen=True)
class Changeover:
    """One stream of `n_first` good frames of `category`, then `n_second` of `other`.

    `n_early` counts `changeover` events before the change. `event_after` and `accepted_after` are frames of
    the second product, counted from 1, whose arrival brought the first event and on which it was accepted;
    None for never. Shares of frames with a label that were labelled anomalous, 0..1, None without such
    frames: `before` of the first product and `second` of the whole second one, both on arrival; `arrival` and
    `final` of the `n_measured` frames from `SETTLING` after the acceptance on.
    """

    category: str
    other: str
    series: str
    order: int
    n_first: int
    n_second: int
    n_early: int
    event_after: int | None
    accepted_after: int | None
    before: float | None
    second: float | None
    n_measured: int
    arrival: float | None
    final: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values, null where there was no event."""
        return asdict(self)


class Accepting(Operator):
    """Accepts the first changeover that is told after the change; or watches a line that does so itself.

    `event_at` and `accepted_at` are frames of the stream, counted from 0, None until then.

    Args:
        change: the first frame of the second product, counted from 0.
        by_itself: `ring.accept_after` is set.
    """

    def __init__(self, change: int, *, by_itself: bool) -> None:
        self.change, self.by_itself = change, by_itself
        self.n_early = 0
        self.event_at: int | None = None
        self.accepted_at: int | None = None
        self._group: int | None = None

    def after(self, frame: int, events: Sequence[Event], stream: Detector) -> None:
        """See `Operator.after`."""
        told = [event for event in events if event.kind == "changeover"]
        if frame < self.change:
            self.n_early += len(told)
            return
        if self.accepted_at is not None:
            return
        if told and self._group is None:
            self._group = told[0].group
            self.event_at = frame if self.event_at is None else self.event_at
            if not self.by_itself:
                stream.operators.accept(self._group)
                self.accepted_at = frame
        if self.by_itself and self._group is not None:
            self._watch(frame, self._group, stream)

    def _watch(self, frame: int, group: int, stream: Detector) -> None:
        """The group goes when it is accepted, and when the last of its frames has left the ring."""
        if group in stream.events.groups:
            return
        if any(entry.truth is False for entry in stream.window.entries.values()):
            self.accepted_at = frame  # nobody else tells a truth here
        else:
            self._group = None  # forgotten: the next one counts


def accepting_after(config: Config, n_frames: int) -> Config:
    """The configuration with another `ring.accept_after`.

    Raises:
        ConfigError: a value that it cannot have.
    """
    given = config.model_dump()
    return configuration.load(given | {"ring": given["ring"] | {"accept_after": n_frames}})


def at_least(config: Config) -> int:
    """Least frames of the second product; a line that waits for so many to accept takes twice as many more.

    Only frames that are labelled anomalous count towards it: on real parts it took several times as many.
    """
    return SECOND + 2 * (config.ring.accept_after or 0)


def measure(
    category: Category,
    other: Category,
    series: Sequence[Series],
    plan: Plan,
    matched: Matched,
    streams: Callable[[int], Any],
) -> Iterator[Changeover]:
    """Play one product's good images and then another's, in `plan.n_orders` orders.

    Args:
        category: the first product, with labels.
        other: the second, with labels; at least `at_least` frames of it come.
        series: whose configurations share features and distances; those without `ring.accept_after` have an
            operator who accepts at once.
        plan: how often; draws do not count.
        matched: gives the pairs.
        streams: a context for so many streams that gives whom to tell after each.

    Raises:
        DataError: an image that cannot be used, or no good one.
        CapacityError: a ring does not fit in `ring.max_bytes`.
    """
    first, second = rounds.good(category), rounds.good(other)
    n_second = max(len(second), *(at_least(one.config) for one in series))
    images = np.append(np.arange(len(first)), len(first) + rounds.shown(len(second), n_second, plan.seed))
    name = f"{category.name}, {other.name}"
    with rounds.pictures([*first, *second], images, plan.seed) as pictures:
        pairs = matched.pairs(name, pictures, series[0].config)
    with streams(plan.n_orders * len(series)) as done:
        for order in range(plan.n_orders):
            frames = sequence(len(first), len(second), n_second, plan.seed + order)
            memory: Memory = {}
            for one in series:
                operator = Accepting(len(first), by_itself=one.config.ring.accept_after is not None)
                stream = play(pairs, one.config, frames, memory, operator)
                yield summed((category.name, other.name, one.name), order, operator, stream)
                done(1)


def sequence(n_first: int, n_images: int, n_second: int, seed: int) -> Indices:
    """One order of arrival of `n_first` pictures, then of `n_second` of `n_images` images, round by round."""
    first = np.random.default_rng(seed).permutation(n_first)
    return np.append(first, n_first + rounds.order(n_images, n_second, seed))


def summed(names: tuple[str, str, str], order: int, operator: Accepting, stream: Stream) -> Changeover:
    """What came of a change; `names` are those of both categories and of the series."""
    category, other, series = names
    change, labels = operator.change, stream.arrival.labels
    accepted = operator.accepted_at
    start = len(labels) if accepted is None else min(accepted + SETTLING, len(labels))
    return Changeover(
        category=category,
        other=other,
        series=series,
        order=order,
        n_first=change,
        n_second=len(labels) - change,
        n_early=operator.n_early,
        event_after=None if operator.event_at is None else operator.event_at - change + 1,
        accepted_after=None if accepted is None else accepted - change + 1,
        before=false_alarms(Said(stream.arrival.raw[:change], labels[:change])),
        second=false_alarms(stream.arrival, change),
        n_measured=len(labels) - start,
        arrival=false_alarms(stream.arrival, start),
        final=false_alarms(stream.final, start),
    )


def table(found: Sequence[Changeover]) -> Table:
    """One row a pair of products and rule, over the orders: events from the soonest to the latest."""
    shown = Table(box=box.SIMPLE_HEAD, padding=0, title=Text("the product changes: false alarms in per cent"))
    for heading in ("from", "to", "rule"):
        shown.add_column(heading, overflow="fold")
    events = ("early\nevents", "event at\nframe", "accepted\nat")
    for heading in (*events, "first", "second", "after,\narriv.", "after,\nfinal"):
        shown.add_column(heading, justify="right")
    groups: dict[tuple[str, str, str], list[Changeover]] = {}
    for one in found:
        groups.setdefault((one.category, one.other, one.series), []).append(one)
    for names, runs in groups.items():
        shown.add_row(
            *map(plain, names),
            str(sum(run.n_early for run in runs)),
            span([run.event_after for run in runs]),
            span([run.accepted_after for run in runs]),
            percent(mean([run.before for run in runs])),
            percent(mean([run.second for run in runs])),
            percent(mean([run.arrival for run in runs])),
            percent(mean([run.final for run in runs])),
        )
    return shown
