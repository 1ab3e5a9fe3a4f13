"""The command line of `bench.verdict`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from bench import datasets
from bench.commands import Command, check_writable
from bench.datasets import Category
from musc_online.errors import ConfigError, DataError
from streamer.commands import examples
from streamer.config_option import ConfigFile

if TYPE_CHECKING:
    from bench.verdict.protocol import Series
    from bench.verdict.work import Work

RULES = "auto,mad,quantile"
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online verdict mvtec --data MVTEC --category cookie --output verdict",
        "musc-online verdict mvtec --data MVTEC --rules auto,mad --draws 2",
        "musc-online verdict mvtec --data MVTEC --category cookie --repeat 5",
    ),
)
@click.argument("dataset", metavar="DATASET", type=click.Choice(sorted(datasets.DATASETS)))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Root of the dataset.")
@click.option("--category", default="all", help="Names with commas between, or all.")
@click.option(
    "--config", "configs", multiple=True, type=ConfigFile(), help="YAML; may be given more than once."
)
@click.option("--rules", default=RULES, help="Values of threshold.rule, side by side.")
@click.option(
    "--draws", default=3, type=click.IntRange(1), help="Choices of images, or of defects to repeat."
)
@click.option("--orders", default=3, type=click.IntRange(1), help="Orders of arrival a draw.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Of choices and orders.")
@click.option("--repeat", type=click.IntRange(2), help="Instead: one defect on so many parts, jittered.")
@click.option("--sequences", "csv", type=_FILE, help="Instead: wear, by a CSV in the category.")
@click.option("--changeover", "other", metavar="OTHER", help="Instead: after its good parts those of OTHER.")
@click.option(
    "--accept-after", type=click.IntRange(10), help="With --changeover: the line accepts it itself."
)
@click.option("--clean", type=click.IntRange(2), help="Instead: so many frames of good parts, jittered.")
@click.option("--confirmed", type=click.IntRange(2), help="Instead: so many confirmed, half good, half not.")
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
    other: str | None,
    accept_after: int | None,
    clean: int | None,
    confirmed: int | None,
    output: Path | None,
    json_path: Path | None,
) -> None:
    """Say what labels are worth at several shares of defects.

    DATASET is mvtec, visa, btad, folder, mvtec_ad2, mvtec_loco, mpdd or real_iad.

    Every draw, order of arrival and threshold rule is one stream through the detector; each pair of images is
    matched once (docs/operate.md#what-labels-are-worth).
    """
    instead = {
        "repeat": repeat,
        "sequences": csv,
        "changeover": other,
        "clean": clean,
        "confirmed": confirmed,
    }
    _check(instead, accept_after)
    check_writable(output, json_path)
    categories = datasets.read(dataset, data, category)
    then = None if other is None else _one(datasets.read(dataset, data, other), other)
    from bench.replay import outcome  # noqa: PLC0415  (slow: wrong data is told before)
    from bench.verdict.protocol import Plan  # noqa: PLC0415
    from bench.verdict.work import Work  # noqa: PLC0415

    work = Work(Plan(draws, orders, seed), output, Console(), Console(stderr=True))
    series = _series(configs, rules, accept_after, work)
    for one in categories:
        for line in one.remarks:
            work.warn(f"{one.name}: {line}")
    if repeat is not None:
        found = work.repeats(categories, series, repeat)
    elif csv is not None:
        found = work.sequences(categories, series, data, csv)
    elif then is not None:
        found = work.changeovers(categories, series, then)
    elif clean is not None:
        found = work.clean(categories, series, clean)
    elif confirmed is not None:
        found = work.confirmed(categories, series, confirmed)
    else:
        found = work.contaminations(categories, series)
    options = {"dataset": dataset, "draws": draws, "orders": orders, "seed": seed, "repeat": repeat}
    options |= {"changeover": other, "accept_after": accept_after, "clean": clean, "confirmed": confirmed}
    options["configs"] = {one.name: one.config.model_dump(mode="json") for one in series}
    for path in (output and output / "verdict.json", json_path):
        if path is not None:
            outcome.save(path, {"options": options, **found})


def _check(instead: Mapping[str, Any], accept_after: int | None) -> None:
    """Whether options go together; `instead` are those that ask for another protocol, by name.

    Raises:
        DataError: two protocols, or a number that does not fit.
    """
    given = [f"--{name}" for name, value in instead.items() if value is not None]
    if len(given) > 1:
        raise DataError(f"{' and '.join(given)}: got {len(given)} protocols, expected one")
    if accept_after is not None and given != ["--changeover"]:
        raise DataError("--accept-after: got no --changeover, expected one")
    if instead["confirmed"] is not None and instead["confirmed"] % 2:
        raise DataError(f"--confirmed: got {instead['confirmed']}, expected an even number, half of it good")


def _one(found: Sequence[Category], name: str) -> Category:
    if len(found) != 1:
        raise DataError(f"--changeover: got '{name}', expected the name of one category")
    return found[0]


def _series(paths: Sequence[Path], rules: str, accept_after: int | None, work: "Work") -> "list[Series]":
    """Every configuration with every rule, accepting changeovers after so many frames where asked to.

    Raises:
        ConfigError: a configuration that cannot be used, or a rule asked for by name that there is not.
    """
    from bench.verdict.changeover import accepting_after  # noqa: PLC0415  (slow: wrong data is told before)
    from bench.verdict.protocol import Series, with_rule  # noqa: PLC0415
    from musc_online import config as configuration  # noqa: PLC0415

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
    if accept_after is None:
        return list(found.values())
    return [Series(one.name, accepting_after(one.config, accept_after)) for one in found.values()]
