"""`python -m bench.speed`: published recipe, faiss and gemm on the same tokens, in one run."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown

from bench.commands import Group, check_writable
from streamer.commands import examples

_FRAMES = 60
_LINES = click.option(
    "--lines/--no-lines",
    "with_lines",
    default=True,
    help="The service also as configs/line.yaml, at 224 and 448 px, with the fastest backbone.",
)

_OUTPUT = click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for speed.md, speed.json."
)
_JSON = click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "musc-online speed --no-faiss --rounds 2 --output speed",
        "musc-online speed service --frames 40",
        "musc-online speed metrics",
        "musc-online speed engine --json engine.json",
    ),
)
@click.option("--images", type=click.IntRange(min=5), default=60, help="Images of the batch.")
@click.option("--ring", type=click.IntRange(min=2), default=200, help="Images in the ring, online.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, help="Repeats of each, interleaved.")
@click.option("--faiss/--no-faiss", "with_faiss", default=True, help="Batch and online by faiss, too.")
@click.option("--scaling/--no-scaling", "with_scaling", default=True, help="Online at several rings, too.")
@click.option("--service/--no-service", "with_service", default=True, help="A real server process, too.")
@_LINES
@click.option(
    "--nearest/--no-nearest", "with_nearest", default=True,
    help="Steps with nearest: 32 into rings of 200 and 2,000, and tiles, too.",
)  # fmt: skip
@click.option("--patches", default=256, help="Patches an image: a square number.")
@click.option("--channels", default=384, help="Numbers a patch and stage.")
@click.option("--stages", default=4, help="Stages of the backbone.")
@_OUTPUT
@_JSON
@click.option(
    "--profile", "with_profile", is_flag=True,
    help="Also write where the time goes: profile.txt in --output, or here.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local",
    help="ray: instead of all this, what `speed engine` measures.",
)  # fmt: skip
@click.pass_context
def main(
    context: click.Context, images: int, ring: int, patches: int, channels: int, stages: int, rounds: int,
    with_faiss: bool, with_scaling: bool, with_service: bool, with_lines: bool, with_nearest: bool,
    output: Path | None, json_path: Path | None, with_profile: bool, engine: str,
) -> None:  # fmt: skip
    """Measure speed: batch, online, scaling, and a whole service.

    The published recipe, faiss and the matrix product of this program on the same tokens, in one run.
    """
    if context.invoked_subcommand is not None:
        return
    if engine == "ray":
        context.invoke(engine_alone, ring=ring, output=output, json_path=json_path)
        return
    check_writable(output, json_path)
    # They import torch, which takes seconds: help, completion and a wrong option come before.
    from bench.speed import batch, online, options, profile, service  # noqa: PLC0415
    from bench.speed.setup import Shape, machine, tokens  # noqa: PLC0415

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


@main.command(
    "service",
    epilog=examples(
        "musc-online speed service --frames 40", "musc-online speed service --no-lines --ring 50"
    ),
)
@click.option("--ring", type=click.IntRange(min=8), default=200, help="Images in the ring.")
@click.option("--frames", type=click.IntRange(min=10), default=_FRAMES, help="Frames measured.")
@_LINES
@_OUTPUT
@_JSON
def service_alone(
    ring: int, frames: int, with_lines: bool, output: Path | None, json_path: Path | None
) -> None:
    """Frames a second of a real server process, against the backbone alone."""
    check_writable(output, json_path)
    from bench.speed import service  # noqa: PLC0415  (slow, as above)
    from bench.speed.setup import Shape, machine  # noqa: PLC0415

    def measure(say: Callable[[str], None]) -> dict[str, Any]:
        found = {"machine": machine(), "shape": asdict(Shape())}
        return {**found, "service": service.measure(ring=ring, frames=frames, with_lines=with_lines, say=say)}

    _run(measure, output, json_path)


@main.command(
    "engine",
    epilog=examples(
        "musc-online speed engine --json engine.json", "musc-online speed engine --frames 40 --actors 1,2"
    ),
)
@click.option("--ring", type=click.IntRange(min=8), default=200, help="Images in the ring.")
@click.option("--frames", type=click.IntRange(min=10), default=_FRAMES, help="Frames measured, each time.")
@click.option("--actors", default="1,2", help="Numbers of backbone actors.")
@_OUTPUT
@_JSON
def engine_alone(ring: int, frames: int, actors: str, output: Path | None, json_path: Path | None) -> None:
    """What the engine on Ray costs a frame, beside that of one process, and what more actors bring.

    `python -m bench.scale` plans a plant with what it writes.
    """
    numbers = actors.split(",")
    if not all(one.isdigit() and 0 < int(one) <= 64 for one in numbers):
        raise click.BadParameter(
            f"got '{actors}', expected numbers from 1 to 64, as 1,2", param_hint="--actors"
        )
    check_writable(output, json_path)
    from bench.speed import engine  # noqa: PLC0415  (slow, as above)
    from bench.speed.setup import Shape, machine  # noqa: PLC0415

    def measure(say: Callable[[str], None]) -> dict[str, Any]:
        found = {"machine": machine(), "shape": asdict(Shape())}
        actors = [int(one) for one in numbers]
        return {**found, "engine": engine.measure(ring=ring, frames=frames, actors=actors, say=say)}

    _run(measure, output, json_path)


def _run(
    measure: Callable[[Callable[[str], None]], dict[str, Any]], output: Path | None, json_path: Path | None
) -> None:
    from bench.speed import report  # noqa: PLC0415  (slow, as above)

    console = Console()
    with console.status("starting") as status:
        document = measure(status.update)
    page = report.markdown(document)
    if output is not None:
        (output / "speed.md").write_text(page, encoding="utf-8")
    for path in (json_path, output / "speed.json" if output is not None else None):
        if path is not None:
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(Markdown(page))


@main.command(
    "metrics",
    epilog=examples(
        "musc-online speed metrics",
        "musc-online speed metrics --images 160 --size 518 --json metrics.json",
    ),
)
@click.option("--images", default=160, type=click.IntRange(4), help="Maps, as many masks.")
@click.option("--size", default=518, type=click.IntRange(80), help="Their side, pixels.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Of the drawn masks and maps.")
@_JSON
def metrics_alone(images: int, size: int, seed: int, json_path: Path | None) -> None:
    """Compare the pixel metrics with scikit-learn plus the published PRO loop, in speed and in value."""
    check_writable(None, json_path)
    from bench.speed import metrics  # noqa: PLC0415  (slow, as above)

    result = metrics.run(images, size, seed)
    metrics.print_table(result, Console())
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
