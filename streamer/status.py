"""`python -m streamer.status`: how a detector is, as a table and as an exit code a supervisor can use."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from streamer.ask import ask
from streamer.auth import client_keys
from streamer.columns import Column, laid_out, wrapped
from streamer.commands import Command, examples
from streamer.printable import printable
from streamer.sockets import CONTROL

DEGRADED = 1


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online status",
        "musc-online status --endpoint tcp://detector:5557 --timeout 2",
        "musc-online status --json",
    ),
)
@click.option("--endpoint", default=CONTROL, help="The detector's transport.control.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer as JSON.")
@click.option("--timeout", "timeout_s", default=5.0, help="Seconds to wait for an answer.")
@click.option("--key", type=click.Path(path_type=Path), default=None, help="This peer's .key_secret (CURVE).")
@click.option(
    "--server-key", type=click.Path(path_type=Path), default=None, help="The detector's server.key."
)
def main(endpoint: str, as_json: bool, timeout_s: float, key: Path | None, server_key: Path | None) -> int:
    """Ask a detector how it is.

    Tables of its streams: their frames, verdicts, times and cameras. What does not fit into the terminal as a
    table is a list; no number is cut, and no id broken.

    Exit status: 0 well, 1 degraded, 2 no answer.
    """
    status = ask({"kind": "status"}, endpoint, keys=client_keys(key, server_key), timeout_s=timeout_s)
    if as_json:
        click.echo(json.dumps(status))
    else:
        _show(status)
    return DEGRADED if status["state"] == "degraded" else 0


def _show(status: Mapping[str, Any]) -> None:
    console = Console()
    model = f"{status['model_id']} in {status['precision']}"
    head = Text(printable(f"{status['state']}, up {status['uptime_s']:.0f} s, {model}"))
    console.print(wrapped(head, console.width), soft_wrap=True)
    for line in _cluster(status.get("engine") or {}):
        console.print(wrapped(line, console.width), highlight=False, soft_wrap=True)
    streams = status["streams"]
    sources = {name: stream.get("source") for name, stream in streams.items()} | status.get("sources", {})
    tables = [(_FRAMES, _frames(streams)), (_VERDICTS, _verdicts(streams)), (_TIMING, _timing(streams))]
    if any(sources.values()):
        tables.append((_SOURCES, _sources(sources)))
    for number, (columns, rows) in enumerate(tables):
        if number:
            console.print()
        laid = laid_out(columns, rows, console.width)
        console.print(laid, soft_wrap=isinstance(laid, Text))  # an id is never broken
    for line in _reasons(streams):
        console.print(wrapped(line, console.width), highlight=False, soft_wrap=True)


_STREAM = Column("stream", "id")
_FRAMES = (
    _STREAM,
    Column("state", "word"),
    *map(Column, ("ring", "received", "scored", "dropped", "refused", "queued")),
)
_VERDICTS = (
    _STREAM,
    Column("anomalous"),
    Column("threshold"),
    Column("last frame", "id"),
    Column("verdict", "word"),
    Column("scored at", "word"),
)
_TIMING = (_STREAM, *map(Column, ("late", "scores", "p50 ms", "p95 ms", "p99 ms")))
_SOURCES = (
    _STREAM,
    Column("camera", "word"),
    Column("since", "word"),
    *map(Column, ("fps", "age ms", "lost")),
    Column("source", "text"),
)
Rows = list[tuple[str, ...]]


def _frames(streams: Mapping[str, Mapping[str, Any]]) -> Rows:
    """What became of each stream's frames."""
    return [
        (
            name,
            stream.get("state") or "-",
            f"{stream['images']}/{stream['capacity']}" if "images" in stream else "-",
            _count(stream.get("received")),
            _count(stream.get("scored")),
            _count(sum((stream.get("dropped") or {}).values())),
            _count(sum((stream.get("refused") or {}).values())),
            _count(stream.get("queued")),
        )
        for name, stream in streams.items()
    ]


def _verdicts(streams: Mapping[str, Mapping[str, Any]]) -> Rows:
    """What was said of them; a detector of before does not know how many were anomalous, nor the last one."""
    rows: Rows = []
    for name, stream in streams.items():
        threshold, last = stream.get("threshold"), stream.get("last_frame")
        rows.append(
            (
                name,
                _count(stream.get("anomalous")),
                "-"
                if threshold is None
                else f"{threshold:.4f}"
                if abs(threshold) < 100
                else _number(threshold),
                *(("-", "-", "-") if last is None else _last(last)),
            )
        )
    return rows


def _last(frame: Mapping[str, Any]) -> tuple[str, str, str]:
    verdict = {None: "-", True: "anomalous", False: "normal"}[frame["pred_label"]]
    return str(frame["frame_id"]), verdict, _moment(frame["scored_ns"])


def _timing(streams: Mapping[str, Mapping[str, Any]]) -> Rows:
    """How long scores took from the capture on; a detector of before does not know."""
    rows: Rows = []
    for name, stream in streams.items():
        spent = stream.get("latency_ms") or {}
        times = (_number(spent.get(key)) for key in ("p50", "p95", "p99"))
        rows.append((name, _count(stream.get("late")), _count(spent.get("n")), *times))
    return rows


def _sources(sources: Mapping[str, Mapping[str, Any] | None]) -> Rows:
    """How each camera is, as its publisher says; some have had no frame yet."""
    rows: Rows = []
    for name, source in sources.items():
        if source is None:
            continue
        fps, counts = source.get("fps"), source.get("counts") or {}
        rows.append(
            (
                name,
                source["state"],
                _moment(source["since_ns"]),
                "-" if fps is None else f"{fps:.1f}" if fps < 10_000 else _number(fps),
                _number(source.get("age_ms")),
                _count(counts.get("packets_lost")),
                source.get("source") or "",
            )
        )
    return rows


def _cluster(engine: Mapping[str, Any]) -> Iterator[Text]:
    """The nodes of a Ray cluster, a line each, and what each has."""
    for node in engine.get("nodes") or ():
        how = "gone" if not node["alive"] else "draining" if node["draining"] else "up"
        has = f"{_several(node['lines'], 'line')}, {_several(node['backbones'], 'backbone')}"
        yield Text(printable(f"node {node['id']} ({node['address']}): {how}, {has}"))


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if abs(value) < 1e6 else f"{value:.1e}"


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
            for reason, count in (stream.get(what) or {}).items()
        ]
        if told:
            yield Text(printable(f"{name}: {', '.join(told)}"))


if __name__ == "__main__":
    main()
