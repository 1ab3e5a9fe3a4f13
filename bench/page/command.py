"""`python -m bench.page`: ten scores a second, a real page, a real browser; or pictures of every page."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench.commands import Command, check_writable
from bench.page.browser import find
from streamer.commands import examples
from streamer.printable import printable


@click.command(
    cls=Command,
    epilog=examples(
        "python -m bench.page --minutes 10",
        "python -m bench.page --screenshots pictures",
    ),
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=10.0,
    help="How long frames come; the heap's trend needs eight.",
)  # fmt: skip
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    help="Frames a second.",
)
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
@click.option(
    "--screenshots", type=click.Path(file_okay=False, path_type=Path),
    help="Instead: draw a line, and save every page in both themes and at two widths in this folder.",
)  # fmt: skip
def main(minutes: float, rate: float, json_path: Path | None, screenshots: Path | None) -> None:
    """Look at the live page while frames come, and hold it to its bars.

    Exit status: 0 if every bar holds, 1 if one is missed, 2 without a browser or if a process does not start.
    """
    find()
    check_writable(screenshots, json_path)
    if screenshots is not None:
        from bench.page import pictures  # noqa: PLC0415

        for path in pictures.take(screenshots):
            click.echo(printable(path))
        return
    from bench.page.measure import Plan, measure  # noqa: PLC0415  (they take seconds to import)
    from bench.page.verdict import judged  # noqa: PLC0415

    plan = Plan(minutes, rate)
    figures = judged(plan, measure(plan))
    show(figures)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    sys.exit(0 if figures["holds"] else 1)


def show(figures: Mapping[str, Any]) -> None:
    """Print the figures of `bench.page.verdict.judged` for a person."""
    table = Table(title="the live page")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for what, value in _rows(figures):
        table.add_row(what, value)
    console = Console()
    console.print(table)
    for check, holds in figures["checks"].items():
        console.print(f"{'[green]holds[/green]' if holds else '[red]FAILS[/red]'}  {check}")
    for line in figures["console"]:
        console.print(printable(f"console: {line}"), markup=False)


def _rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    load, heap, process, alarms = (figures[name] for name in ("load", "heap", "process", "alarms"))
    rows = [("frames sent, scored", f"{figures['sent']}, {figures['scored']}")]
    for what, delays in figures["shown"].items():
        times = " / ".join("-" if delays[name] is None else f"{delays[name]:g}"
                           for name in ("p50_ms", "p95_ms", "max_ms"))  # fmt: skip
        rows.append((f"{what} painted, p50 / p95 / max", f"{times} ms ({delays['frames']} frames)"))
    trend = "too short to tell" if heap["mib_per_8_h"] is None else f"{heap['mib_per_8_h']:+g} MiB in 8 h"
    first_paint = "-" if load["first_paint_ms"] is None else f"{load['first_paint_ms']:.0f} ms"
    return [
        *rows,
        ("alarms raised, not shown", f"{alarms['raised']}, {len(alarms['not_shown'])}"),
        ("anomalous frames, no alarm", f"{alarms['anomalous_frames']}, {len(alarms['frames_without'])}"),
        ("heap first / max / last", f"{heap['first_mib']} / {heap['max_mib']} / {heap['last_mib']} MiB"),
        ("heap, trend", trend),
        ("DOM nodes first / max / last", " / ".join(map(str, heap["nodes"]))),
        ("page's process, memory", f"{process['rss_max_mib']} MiB at most"),
        ("page's process, of a core", f"{process['cpu_per_cent']} %"),
        ("first paint", first_paint),
        ("first load", f"{load['bytes'] / 1000:.0f} kB in {load['files']:.0f} files"),
        ("first load with data", f"{load['with_data_bytes'] / 1000:.0f} kB"),
    ]
