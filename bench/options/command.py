"""The command line of `bench.options`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from bench import datasets
from bench.commands import Command, check_writable
from bench.datasets import Category
from bench.options.named import CHANGES, Option, chosen
from bench.progress import Phases
from bench.replay.order import spread
from streamer.commands import examples
from streamer.config_option import ConfigFile
from streamer.printable import printable

if TYPE_CHECKING:
    from bench.options import summary
    from bench.options.measure import Measured, Row

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online options mvtec --data MVTEC --category cookie --output options",
        'musc-online options mvtec --data MVTEC --only "degree 1,both" --limit 40',
        "musc-online options mvtec --data MVTEC --only '' --config line.yaml",
    ),
)
@click.argument("dataset", metavar="DATASET", type=click.Choice(sorted(datasets.DATASETS)))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Root of the dataset.")
@click.option("--category", default="all", help="Names with commas between, or all.")
@click.option("--only", help=f"Options with commas between, of: {', '.join(CHANGES)}.")
@click.option(
    "--config", "paths", multiple=True, type=ConfigFile(), help="YAML of one more row; may be repeated."
)
@click.option("--capacity", type=click.IntRange(2), help="Of the ring; room for the category if left out.")
@click.option("--limit", type=click.IntRange(2), help="At most N images a category, evenly spread.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Of the order of arrival.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="For options.json and .png.")
@click.option("--json", "json_path", type=_FILE, help="The figures.")
def main(
    dataset: str,
    data: Path,
    category: str,
    only: str | None,
    paths: tuple[Path, ...],
    capacity: int | None,
    limit: int | None,
    seed: int,
    output: Path | None,
    json_path: Path | None,
) -> None:
    """Compare options on DATASET, as a batch and as a stream.

    DATASET is mvtec, visa, btad, folder, mvtec_ad2, mvtec_loco, mpdd or real_iad.

    Each category is scored with every option. A --config adds a row of its own to the named options; --only
    '' leaves those out (docs/operate.md#which-options).
    """
    console, errors = Console(), Console(stderr=True)
    options = chosen(only, paths)
    check_writable(output, json_path)
    categories = [_limited(one, limit) for one in datasets.read(dataset, data, category)]
    from bench.options import show, summary  # noqa: PLC0415  (slow: wrong data is told before)
    from bench.options.measure import Measured  # noqa: PLC0415
    from bench.replay import outcome  # noqa: PLC0415

    rows = _measured(categories, Measured(options, capacity, seed), console, errors)
    means = summary.means(rows)
    title = f"mean of {len(categories)} categories: per cent, milliseconds a frame"
    if len(categories) > 1:
        console.print(show.table(title, means))
    asked = {"dataset": dataset, "capacity": capacity, "limit": limit, "seed": seed}
    document = _document(asked, options, rows, means)
    for path in (output and output / "options.json", json_path):
        if path is not None:
            outcome.save(path, document)
    if output is not None and means:
        names = ", ".join(one.name for one in categories)
        show.plot(means, f"mean of {names}", output / "options.png")


def _measured(
    categories: Sequence[Category], measured: "Measured", console: Console, errors: Console
) -> "list[Row]":
    from bench.options import show, summary  # noqa: PLC0415  (slow: wrong data is told before)

    rows: list[Row] = []
    for category in categories:
        for line in category.remarks:
            _warn(errors, f"{category.name}: {line}")
        found, left_out = measured.rows(category, Phases(category.name, errors))
        for line in left_out:
            _warn(errors, line)
        n_anomalous = sum(sample.label == 1 for sample in category.samples)
        title = f"{category.name}: {len(category.samples)} images, {n_anomalous} anomalous"
        console.print(show.table(title, {row.option: summary.figures(row) for row in found}))
        rows += found
    return rows


def _document(
    asked: dict[str, Any],
    options: Sequence[Option],
    rows: "Sequence[Row]",
    means: "dict[str, summary.Figures]",
) -> dict[str, Any]:
    from bench.options import summary  # noqa: PLC0415  (slow: wrong data is told before)

    return asked | {
        "options": {option.name: option.config.model_dump(mode="json") for option in options},
        "rows": [row.as_json() for row in rows],
        "mean": {name: summary.as_json(found) for name, found in means.items()},
    }


def _limited(category: Category, limit: int | None) -> Category:
    kept = spread(len(category.samples), limit)
    return replace(category, samples=tuple(category.samples[index] for index in kept))


def _warn(errors: Console, line: str) -> None:
    errors.print(printable(f"warning: {line}"), markup=False, highlight=False, soft_wrap=True)
