"""`python -m bench.load`: N publishers at a rate against a real server; verdict: none lost, none twice."""

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from bench.commands import Command
from bench.load.drive import Observed, drive
from bench.load.figures import compare, judged
from bench.load.plan import KINDS, Plan, interleaved
from bench.load.settings import cluster, given, settings
from bench.load.show import show
from streamer.commands import examples
from streamer.config_option import ConfigFile
from streamer.process import ServerError, ServerProcess


def _kills(kind: str, *names: str) -> Any:
    return click.option(
        *names, f"--kill-{kind}", f"kill_{kind}", type=click.IntRange(0), default=0, metavar="N",
        help=f"kill -9 a {KINDS[kind]} so often meanwhile.",
    )  # fmt: skip


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online load --publishers 3 --fps 8 --seconds 45",
        "musc-online load --reliable --kill 3",
        "musc-online load --engine ray --streams 4 --kill-line 3 --kill-gate 1 --reliable --compare",
        "musc-online load --connect ready.json --reliable",
    ),
)
@click.option(
    "--publishers", "--streams", type=click.IntRange(1), default=2, help="Processes, one stream each."
)
@click.option("--fps", type=click.FloatRange(0, min_open=True), default=5.0, help="Frames a second of each.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=20.0, help="How long each sends.")
@click.option("--size", type=click.IntRange(8), default=256, help="Side of a frame in pixels.")
@click.option("--reliable", is_flag=True, help="Acknowledged frames: none may be lost.")
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), help="The server's; else its configuration says."
)
@_kills("gate", "--kill")
@_kills("line")
@_kills("backbone")
@_kills("shard")
@_kills("node")
@click.option(
    "--compare", "compare_with", type=click.Choice(["local", "ray"]), is_flag=False, flag_value="local",
    help="Then the same frames without a kill, by this engine (local): are all scores equal, bit for bit? "
    "With --kill-gate a camera has one frame under way at a time, or their order would be another.",
)  # fmt: skip
@click.option(
    "--config",
    "path",
    type=ConfigFile(),
    help="Of the server that is started; default ports and history are replaced.",
)
@click.option(
    "--connect", help="A running server instead: its --ready-file, or frames=tcp://...,scores=...,control=..."
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
def main(
    publishers: int,
    fps: float,
    seconds: float,
    size: int,
    reliable: bool,
    engine: str | None,
    compare_with: str | None,
    path: Path | None,
    connect: str | None,
    json_path: Path | None,
    **kills: int,
) -> None:
    """Drive a detector with several cameras: is any frame lost?

    Kills come at even parts of the frames acknowledged, one kind after the other, each once what was killed
    before is replaced and its streams go on.

    Exit status: 0 if every frame is accounted for (and, with --reliable, none lost and none scored twice,
    with --compare no score another), 1 if not, 2 if an option or the server cannot be used.
    """
    order = interleaved({name.removeprefix("kill_"): count for name, count in kills.items()})
    plan = Plan(publishers, fps, seconds, size, reliable, order, engine, compared=compare_with is not None)
    figures = measure(plan, path, connect, compare_with)
    show(figures)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    sys.exit(0 if figures["holds"] else 1)


def measure(
    plan: Plan, config: Path | None = None, connect: str | None = None, compare_with: str | None = None
) -> dict[str, Any]:
    """Run the load and judge it.

    Args:
        plan: what to do.
        config: of the server started; None is all defaults.
        connect: where a running server is instead.
        compare_with: engine of a second run, without kills, whose scores are to be the same; None for none.

    Raises:
        ServerError: a server that does not come up, or cannot be used for this.
        StreamerError: a running server that cannot be reached.
    """
    if plan.kills and (connect is not None or not plan.reliable):
        raise ServerError("--kill: needs --reliable and a server of its own (no --connect)")
    if plan.compared and not plan.reliable:
        raise ServerError("--compare: needs --reliable; of other frames some may be dropped")
    if connect is not None:
        return _of_running(plan, connect)
    seen = _run(plan, config)
    figures = judged(plan, seen)
    if compare_with is not None:
        compare(figures, seen, _run(plan.undisturbed(compare_with), config), compare_with)
    return figures


def _run(plan: Plan, config: Path | None) -> Observed:
    """The load on a server of our own."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="musc-load-")))
        values, nodes = settings(plan, config, folder), None
        if "node" in plan.kills:
            nodes = held.enter_context(cluster(values, plan, folder / "ray"))
        server = held.enter_context(ServerProcess(folder, values))
        return drive(plan, server.endpoints, server, nodes)


def _of_running(plan: Plan, connect: str) -> dict[str, Any]:
    endpoints = given(connect)
    wanted = ("reliable" if plan.reliable else "frames", "scores", "control")
    missing = [name for name in wanted if name not in endpoints]
    if missing:
        raise ServerError(f"--connect: no endpoint '{missing[0]}' was given; expected {', '.join(wanted)}")
    if plan.engine is not None or plan.compared:
        raise ServerError("--engine, --compare: need a server of their own (no --connect)")
    return judged(plan, drive(plan, endpoints, None))
