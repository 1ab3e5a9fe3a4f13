"""`python -m bench.scale`: 10 to 1,000 cameras on 1 to 64 GPUs, simulated with measured costs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown

from bench.commands import Command, check_writable
from bench.scale.plant import Costs, Plant
from streamer.commands import examples

_DEFAULT = Plant(cameras=1, gpus=1)


def _numbers(_context: click.Context, option: click.Parameter, typed: str) -> list[int]:
    try:
        found = [int(part) for part in typed.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1 or max(found) > 100_000:
        raise click.BadParameter(f"got '{typed}', expected whole numbers from 1 on, as {option.default}")
    return found


def _positive(name: str, what: str) -> Any:
    default = getattr(_DEFAULT, name)
    kind = click.IntRange(1) if isinstance(default, int) else click.FloatRange(0, min_open=True)
    return click.option(f"--{name.replace('_', '-')}", type=kind, default=default, help=what)


@click.command(
    cls=Command,
    epilog=examples(
        "python -m bench.scale --costs engine.json --output scale",
        "python -m bench.scale --costs engine.json --cameras 40 --gpus 1,2,4 --fps 5 --gpu-ms 12",
    ),
)
@click.option(
    "--costs", "costs_path", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="What was measured: the --json of `musc-online speed --engine ray`.",
)  # fmt: skip
@click.option("--cameras", default="10,30,100,300,1000", callback=_numbers, help="Numbers of cameras.")
@click.option("--gpus", default="1,2,4,8,16,32,64", callback=_numbers, help="Numbers of GPUs.")
@_positive("fps", "Frames a second of a camera.")
@_positive("gpu_ms", "Assumed: a frame in a full batch on one GPU.")
@_positive("gpu_batch_ms", "Assumed: a batch beside its frames.")
@_positive("gpus_per_node", "GPUs of a machine.")
@_positive("cores", "Cores of a machine with GPUs.")
@_positive("gate_gbit", "Network of a gate's machine, Gbit/s each way.")
@_positive("node_gbit", "Network of a machine with GPUs, Gbit/s each way.")
@_positive("subscribers", "Who hear every score.")
@_positive("batch", "As `transport.batch`.")
@_positive("queue", "As `transport.queue`.")
@click.option(
    "--limit", "limit_s", type=click.FloatRange(0, 1, min_open=True), default=1.0,
    help="Seconds within which a score is in time.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for scale.md, scale.json."
)
def main(
    costs_path: Path,
    cameras: list[int],
    gpus: list[int],
    limit_s: float,
    output: Path | None,
    **plant: float,
) -> None:
    """Simulate cameras on a cluster: where gate, network, GPUs and PUB are full, and what a lost node costs.

    Costs of gate, decoders, lines and messages are measured; the time of a GPU, which is not, and the
    machines are options.
    """
    check_writable(output, None)
    costs = Costs.read(costs_path)
    from bench.scale import report, sweep  # noqa: PLC0415  (simpy is not wanted for help)

    console = Console()
    with console.status("starting") as status:
        asked = sweep.Asked(cameras, gpus, limit_s)
        document = sweep.simulate(replace(_DEFAULT, **plant), costs, asked, status.update)  # type: ignore[arg-type]
    page = report.markdown(document)
    if output is not None:
        (output / "scale.md").write_text(page, encoding="utf-8")
        (output / "scale.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(Markdown(page))
