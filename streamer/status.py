"""`python -m streamer.status`: how a detector is, as a table and as an exit code a supervisor can use."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamer.ask import ask
from streamer.auth import client_keys
from streamer.commands import Command
from streamer.printable import printable
from streamer.sockets import CONTROL

DEGRADED = 1
_NAMES = frozenset({"stream", "last frame", "source"})
_LEAST = 8
"""Columns of a terminal that a name has at least."""
_WORDS = _NAMES | {"state", "verdict", "scored at", "camera", "since"}


@click.command(cls=Command)
@click.option("--endpoint", default=CONTROL, show_default=True, help="The detector's transport.control.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer as JSON.")
@click.option("--timeout", "timeout_s", default=5.0, show_default=True, help="Seconds to wait for an answer.")
@click.option("--key", type=click.Path(path_type=Path), default=None, help="This peer's .key_secret (CURVE).")
@click.option(
    "--server-key", type=click.Path(path_type=Path), default=None, help="The detector's server.key."
)
def main(endpoint: str, as_json: bool, timeout_s: float, key: Path | None, server_key: Path | None) -> int:
    """Ask a detector how it is. Exit status: 0 well, 1 degraded, 2 no answer."""
    status = ask({"kind": "status"}, endpoint, keys=client_keys(key, server_key), timeout_s=timeout_s)
    if as_json:
        click.echo(json.dumps(status))
    else:
        _show(status)
    return DEGRADED if status["state"] == "degraded" else 0


def _show(status: dict[str, Any]) -> None:
    console = Console()
    model = f"{status['model_id']} in {status['precision']}"
    console.print(Text(printable(f"{status['state']}, up {status['uptime_s']:.0f} s, {model}")))
    streams = status["streams"]
    console.print(_frames(streams))
    console.print()
    console.print(_verdicts(streams))
    console.print()
    console.print(_timing(streams))
    sources = {name: stream.get("source") for name, stream in streams.items()} | status.get("sources", {})
    if any(sources.values()):
        console.print()
        console.print(_sources(sources))
    for line in _reasons(streams):
        console.print(line, highlight=False)


def _frames(streams: Mapping[str, Mapping[str, Any]]) -> Table:
    """What became of each stream's frames."""
    table = _table("stream", "state", "ring", "received", "scored", "dropped", "refused", "queued")
    for name, stream in streams.items():
        table.add_row(
            Text(printable(name)),
            Text(printable(stream.get("state", "-"))),
            f"{stream['images']}/{stream['capacity']}" if "images" in stream else "-",
            _count(stream["received"]),
            _count(stream["scored"]),
            _count(sum(stream["dropped"].values())),
            _count(sum(stream["refused"].values())),
            _count(stream["queued"]),
        )
    return table


def _verdicts(streams: Mapping[str, Mapping[str, Any]]) -> Table:
    """What was said of them; a detector of before does not know how many were anomalous, nor the last one."""
    table = _table("stream", "anomalous", "threshold", "last frame", "verdict", "scored at")
    for name, stream in streams.items():
        threshold, last = stream.get("threshold"), stream.get("last_frame")
        table.add_row(
            Text(printable(name)),
            _count(stream.get("anomalous")),
            "-" if threshold is None else f"{threshold:.4f}" if threshold < 100 else _number(threshold),
            *(("-", "-", "-") if last is None else _last(last)),
        )
    return table


def _last(frame: Mapping[str, Any]) -> tuple[Text, str, str]:
    verdict = {None: "-", True: "anomalous", False: "normal"}[frame["pred_label"]]
    return Text(printable(frame["frame_id"])), verdict, _moment(frame["scored_ns"])


def _timing(streams: Mapping[str, Mapping[str, Any]]) -> Table:
    """How long scores took from the capture on; a detector of before does not know."""
    table = _table("stream", "late", "scores", "p50 ms", "p95 ms", "p99 ms")
    for name, stream in streams.items():
        spent = stream.get("latency_ms") or {}
        table.add_row(
            Text(printable(name)),
            _count(stream.get("late")),
            _count(spent.get("n")),
            *(_number(spent.get(key)) for key in ("p50", "p95", "p99")),
        )
    return table


def _sources(sources: Mapping[str, Mapping[str, Any] | None]) -> Table:
    """How each camera is, as its publisher says; some have had no frame yet."""
    table = _table("stream", "camera", "since", "fps", "age ms", "lost", "source")
    for name, source in sources.items():
        if source is None:
            continue
        fps, counts = source.get("fps"), source.get("counts", {})
        table.add_row(
            Text(printable(name)),
            Text(printable(source["state"])),
            _moment(source["since_ns"]),
            "-" if fps is None else f"{fps:.1f}" if fps < 10_000 else _number(fps),
            _number(source.get("age_ms")),
            _count(counts.get("packets_lost")),
            Text(printable(source.get("source", ""))),
        )
    return table


def _count(value: int | None) -> str:
    """Whole, up to a thousand million: no camera's count may leave the names no room."""
    return "-" if value is None else str(value) if value < 10**9 else f"{value:.2e}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value < 1e6 else f"{value:.1e}"


def _moment(since_1970_ns: int) -> str:
    try:
        return f"{datetime.fromtimestamp(since_1970_ns / 1e9, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # a camera host's clock may say anything
        return "-"


def _reasons(streams: Mapping[str, Mapping[str, Any]]) -> Iterator[Text]:
    """Why frames were dropped and refused, a line a stream that lost some."""
    for name, stream in streams.items():
        told = [
            f"{count} {what} ({reason})"
            for what in ("dropped", "refused")
            for reason, count in stream[what].items()
        ]
        if told:
            yield Text(printable(f"{name}: {', '.join(told)}"))


def _table(*columns: str) -> Table:
    """Names fold where a line is too short, and keep some room; numbers are whole, in 80 columns too."""
    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, collapse_padding=True)
    for name in columns:
        side: Literal["left", "right"] = "left" if name in _WORDS else "right"
        room = _LEAST if name in _NAMES else None
        table.add_column(name, justify=side, overflow="fold", no_wrap=room is None, min_width=room)
    return table


if __name__ == "__main__":
    main()
