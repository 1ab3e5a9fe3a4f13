"""`python -m bench.load`: N publishers at a rate against a real server; verdict: none lost, none twice."""

import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.commands import Command
from bench.load.drive import Observed, Plan, drive
from streamer.commands import examples
from streamer.config_option import ConfigFile
from streamer.printable import printable
from streamer.process import ANY_PORT, ServerError, ServerProcess


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online load --publishers 3 --fps 8 --seconds 45",
        "musc-online load --reliable --kill 3",
        "musc-online load --connect ready.json --reliable",
    ),
)
@click.option("--publishers", type=click.IntRange(1), default=2, help="Processes, one stream each.")
@click.option("--fps", type=click.FloatRange(0, min_open=True), default=5.0, help="Frames a second of each.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=20.0, help="How long each sends.")
@click.option("--size", type=click.IntRange(8), default=256, help="Side of a frame in pixels.")
@click.option("--reliable", is_flag=True, help="Acknowledged frames: none may be lost.")
@click.option(
    "--kill", "kills", type=click.IntRange(0), default=0, help="kill -9 the detector so often meanwhile."
)
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
    kills: int,
    path: Path | None,
    connect: str | None,
    json_path: Path | None,
) -> None:
    """Drive a detector with several cameras: is any frame lost?

    Exit status: 0 if every frame is accounted for (and, with --reliable, none lost and none scored twice),
    1 if not, 2 if an option or the server cannot be used.
    """
    plan = Plan(publishers, fps, seconds, size, reliable, kills)
    figures = measure(plan, path, connect)
    _show(figures)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    sys.exit(0 if figures["holds"] else 1)


def measure(plan: Plan, config: Path | None = None, connect: str | None = None) -> dict[str, Any]:
    """Run the load and judge it.

    Args:
        plan: what to do.
        config: of the server started; None is all defaults.
        connect: where a running server is instead.

    Raises:
        ServerError: a server that does not come up, or cannot be used for this.
        StreamerError: a running server that cannot be reached.
    """
    with ExitStack() as held:
        server = None
        if connect is None:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="musc-load-")))
            server = held.enter_context(ServerProcess(folder, _settings(plan, config, folder)))
            endpoints = server.endpoints
        else:
            endpoints = _given(connect)
        wanted = ("reliable" if plan.reliable else "frames", "scores", "control")
        missing = [name for name in wanted if name not in endpoints]
        if missing or (plan.kills and (server is None or not plan.reliable)):
            raise ServerError(
                f"--connect: no endpoint '{missing[0]}' was given; expected {', '.join(wanted)}"
                if missing
                else "--kill: needs --reliable and a server of its own (no --connect)"
            )
        return judged(plan, drive(plan, endpoints, server))


