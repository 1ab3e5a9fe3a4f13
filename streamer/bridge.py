"""`python -m streamer.bridge NAME`: what a detector says, handed on to a system of the plant."""

from pathlib import Path

import click

from streamer.commands import Command, examples
from streamer.config_option import ConfigFile
from streamer.errors import StreamerError
from streamer.extras import extra_of, extra_of_bridge, not_installed
from streamer.shipped import shipped


def _known(_context: click.Context, _argument: click.Parameter, typed: str) -> list[str]:
    """Names that begin so: of those that a configuration is shipped for."""
    names = (name.removeprefix("bridge-") for name in shipped() if name.startswith("bridge-"))
    return [name for name in names if name.startswith(typed)]


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online config bridge-mqtt > mqtt.yaml",
        "musc-online bridge mqtt --config mqtt.yaml",
        "musc-online bridge mqtt --config mqtt.yaml --dead",
    ),
)
@click.argument("name", shell_complete=_known)
@click.option(
    "--config",
    "path",
    type=ConfigFile(),
    metavar="FILE",
    required=True,
    help="YAML, e.g. of `musc-online config bridge-mqtt`.",
)
@click.option("--ready-file", type=click.Path(path_type=Path), help="Write a word here, as JSON, once up.")
@click.option("--dead", is_flag=True, help="List what the receiver refused for good, as JSON lines, and end.")
@click.option("--redeliver", is_flag=True, help="Put what was refused back into the queue, and end.")
def main(name: str, path: Path, ready_file: Path | None, dead: bool, redeliver: bool) -> None:
    """Hand on what a detector says: MQTT, webhook, OPC UA, files.

    Until SIGTERM or Ctrl-C. NAME is mqtt, webhook, files or opcua, or a Python module of your own that has a
    BRIDGE. Whatever the receiver does, the detector is not held up, and what it said waits in the queue's
    folder.
    """
    try:
        from streamer.bridges import config  # noqa: PLC0415  (slow: a wrong option is told before)
    except ModuleNotFoundError as error:
        if extra_of(str(error.name)) is None:
            raise
        raise StreamerError(f"{name}: {not_installed(str(error.name), extra_of_bridge(name))}") from None

    loaded = config.load(name, path)
    if dead or redeliver:
        from streamer.bridges import dead as letters  # noqa: PLC0415

        if dead:
            letters.show(loaded)
        if redeliver:
            letters.redeliver(loaded)
        return
    from streamer.bridges.run import serve  # noqa: PLC0415

    serve(loaded, ready_file)


if __name__ == "__main__":
    main()
