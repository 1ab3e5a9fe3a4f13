"""`python -m streamer.serve --config YAML`: the detector as a service."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamer.commands import Command, examples
from streamer.config_option import ConfigFile

if TYPE_CHECKING:
    from streamer.cluster.begun import Begun
    from streamer.server.main import Config


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online serve",
        "musc-online config line > line.yaml",
        "musc-online serve --config line.yaml --ready-file /run/musc/ready.json",
        "musc-online serve --config line.yaml --engine ray",
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
@click.option(
    "--engine",
    "name",
    type=click.Choice(["local", "ray"]),
    help="Threads of one process, or actors on a Ray cluster (docs/scale.md); over `engine.name`.",
)
def main(path: Path | None, ready_file: Path | None, name: str | None) -> None:
    """Score the frames that come in and publish the scores.

    Over ZeroMQ, until SIGTERM or Ctrl-C; what was accepted is scored and published before exit.

    Exit status: 0 ended in order, 1 a part of it died, 2 the configuration, weights or a port cannot be used.
    """
    from streamer.server.main import serve  # noqa: PLC0415  (slow: a wrong option is told before)

    serve(path, ready_file, name, {"ray": _on_ray})


def _on_ray(config: "Config") -> "Begun":
    from streamer.cluster.begun import Begun  # noqa: PLC0415  (an extra)

    return Begun(config)


if __name__ == "__main__":
    main()
