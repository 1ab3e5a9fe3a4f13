"""`python -m streamer.serve --config YAML`: the detector as a service."""

from pathlib import Path

import click

from streamer.commands import Command, examples
from streamer.config_option import ConfigFile


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online serve",
        "musc-online config line > line.yaml",
        "musc-online serve --config line.yaml",
        "musc-online serve --config line.yaml --ready-file /run/musc/ready.json",
    ),
)
@click.option(
    "--config",
    "path",
    type=ConfigFile(),
    metavar="FILE",
    help="YAML, e.g. of `musc-online config line`; without it, all defaults.",
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the bound endpoints here, as JSON, once frames are accepted.",
)
def main(path: Path | None, ready_file: Path | None) -> None:
    """Score the frames that come in and publish the scores.

    Over ZeroMQ, until SIGTERM or Ctrl-C; what was accepted is scored and published before exit.

    Exit status: 0 ended in order, 1 a part of it died, 2 the configuration, weights or a port cannot be used.
    """
    from streamer.server.main import serve  # noqa: PLC0415  (slow: a wrong option is told before)

    serve(path, ready_file)


if __name__ == "__main__":
    main()
