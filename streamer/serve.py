"""`python -m streamer.serve --config YAML`: the detector as a service."""

import sys
from pathlib import Path

import click

from streamer.errors import StreamerError
from streamer.server.main import serve


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), help="YAML; without it, all defaults.")
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="Write the bound endpoints here, as JSON, once up."
)
def main(path: Path | None, ready_file: Path | None) -> None:
    """Score the frames that come in over ZeroMQ and publish the scores, until SIGTERM or Ctrl-C.

    What was accepted is scored and published before exit.
    """
    try:
        serve(path, ready_file)
    except (StreamerError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