def judged(plan: Plan, seen: Observed) -> dict[str, Any]:
    """The figures of a run: counts, latencies, `checks` by name, and whether all of them hold.

    Args:
        plan: what was asked for.
        seen: what came of it.
    """
    sent, tallies, watch = seen.sent, seen.tallies, seen.watch
    total = {
        name: sum(tally[name] for tally in tallies.values()) for name in ("received", "scored", "queued")
    }
    dropped, refused = (
        sum(sum(tally[name].values()) for tally in tallies.values()) for name in ("dropped", "refused")
    )
    counts = [watch.scored(report["stream"]) for report in sent]
    n_sent = sum(report["sent"] for report in sent)
    n_scored = sum(map(len, counts))
    n_dropped = 0 if plan.reliable else sum(watch.dropped.values())
    lost = n_sent - n_scored - n_dropped
    twice = sum(sum(times > 1 for times in count.values()) for count in counts)
    checks = {
        "received = scored + dropped + refused + queued, nothing queued at the end": total["received"]
        == total["scored"] + dropped + refused
        and total["queued"] == 0,
        "no publisher failed": not any("error" in report for report in sent),
        "no frame scored twice": twice == 0,
        "every frame sent was scored or told as dropped": lost == 0,
        "the server was killed as often as asked": seen.kills == plan.kills,
    }
    if not plan.reliable:  # there, frames sent again and restarts make the server's own counters differ
        checks["the server received what was sent"] = total["received"] == n_sent
        checks["the server counted the scores and drops it published"] = (
            total["scored"],
            dropped,
        ) == (n_scored, n_dropped)
    return {
        "publishers": plan.publishers,
        "fps": plan.fps,
        "reliable": plan.reliable,
        "kills": seen.kills,
        "seconds": round(seen.seconds, 2),
        "sent": n_sent,
        "scored": n_scored,
        "scored_twice": twice,
        "dropped": n_dropped,
        "lost": lost,
        "resent": sum(report.get("resent", 0) for report in sent),
        "fetched_from_history": watch.fetched,
        "scored_per_s": round(n_scored / seen.seconds, 2),
        "late_s": round(max(report["late_s"] for report in sent), 2),
        "latency_ms": _quantiles(watch.latencies_ms),
        "server": {**total, "dropped": dropped, "refused": refused},
        "publisher_errors": [report["error"] for report in sent if "error" in report],
        "checks": checks,
        "holds": all(checks.values()),
    }


def _settings(plan: Plan, path: Path | None, folder: Path) -> dict[str, Any]:
    from musc_online import config as configuration  # noqa: PLC0415  (help does without)

    values = configuration.load(path).model_dump(mode="json")
    values["transport"] |= {"frames": ANY_PORT, "scores": ANY_PORT, "control": ANY_PORT, "imagezmq": None}
    values["transport"] |= {
        "reliable": ANY_PORT,
        "imagezmq_subscribe": [],
        "subscriber_queue": 1_000_000,
        "heartbeat_s": 0.5,
    }
    messages = 20 * plan.frames + 10_000
    values["history"] |= {
        "path": str(folder / "history.sqlite"),
        "max_messages": messages,
        "max_bytes": 8 * 2**30,
    }
    values["snapshot"] |= {"path": str(folder / "snapshots"), "every_s": max(1.0, plan.seconds / 20)}
    values["metrics"]["endpoint"] = None
    values["limits"]["streams"] = max(values["limits"]["streams"], plan.publishers)
    return values


def _given(connect: str) -> dict[str, str]:
    path = Path(connect)
    if "=" not in connect:
        try:
            endpoints: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["endpoints"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ServerError(
                f"--connect: got '{connect}', expected a --ready-file of musc-online serve, "
                "or name=endpoint,..."
            ) from None
        return endpoints
    parts = [entry.partition("=") for entry in connect.split(",")]
    return {name.strip(): where.strip() for name, _, where in parts}


def _show(figures: Mapping[str, Any]) -> None:
    table = Table(title="load")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name in ("publishers", "fps", "seconds", "sent", "scored", "dropped", "lost", "scored_twice", "kills",
                 "resent", "fetched_from_history", "scored_per_s", "late_s"):  # fmt: skip
        table.add_row(name.replace("_", " "), str(figures[name]))
    for name, value in figures["latency_ms"].items():
        table.add_row(f"latency {name}", "-" if value is None else f"{value} ms")
    console = Console()
    console.print(table)
    server = ", ".join(f"{name} {value}" for name, value in figures["server"].items())
    console.print(f"server: {server}", markup=False)
    for check, holds in figures["checks"].items():
        console.print(f"{'[green]holds[/green]' if holds else '[red]FAILS[/red]'}  {check}")
    for error in figures["publisher_errors"]:
        console.print(printable(f"publisher: {error}"), markup=False)


def _quantiles(values: list[float]) -> dict[str, float | None]:
    wanted = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    if not values:
        return dict.fromkeys(wanted)
    return {name: round(float(np.percentile(values, percent)), 1) for name, percent in wanted.items()}
