"""The command line of `bench.verdict`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import datasets
from bench.datasets import Category
from bench.progress import Phases
from bench.replay import outcome
from bench.verdict import protocol, repeats, sequences, show, summary
from bench.verdict.protocol import Plan, Series, with_rule
from bench.verdict.sets import Matched, same_pairs, truth
from musc_online import config as configuration
from musc_online.errors import ConfigError, DataError, MuscError
from streamer.errors import StreamerError
from streamer.sources import told

RULES = "auto,mad,quantile"
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(context_settings={"show_default": True})
@click.argument("dataset", type=click.Choice(sorted(datasets.DATASETS)))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Root of the dataset.")
@click.option("--category", default="all", help="Names with commas between, or all.")
@click.option("--config", "configs", multiple=True, type=_FILE, help="YAML; may be given more than once.")
@click.option("--rules", default=RULES, help="Values of threshold.rule, side by side.")
@click.option(
    "--draws", default=3, type=click.IntRange(1), help="Choices of images, or of defects to repeat."
)
@click.option("--orders", default=3, type=click.IntRange(1), help="Orders of arrival a draw.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Of choices and orders.")
@click.option("--repeat", type=click.IntRange(2), help="Instead: one defect on so many parts, jittered.")
@click.option("--sequences", "csv", type=_FILE, help="Instead: wear, by a CSV in the category.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="For verdict.json and .png.")
@click.option("--json", "json_path", type=_FILE, help="The figures.")
def main(
    dataset: str,
    data: Path,
    category: str,
    configs: tuple[Path, ...],
    rules: str,
    draws: int,
    orders: int,
    seed: int,
    repeat: int | None,
    csv: Path | None,
    output: Path | None,
    json_path: Path | None,
) -> None:
    """What labels are worth: each category of DATASET at several shares of defective images.

    Every draw, order of arrival and threshold rule is one stream through the detector; each pair of images is
    matched once (docs/operate.md#what-labels-are-worth).
    """
    work = _Work(Plan(draws, orders, seed), output, Console(), Console(stderr=True))
    try:
        if repeat is not None and csv is not None:
            raise DataError("--repeat and --sequences: got both, expected one")
        _check_writable(output, json_path)
        series = _series(configs, rules, work)
        categories = datasets.read(dataset, data, category)
        for one in categories:
            if one.left_out:
                work.warn(f"{one.name}: {told(one.left_out)}")
        if repeat is not None:
            found = work.repeats(categories, series, repeat)
        elif csv is not None:
            found = work.sequences(categories, series, data, csv)
        else:
            found = work.contaminations(categories, series)
        options = {"dataset": dataset, "draws": draws, "orders": orders, "seed": seed, "repeat": repeat}
        options["configs"] = {one.name: one.config.model_dump(mode="json") for one in series}
        for path in (output and output / "verdict.json", json_path):
            if path is not None:
                outcome.save(path, {"options": options, **found})
    except (MuscError, StreamerError) as error:
        raise click.UsageError(str(error)) from None


class _Work:
    """What each protocol prints, writes beside the JSON, and leaves for the JSON."""

    def __init__(self, plan: Plan, output: Path | None, console: Console, errors: Console) -> None:
        self.plan, self.output, self.console, self.errors = plan, output, console, errors
        self.matched = Matched(self.phases)

    def contaminations(self, categories: Sequence[Category], series: Sequence[Series]) -> dict[str, Any]:
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
        found: list[sequences.Wear] = []
        for category in categories:
            beside = data / category.name / csv
            courses = sequences.read(beside if beside.is_file() else csv, category)
            for sharing in _sharing(series):
                found += sequences.measure(category, courses, sharing, self.matched)
        self.console.print(sequences.table(found))
        return {"sequences": [one.as_json() for one in found]}

    def streams(self, category: Category) -> Callable[[int], Any]:
        """The progress of so many streams."""
        return lambda n: self.phases(category.name).phase("streams", n, f"{n} streams")

    def phases(self, name: str) -> Phases:
        return Phases(name, self.errors)

    def warn(self, text: str) -> None:
        self.errors.print(f"warning: {text}", markup=False, highlight=False, soft_wrap=True)


def _sharing(series: Sequence[Series]) -> Iterator[list[Series]]:
    """The series that share features and distances, together."""
    for key in dict.fromkeys(same_pairs(one.config) for one in series):
        yield [one for one in series if same_pairs(one.config) == key]


def _series(paths: Sequence[Path], rules: str, work: _Work) -> list[Series]:
    """Every configuration with every rule.

    Raises:
        ConfigError: a configuration that cannot be used, or a rule asked for by name that there is not.
    """
    source = click.get_current_context().get_parameter_source("rules")
    found: dict[str, Series] = {}
    for path in paths or (None,):
        config = configuration.load(path)
        for rule in dict.fromkeys(name.strip() for name in rules.split(",") if name.strip()):
            name = rule if path is None or len(paths) == 1 else f"{path.stem} {rule}"
            try:
                found.setdefault(name, Series(name, with_rule(config, rule)))
            except ConfigError as error:
                if source is not click.core.ParameterSource.DEFAULT:
                    raise
                work.warn(f"rule {rule} left out: {error}")
    if not found:
        raise ConfigError(f"--rules: got '{rules}', expected values of threshold.rule such as {RULES}")
    return list(found.values())


def _check_writable(output: Path | None, json_path: Path | None) -> None:
    """Before the long work.

    Raises:
        DataError: a folder cannot be made.
    """
    for folder in (output, json_path and json_path.parent):
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror}); give another path") from None
