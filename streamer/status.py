"""`python -m streamer.status`: how a detector is, as a table and as an exit code a supervisor can use."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from streamer.ask import ask
from streamer.auth import client_keys
from streamer.errors import StreamerError
from streamer.sockets import CONTROL

DEGRADED = 1
DOWN = 2


@click.command()
@click.option("--endpoint", default=CONTROL, show_default=True, help="The detector's transport.control.")
@click.option("--json", "as_json", is_flag=True, help="The whole answer as JSON.")
@click.option("--timeout", "timeout_s", default=5.0, show_default=True, help="Seconds to wait for an answer.")
@click.option("--key", type=click.Path(path_type=Path), default=None, help="This peer's .key_secret (CURVE).")
@click.option(
    "--server-key", type=click.Path(path_type=Path), default=None, help="The detector's server.key."
)
def main(endpoint: str, as_json: bool, timeout_s: float, key: Path | None, server_key: Path | None) -> None:
    """Ask a detector how it is. Exit status: 0 well, 1 degraded, 2 no answer."""
    try:
        status = ask({"kind": "status"}, endpoint, keys=client_keys(key, server_key), timeout_s=timeout_s)
    except StreamerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(DOWN)
    if as_json:
        click.echo(json.dumps(status))
    else:
        _show(status)
    sys.exit(DEGRADED if status["state"] == "degraded" else 0)


def _show(status: dict[str, Any]) -> None:
    console = Console()
    console.print(f"{status['state']}, up {status['uptime_s']:.0f} s, {status['model_id']}", highlight=False)
    table = Table()
    columns = ("stream", "state", "ring", "received", "scored", "dropped", "refused", "queued", "threshold")
    for name in columns:
        table.add_column(name, justify="left" if name in {"stream", "state"} else "right")
    for name, stream in status["streams"].items():
        threshold = stream.get("threshold")
        table.add_row(
            name,
            stream.get("state", "-"),
            f"{stream['images']}/{stream['capacity']}" if "images" in stream else "-",
            str(stream["received"]),
            str(stream["scored"]),
            _reasons(stream["dropped"]),
            _reasons(stream["refused"]),
            str(stream["queued"]),
            "-" if threshold is None else f"{threshold:.4f}",
        )
    console.print(table)


def _reasons(counts: dict[str, int]) -> str:
    return "\n".join(f"{count} {reason}" for reason, count in counts.items()) or "0"


if __name__ == "__main__":
    main()
