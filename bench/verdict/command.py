"""The command line of `bench.verdict`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import datasets
from bench.datasets import Category
from bench.progress import Phases
from bench.replay import outcome
from bench.verdict import show, summary
from bench.verdict.protocol import Plan, Run, Series, measure, with_rule
from bench.verdict.sets import Matched, same_pairs, truth
from musc_online import config as configuration
from musc_online.errors import ConfigError, DataError, MuscError
from streamer.errors import StreamerError
from streamer.sources import told

RULES = "auto,mad,quantile"


@click.command(context_settings={"show_default": True})
@click.argument("dataset", type=click.Choice(sorted(datasets.DATASETS)))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Root of the dataset.")
@click.option("--category", default="all", help="Names with commas between, or all.")
@click.option(
    "--config", "config_paths", multiple=True, type=click.Path(path_type=Path), help="YAML; may be repeated."
)
@click.option("--rules", default=RULES, help="Values of threshold.rule, side by side.")
@click.option("--draws", "n_draws", default=3, type=click.IntRange(1), help="Choices of the images.")
@click.option("--orders", "n_orders", default=3, type=click.IntRange(1), help="Orders of arrival a draw.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Of choices and orders.")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for verdict.{json,png}."
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="The figures.")
def main(
    dataset: str,
    data: Path,
    category: str,
    config_paths: tuple[Path, ...],
    rules: str,
    n_draws: int,
    n_orders: int,
    seed: int,
    output: Path | None,
    json_path: Path | None,
) -> None:
    """What labels are worth: each category of DATASET at several shares of defective images.

    Every draw, order of arrival and threshold rule is one stream through the detector; each pair of images is
    matched once (docs/operate.md#what-labels-are-worth).
    """
    errors = Console(stderr=True)
    try:
        _check_writable(output, json_path)
        series = _series(config_paths, rules, click.get_current_context(), errors)
        categories = datasets.read(dataset, data, category)
        plan = Plan(n_draws, n_orders, seed)
        runs = [run for one in categories for run in _measured(one, series, plan, errors)]
        cells, headlines = summary.cells(runs), summary.headlines(runs)
        show.show(cells, headlines, Console())
        asked: dict[str, Any] = {"dataset": dataset, "draws": n_draws, "orders": n_orders, "seed": seed}
        asked["configs"] = {one.name: one.config.model_dump(mode="json") for one in series}
        document = {"options": asked, **summary.as_json(runs)}
        for path in _json_paths(output, json_path):
            outcome.save(path, document)
        if output is not None:
            show.plot(cells, output / "verdict.png")
    except (MuscError, StreamerError) as error:
        raise click.UsageError(str(error)) from None


def _measured(category: Category, series: Sequence[Series], plan: Plan, errors: Console) -> list[Run]:
    if category.left_out:
        _warn(errors, f"{category.name}: {told(category.left_out)}")
    labels = truth(category)
    matched = Matched(lambda name: Phases(name, errors))
    runs: list[Run] = []
    for key in dict.fromkeys(same_pairs(one.config) for one in series):
        sharing = [one for one in series if same_pairs(one.config) == key]
        pairs = matched.pairs(category.name, category.samples, sharing[0].config)
        n_streams = len(plan.draws(labels)) * plan.n_orders * len(sharing)
        with Phases(category.name, errors).phase("streams", n_streams, f"{n_streams} streams") as done:
            runs += measure(category.name, pairs, labels, sharing, plan, done)
    return runs


def _series(paths: Sequence[Path], rules: str, context: click.Context, errors: Console) -> list[Series]:
    """Every configuration with every rule.

    Raises:
        ConfigError: a configuration that cannot be used, or a rule asked for by name that there is not.
    """
    defaulted = context.get_parameter_source("rules") is click.core.ParameterSource.DEFAULT
    found: dict[str, Series] = {}
    for path in paths or (None,):
        config = configuration.load(path)
        for rule in dict.fromkeys(name.strip() for name in rules.split(",") if name.strip()):
            name = rule if path is None or len(paths) == 1 else f"{path.stem} {rule}"
            try:
                found.setdefault(name, Series(name, with_rule(config, rule)))
            except ConfigError as error:
                if not defaulted:
                    raise
                _warn(errors, f"rule {rule} left out: {error}")
    if not found:
        raise ConfigError(f"--rules: got '{rules}', expected values of threshold.rule such as {RULES}")
    return list(found.values())


def _json_paths(output: Path | None, json_path: Path | None) -> list[Path]:
    beside = [] if output is None else [output / "verdict.json"]
    return beside + ([] if json_path is None else [json_path])


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


def _warn(errors: Console, text: str) -> None:
    errors.print(f"warning: {text}", markup=False, highlight=False, soft_wrap=True)
