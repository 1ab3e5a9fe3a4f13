"""What bounded cost costs: references used per frame against AUROC, provisional and revised.

`python -m bench.cost mvtec --data DIR --category NAME --subsets 8 --output DIR`
"""

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import datasets
from bench.commands import Command
from bench.names import drawn, plain
from bench.replay.features import Features, Step, extracted
from bench.replay.order import Indices, arrivals
from bench.replay.settings import parse_seeds
from musc_online import backbones, config
from musc_online.config import Config
from musc_online.frames import map_shape
from streamer.commands import examples
from streamer.config_option import ConfigFile
from streamer.printable import printable

if TYPE_CHECKING:
    from bench.replay import scored


@dataclass(frozen=True)
class Row:
    """One setting of `score_against`, averaged over the seeds.

    AUROC as fractions; `ms_per_frame` is matching, averaging and revising, without the backbone.
    """

    score_against: int
    references: float
    provisional_auroc: float
    revised_auroc: float
    revised_rscin_auroc: float
    ms_per_frame: float


def sweep(
    features: Features,
    truth: "scored.Truth",
    settings: Config,
    subsets: int,
    seeds: list[int],
    progress: Progress,
) -> list[Row]:
    """Stream the category once for each number of subsets scored against and each seed."""
    from bench.replay import run  # noqa: PLC0415  (slow: wrong data is told before)

    n_images = len(features)
    task = progress.add_task("streams", total=subsets * len(seeds) * n_images)
    rows = []
    for against in range(1, subsets + 1):
        ring = {"capacity": n_images, "subsets": subsets, "score_against": against}
        chosen = settings.model_copy(update={"ring": settings.ring.model_copy(update=ring)})
        chosen = run.without_regions(chosen)
        measured = []
        for seed in seeds:
            order = arrivals(n_images, "shuffled", seed)
            measured.append(_measure(features, truth, chosen, order, lambda n: progress.advance(task, n)))
        rows.append(Row(against, *np.mean(measured, axis=0).tolist()))
    return rows


def _measure(
    features: Features, truth: "scored.Truth", chosen: Config, order: Indices, done: Step
) -> list[float]:
    from bench.replay import run, scored  # noqa: PLC0415  (slow: wrong data is told before)

    started = time.perf_counter()
    recorder = run.stream(features, chosen, order, done)
    spent = time.perf_counter() - started
    provisional = scored.levels(recorder.provisional, truth)
    revised = scored.levels(recorder.revised, truth)
    # Frames of a ring that is still filling have few references whatever the setting: leave a quarter out.
    settled = recorder.arrivals[len(order) // 4 :]
    return [
        float(np.mean([arrival.n_references for arrival in settled])),
        provisional["image_raw"]["auroc"],
        revised["image_raw"]["auroc"],
        revised["image"]["auroc"],
        1e3 * spent / len(order),
    ]


def as_markdown(rows: list[Row]) -> str:
    """The table for a report; AUROC in percent."""
    lines = [
        "| scored against | references | provisional AUROC | revised AUROC | revised, RsCIN | ms a frame |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        aurocs = (row.provisional_auroc, row.revised_auroc, row.revised_rscin_auroc)
        shown = " | ".join(f"{100 * auroc:.1f}" for auroc in aurocs)
        lines.append(f"| {row.score_against} | {row.references:.0f} | {shown} | {row.ms_per_frame:.0f} |")
    return "\n".join(lines) + "\n"


def plot(rows: list[Row], title: str, path: Path) -> None:
    """References a frame against AUROC."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    references = [row.references for row in rows]
    for name, label in (("provisional_auroc", "provisional"), ("revised_auroc", "revised")):
        axes.plot(references, [100 * getattr(row, name) for row in rows], marker="o", label=label)
    axes.set(xlabel="references a frame", ylabel="image AUROC, raw scores (%)", title=drawn(title))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _print(rows: list[Row], title: str) -> None:
    table = Table(title=plain(title))
    for heading in ("scored against", "references", "provisional", "revised", "revised RsCIN", "ms a frame"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row.score_against),
            f"{row.references:.0f}",
            f"{100 * row.provisional_auroc:.1f}",
            f"{100 * row.revised_auroc:.1f}",
            f"{100 * row.revised_rscin_auroc:.1f}",
            f"{row.ms_per_frame:.0f}",
        )
    Console().print(table)


@click.command(
    cls=Command,
    epilog=examples(
        "python -m bench.cost mvtec --data MVTEC --category cookie --output cost",
    ),
)
@click.argument("dataset", metavar="DATASET", type=click.Choice(sorted(datasets.DATASETS)))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Root of the dataset.")
@click.option("--category", required=True, help="One category.")
@click.option("--config", "config_path", type=ConfigFile(), help="YAML; defaults otherwise.")
@click.option("--subsets", default=8, type=click.IntRange(min=2), help="Parts the ring is divided into.")
@click.option("--seeds", default="0,1,2", help="Orders of arrival to average over.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for cost.md, cost.json, cost.png.")
def main(
    dataset: str,
    data: Path,
    category: str,
    config_path: Path | None,
    subsets: int,
    seeds: str,
    output: Path | None,
) -> None:
    """Stream one category with 1, 2, ... of its ring's subsets scored against, and compare."""
    settings = config.load(config_path)
    (chosen,) = datasets.read(dataset, data, category, settings.bit_depth)
    for line in chosen.remarks:
        click.echo(f"warning: {printable(category)}: {printable(line)}", err=True)
    numbers = parse_seeds(seeds)
    from bench.replay import scored  # noqa: PLC0415  (slow: wrong data is told before)

    truth = scored.read_truth(chosen.samples, map_shape(settings))
    if truth is None:
        raise click.UsageError(f"{category}: has no labels to measure with")
    backbone = backbones.load_configured(settings.backbone)
    with Progress() as progress:
        task = progress.add_task("backbone", total=len(chosen.samples))
        step = partial(progress.advance, task)
        with extracted(chosen.samples, backbone, settings.tiles, done=step) as features:
            rows = sweep(features, truth, settings, subsets, list(numbers), progress)
    title = f"{category}: {len(chosen.samples)} images, {subsets} subsets, seeds {seeds}"
    _print(rows, title)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "cost.md").write_text(as_markdown(rows), encoding="utf-8")
        (output / "cost.json").write_text(
            json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8"
        )
        plot(rows, title, output / "cost.png")


if __name__ == "__main__":
    main()
