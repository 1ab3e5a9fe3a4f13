"""The figures of a load run for a person."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from streamer.printable import printable


def show(figures: Mapping[str, Any]) -> None:
    """Print the figures of `bench.load.figures.judged`."""
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
    if figures["kills"]:
        console.print(_kills(figures))
    server = ", ".join(f"{name} {value}" for name, value in figures["server"].items())
    console.print(f"server: {server}", markup=False)
    if "compared" in figures:
        compared = figures["compared"]
        console.print(
            f"{compared['different']} of {compared['frames']} scores differ from those of engine "
            f"{compared['engine']} without kills",
            markup=False,
        )
    for check, holds in figures["checks"].items():
        console.print(f"{'[green]holds[/green]' if holds else '[red]FAILS[/red]'}  {check}")
    for error in figures["publisher_errors"]:
        console.print(printable(f"publisher: {error}"), markup=False)


def _kills(figures: Mapping[str, Any]) -> Table:
    """How long each kind of kill was felt."""
    table = Table(title="kills")
    for name in ("what", "kills", "p50 s", "p95 s", "max s"):
        table.add_column(name, justify="left" if name == "what" else "right")
    killed = [kill["kind"] for kill in figures["killed"]]
    for kind, found in figures["without_ack_s"].items():
        count = len(killed) if kind == "all" else killed.count(kind)
        table.add_row(f"without an ack: {kind}", str(count), *map(_told, _three(found)))
    told = [value for kill in figures["killed"] for value in kill["recoveries_s"]]
    table.add_row("recovery, by the status", str(len(told)), *map(_told, _three(figures["recovery_s"])))
    return table


def _three(found: Mapping[str, float | None]) -> list[float | None]:
    return [found[name] for name in ("p50", "p95", "max")]


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
