"""`python -m streamer.serve --config YAML`: the detector as a service."""

from pathlib import Path

import click

from streamer.commands import Command


@click.command(cls=Command)
@click.option("--config", "path", type=click.Path(path_type=Path), help="YAML; without it, all defaults.")
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="Write the bound endpoints here, as JSON, once up."
)
def main(path: Path | None, ready_file: Path | None) -> None:
    """Score the frames that come in over ZeroMQ and publish the scores, until SIGTERM or Ctrl-C.

    What was accepted is scored and published before exit.
    """
    from streamer.server.main import serve  # noqa: PLC0415  (slow: a wrong option is told before)

    serve(path, ready_file)


if __name__ == "__main__":
    main()
