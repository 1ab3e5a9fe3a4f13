"""`python -m streamer.page`: the page an operator looks at."""

from pathlib import Path
from typing import Any

import click

from streamer.commands import Command, examples
from streamer.config_option import ConfigFile


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online page",
        "musc-online config page > page.yaml",
        "musc-online page --config page.yaml",
        "musc-online page --config page.yaml --add anna:operator",
    ),
)
@click.option(
    "--config",
    "path",
    type=ConfigFile(),
    metavar="FILE",
    help="YAML, e.g. of `musc-online config page`; without it, all defaults.",
)
@click.option("--listen", default=None, metavar="HOST:PORT", help="Where browsers connect: listen.address.")
@click.option("--scores", default=None, help="The detector's transport.scores: detector.scores.")
@click.option("--control", default=None, help="The detector's transport.control: detector.control.")
@click.option("--key", type=click.Path(path_type=Path), default=None, help="The page's .key_secret (CURVE).")
@click.option(
    "--server-key", type=click.Path(path_type=Path), default=None, help="The detector's server.key."
)
@click.option("--store", type=click.Path(path_type=Path), default=None, help="Folder of its own: store.path.")
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="Write the addresses here, as JSON, once up."
)
@click.option("--add", metavar="NAME:ROLE", help="Make a token for a viewer, operator or admin, and end.")
@click.option("--remove", metavar="NAME", help="Take a token away, which ends its sessions, and end.")
def main(
    path: Path | None, ready_file: Path | None, add: str | None, remove: str | None, **options: Any
) -> None:
    """Show what a detector finds in a browser, live and for days.

    Until SIGTERM or Ctrl-C. Open the address that is printed. Options take the place of what the
    configuration says.
    """
    from streamer.page import config as configuration  # noqa: PLC0415  (slow: a wrong option is told before)

    config = configuration.load(path, _by_section(options))
    if add is not None or remove is not None:
        _change_tokens(config.store.path, add, remove)
        return
    from streamer.page.main import serve  # noqa: PLC0415

    serve(config, ready_file)


def _by_section(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Options as the configuration's keys. They are no YAML: nothing is replaced in a path."""
    places = {
        "listen": ("listen", "address"),
        "scores": ("detector", "scores"),
        "control": ("detector", "control"),
        "key": ("detector", "key"),
        "server_key": ("detector", "server_key"),
        "store": ("store", "path"),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, given in options.items():
        if given is not None:
            section, key = places[name]
            found.setdefault(section, {})[key] = given
    return found


def _change_tokens(folder: Path, add: str | None, remove: str | None) -> None:
    from streamer.page.tokens import Tokens  # noqa: PLC0415

    tokens = Tokens(folder)
    if remove is not None:
        tokens.remove(remove)
        click.echo(f"removed {remove}: its sessions end at once")
    if add is not None:
        holder = tokens.add(add)
        click.echo(f"token of {holder.name} ({holder.role}), to be typed at the page's /login:")
        click.echo(holder.token)


if __name__ == "__main__":
    main()
