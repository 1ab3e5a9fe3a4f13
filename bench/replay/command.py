"""`python -m bench.replay`: replay a dataset as a stream, and prove that it ends in the batch result."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from bench import demo_data
from bench.commands import Command, check_writable
from bench.datasets import DATASETS
from musc_online.errors import ConfigError, DataError
from streamer.commands import examples
from streamer.config_option import ConfigFile
from streamer.printable import printable
from streamer.wire.checks import BIT_DEPTHS, parse_bit_depth

if TYPE_CHECKING:
    from bench.replay.migrate import Migrated
    from bench.replay.settings import Options
    from musc_online.config import Config

_DEMO = "demo"


def _kinds(_context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
    from bench.replay.settings import SAVEABLE  # noqa: PLC0415  (help does without)

    return [kind for kind in SAVEABLE if kind.startswith(typed)]


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online replay demo",
        "musc-online replay mvtec --data MVTEC --category cookie --output report",
        "musc-online replay folder --data photos/ --output report",
        "musc-online replay mvtec --data MVTEC --config paper.yaml --expect published",
    ),
)
@click.argument("dataset", metavar="DATASET", type=click.Choice([*DATASETS, _DEMO]))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the dataset; `demo` draws its own.")
@click.option("--category", help="One name, several with commas between.  [all]")
@click.option(
    "--config",
    "config_path",
    type=ConfigFile(),
    help="YAML: ours, or MuSc's own.  [all defaults]",
)
@click.option("--capacity", default="all", help="Ring capacity; 25,50,all compares several.")
@click.option(
    "--order",
    type=click.Choice(["shuffled", "sorted"]),
    default="shuffled",
    help="Of arrival; sorted lets class follow class, as no line does.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the order of arrival.")
@click.option(
    "--seeds", help="Several, e.g. 0,1,2: the spread is reported; the first gives the main figures."
)
@click.option("--subsets", type=click.IntRange(1), help="Ring subsets (ring.subsets).")
@click.option("--score-against", type=click.IntRange(1), help="Subsets an arrival is scored against.  [all]")
@click.option("--divide-num", type=click.IntRange(1), help="Divide the batch, as the published divide_num.")
@click.option(
    "--division",
    type=click.Choice(["published", "label_free"]),
    default="published",
    help="How: with the labels, as published, or without.",
)
@click.option("--limit", type=click.IntRange(2), help="At most N images a category, evenly spread.")
@click.option(
    "--bit-depth", type=click.Choice([*map(str, BIT_DEPTHS)]),
    help="Bits in use of images of more than 8, or float: 0 to 1; auto looks which.  [bit_depth]",
)  # fmt: skip
@click.option("--skip-bad", is_flag=True, help="Go on without images that cannot be read, and name them.")
@click.option("--batch-size", type=click.IntRange(1), help="Images a backbone call.  [8]")
@click.option("--through", type=click.Choice(["zmq"]), help="Send the frames through a real server process.")
@click.option(
    "--repeat-defect", type=click.IntRange(0), default=0, help="Let one defect come K times in a row."
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write the report here.")
@click.option(
    "--save",
    multiple=True,
    metavar="KINDS",
    shell_complete=_kinds,
    help="Write maps, overlays or masks (commas between) of every image to --output.",
)
@click.option(
    "--heatmap-normalisation",
    type=click.Choice(["image", "set", "none"]),
    help="Colours of the pictures: one scale for all, one each, or no pictures.  [set]",
)
@click.option(
    "--overlays",
    type=click.IntRange(0),
    default=6,
    help="Most pictures of each kind in the report.",
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
@click.option("--expect", type=click.Choice(["published"]), help="Fail if the batch is 0.3 points off.")
@click.option("--fresh", is_flag=True, help="Do not take finished categories from --output.")
def command(dataset: str, config_path: Path | None, **given: Any) -> int:
    """Replay DATASET as a stream and compare it with the batch.

    DATASET is mvtec, visa, btad, folder (no labels), mvtec_ad2, mvtec_loco, mpdd, real_iad, or demo.

    Exit status: 0 if parity holds (or is not asked for: a ring smaller than the category), 1 if it does
    not or the published figures are not met, 2 if the data or an option cannot be used.
    """
    from bench.replay import settings  # noqa: PLC0415  (help does without)

    errors = Console(stderr=True)
    config, theirs = settings.read_config(config_path)
    for note in theirs.notes if theirs is not None else ():
        errors.print(printable(f"{config_path}: {note}"), markup=False, highlight=False, soft_wrap=True)
    config = _with_ring(config, given["subsets"], given["score_against"])
    with ExitStack() as held:
        options, output = _options(dataset, given, theirs, held)
        said = given["bit_depth"]
        options = replace(options, bit_depth=config.bit_depth if said is None else parse_bit_depth(said))
        if options.order == "sorted":
            errors.print(
                "warning: --order sorted lets the classes arrive one after the other, as no line does; "
                "provisional figures are of this order only",
                soft_wrap=True,
            )
        check_writable(output, given["json_path"])
        categories = settings.read_categories(options)
        from bench.replay.categories import Plan, run_plan  # noqa: PLC0415  (slow: wrong data is told before)

        kept = (output, given["json_path"])
        plan = Plan(config, options, categories, *kept, given["expect"] is not None, given["fresh"])
        try:
            return run_plan(plan, Console(), errors)
        except KeyboardInterrupt:
            click.echo(
                "stopped; with --output, the next call goes on after the finished categories", err=True
            )
            raise


def _with_ring(config: "Config", subsets: int | None, score_against: int | None) -> "Config":
    from musc_online import config as configuration  # noqa: PLC0415  (help does without)

    changes: dict[str, Any] = {}
    if subsets is not None:
        changes["subsets"] = subsets
    if score_against is not None:
        changes["score_against"] = score_against
    ring = config.ring.model_dump() | changes
    ring["capacity"] = max(ring["capacity"], ring["subsets"])  # the capacity is set for each category
    return configuration.load(config.model_dump() | {"ring": ring})


def _options(
    dataset: str, given: dict[str, Any], theirs: "Migrated | None", held: ExitStack
) -> "tuple[Options, Path | None]":
    """The command line, over the authors' options, over the defaults."""
    from bench.replay import settings  # noqa: PLC0415  (help does without)

    run = theirs.run if theirs is not None else None

    def chosen(name: str, their_name: str, default: Any) -> Any:
        if given[name] is not None:
            return given[name]
        return default if run is None else getattr(run, their_name)

    if run is not None and dataset != run.dataset:
        raise DataError(f"dataset: got {dataset}, but the configuration is for {run.dataset}; name that one")
    data = chosen("data", "data", None)
    if data is None and dataset != _DEMO:
        raise DataError(f"--data: missing, expected the folder of the dataset ({dataset})")
    # Before a line is drawn: what is wrong shows at once.
    capacities = settings.parse_capacities(given["capacity"])
    save, output = settings.parse_save(given["save"]), chosen("output", "output", None)
    if save and output is None:
        raise ConfigError("--save: there is no --output; say into which folder the files go")
    seeds = (given["seed"],) if given["seeds"] is None else settings.parse_seeds(given["seeds"])
    options = settings.Options(
        dataset=dataset,
        data=_demo(data, held) if dataset == _DEMO else data,
        category=chosen("category", "category", "all"),
        capacities=capacities,
        order=given["order"],
        seeds=seeds,
        limit=given["limit"],
        divide_num=chosen("divide_num", "divide_num", 1),
        division=given["division"],
        batch_size=chosen("batch_size", "batch_size", 8),
        through="zmq" if given["through"] else "process",
        repeat_defect=given["repeat_defect"],
        heatmaps=chosen("heatmap_normalisation", "heatmaps", "set"),
        overlays=given["overlays"],
        excel=run.excel if run is not None else True,
        skip_bad=given["skip_bad"],
        save=save,
    )
    return options, output


def _demo(data: Path | None, held: ExitStack) -> Path:
    """The drawn line: in `data`, drawn if it is not there yet, or in a temporary folder."""
    if data is None:
        return demo_data.generate(Path(held.enter_context(tempfile.TemporaryDirectory(prefix="musc-demo-"))))
    return data if (data / demo_data.CATEGORY).is_dir() else demo_data.generate(data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit status."""
    return int(command.main(arguments, standalone_mode=False))
