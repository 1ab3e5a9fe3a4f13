"""The protocols one after another over categories: what each prints and leaves for the JSON."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.datasets import Category
from bench.progress import Phases
from bench.verdict import changeover, clean, confirmed, protocol, repeats, sequences, show, summary
from bench.verdict.protocol import Plan, Series
from bench.verdict.sets import Matched, same_pairs, truth
from musc_online.errors import DataError
from streamer.printable import printable


class Work:
    """What each protocol prints, writes beside the JSON, and leaves for the JSON."""

    def __init__(self, plan: Plan, output: Path | None, console: Console, errors: Console) -> None:
        self.plan, self.output, self.console, self.errors = plan, output, console, errors
        self.matched = Matched(self.phases)

    def contaminations(self, categories: Sequence[Category], series: Sequence[Series]) -> dict[str, Any]:
        """See `bench.verdict.protocol`."""
        runs: list[protocol.Run] = []
        for category in categories:
            labels = truth(category)
            n_streams = len(self.plan.draws(labels)) * self.plan.n_orders
            for sharing in _sharing(series):
                pairs = self.matched.pairs(category.name, category.samples, sharing[0].config)
                with self.streams(category)(n_streams * len(sharing)) as done:
                    runs += protocol.measure(category.name, pairs, labels, sharing, self.plan, done)
        cells, headlines = summary.cells(runs), summary.headlines(runs)
        show.show(cells, headlines, self.console)
        if self.output is not None:
            show.plot(cells, self.output / "verdict.png")
        return summary.as_json(runs)

    def repeats(
        self, categories: Sequence[Category], series: Sequence[Series], n_copies: int
    ) -> dict[str, Any]:
        """See `bench.verdict.repeats`."""
        found: list[repeats.Repeat] = []
        for category in categories:
            for sharing in _sharing(series):
                streams = self.streams(category)
                found += repeats.measure(category, n_copies, sharing, self.plan, self.matched, streams)
        self.console.print(repeats.table(found))
        return {"repeats": [one.as_json() for one in found]}

    def sequences(
        self, categories: Sequence[Category], series: Sequence[Series], data: Path, csv: Path
    ) -> dict[str, Any]:
        """See `bench.verdict.sequences`; `csv` may lie in the category's folder below `data`."""
        found: list[sequences.Wear] = []
        for category in categories:
            beside = data / category.name / csv
            courses = sequences.read(beside if beside.is_file() else csv, category)
            for sharing in _sharing(series):
                found += sequences.measure(category, courses, sharing, self.matched)
        self.console.print(sequences.table(found))
        return {"sequences": [one.as_json() for one in found]}

    def changeovers(
        self, categories: Sequence[Category], series: Sequence[Series], other: Category
    ) -> dict[str, Any]:
        """See `bench.verdict.changeover`; `other` is the second product of every other category.

        Raises:
            DataError: there is no other category.
        """
        first = [category for category in categories if category.name != other.name]
        if not first:
            raise DataError(f"--changeover: got {other.name}, expected another category than --category")
        found: list[changeover.Changeover] = []
        for category in first:
            for sharing in _sharing(series):
                streams = self.streams(category)
                found += changeover.measure(category, other, sharing, self.plan, self.matched, streams)
        self.console.print(changeover.table(found))
        return {"changeovers": [one.as_json() for one in found]}

    def clean(
        self, categories: Sequence[Category], series: Sequence[Series], n_frames: int
    ) -> dict[str, Any]:
        """See `bench.verdict.clean`."""
        found: list[clean.Clean] = []
        for category in categories:
            for sharing in _sharing(series):
                streams = self.streams(category)
                found += clean.measure(category, n_frames, sharing, self.plan, self.matched, streams)
        self.console.print(clean.table(found))
        return {"clean": [one.as_json() for one in found]}

    def confirmed(
        self, categories: Sequence[Category], series: Sequence[Series], n_frames: int
    ) -> dict[str, Any]:
        """See `bench.verdict.confirmed`; half of `n_frames` are good."""
        found: list[confirmed.Confirmed] = []
        for category in categories:
            labels, n_each = truth(category), n_frames // 2
            n_draws = len(confirmed.eligible(self.plan.draws(labels), n_each))
            if not n_draws:
                self.warn(f"{category.name}: left out, has fewer than {n_each} good or defective images")
                continue
            for sharing in _sharing(series):
                pairs = self.matched.pairs(category.name, category.samples, sharing[0].config)
                with self.streams(category)(n_draws * self.plan.n_orders * len(sharing)) as done:
                    args = category.name, pairs, labels, n_each, sharing, self.plan, done
                    found += confirmed.measure(*args)
        self.console.print(confirmed.table(found))
        return {"confirmed": [one.as_json() for one in found]}

    def streams(self, category: Category) -> Callable[[int], Any]:
        """The progress of so many streams."""
        return lambda n: self.phases(category.name).phase("streams", n, f"{n} streams")

    def phases(self, name: str) -> Phases:
        """The progress of a category."""
        return Phases(name, self.errors)

    def warn(self, text: str) -> None:
        """On standard error."""
        self.errors.print(printable(f"warning: {text}"), markup=False, highlight=False, soft_wrap=True)


def _sharing(series: Sequence[Series]) -> Iterator[list[Series]]:
    """The series that share features and distances, together."""
    for key in dict.fromkeys(same_pairs(one.config) for one in series):
        yield [one for one in series if same_pairs(one.config) == key]
