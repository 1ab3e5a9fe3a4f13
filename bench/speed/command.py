"""`python -m bench.speed`: published recipe, faiss and gemm on the same tokens, in one run."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown

from bench.commands import Group
from bench.speed import batch, metrics, online, options, profile, report, service
from bench.speed.setup import Shape, machine, tokens

_FRAMES = 60
_LINES = click.option(
    "--lines/--no-lines",
    "with_lines",
    default=True,
    show_default=True,
    help="The service also as configs/line.yaml, at 224 and 448 px, with the fastest backbone.",
)


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--images", type=click.IntRange(min=5), default=60, show_default=True, help="Images of the batch."
)
@click.option("--ring", type=click.IntRange(min=2), default=200, show_default=True, help="Capacity online.")
@click.option("--patches", default=256, show_default=True, help="Patches an image: a square number.")
@click.option("--channels", default=384, show_default=True)
@click.option("--stages", default=4, show_default=True)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Interleaved repeats."
)
@click.option("--faiss/--no-faiss", "with_faiss", default=True, show_default=True)
@click.option("--scaling/--no-scaling", "with_scaling", default=True, show_default=True)
@click.option(
    "--service/--no-service",
    "with_service",
    default=True,
    show_default=True,
    help="A real server process too.",
)
@_LINES
@click.option(
    "--nearest/--no-nearest",
    "with_nearest",
    default=True,
    show_default=True,
    help="Steps with nearest: 32 into rings of 200 and 2,000, and tiles, too.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=None, help="Folder for speed.md, speed.json."
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), default=None, help="Where the JSON goes."
)
@click.option(
    "--profile",
    "with_profile",
    is_flag=True,
    help="Also write where the time goes: profile.txt in --output, or here.",
)
@click.pass_context
def main(
    context: click.Context, images: int, ring: int, patches: int, channels: int, stages: int, rounds: int,
    with_faiss: bool, with_scaling: bool, with_service: bool, with_lines: bool, with_nearest: bool,
    output: Path | None, json_path: Path | None, with_profile: bool,
) -> None:  # fmt: skip
    """Measure mutual scoring: batch, online, bytes, scaling; and the whole service around it."""
    if context.invoked_subcommand is not None:
        return
    shape = Shape(stages, patches, channels)

    def measure(say: Callable[[str], None]) -> dict[str, Any]:
        patch_tokens = tokens(shape, images)
        document: dict[str, Any] = {"machine": machine(), "shape": asdict(shape)}
        document["batch"] = batch.measure(patch_tokens, shape, rounds=rounds, with_faiss=with_faiss, say=say)
        document["online"] = online.measure(
            patch_tokens, shape, ring=ring, repeats=rounds, with_faiss=with_faiss, say=say
        )
        if with_scaling:
            document["scaling"] = online.scaling(shape, largest_ring=ring, repeats=rounds, say=say)
        if with_nearest:
            document["nearest"] = options.nearest(shape, repeats=rounds, say=say)
            document["tiles"] = options.tiles(shape, repeats=rounds, say=say)
        if with_service:
            document["service"] = service.measure(ring=ring, frames=_FRAMES, with_lines=with_lines, say=say)
        if with_profile:
            path = (output or Path()) / "profile.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(profile.report(patch_tokens, shape, min(ring, images), say), encoding="utf-8")
        return document

    _run(measure, output, json_path)


@main.command("service")
@click.option("--ring", type=click.IntRange(min=8), default=200, show_default=True)
@click.option(
    "--frames",
    type=click.IntRange(min=10),
    default=_FRAMES,
    show_default=True,
    help="Measured frames.",
)
@_LINES
@click.option(
    "--output", type=click.Path(path_type=Path), default=None, help="Folder for speed.md, speed.json."
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), default=None, help="Where the JSON goes."
)
def service_alone(
    ring: int, frames: int, with_lines: bool, output: Path | None, json_path: Path | None
) -> None:
    """Frames a second of a real server process, against the backbone alone."""

    def measure(say: Callable[[str], None]) -> dict[str, Any]:
        found = {"machine": machine(), "shape": asdict(Shape())}
        return {**found, "service": service.measure(ring=ring, frames=frames, with_lines=with_lines, say=say)}

    _run(measure, output, json_path)


def _run(
    measure: Callable[[Callable[[str], None]], dict[str, Any]], output: Path | None, json_path: Path | None
) -> None:
    console = Console()
    with console.status("starting") as status:
        document = measure(status.update)
    page = report.markdown(document)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "speed.md").write_text(page, encoding="utf-8")
    for path in (json_path, output / "speed.json" if output is not None else None):
        if path is not None:
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(Markdown(page))


main.add_command(metrics.main, "metrics")
