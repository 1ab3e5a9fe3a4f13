"""`python -m streamer.keys DIR`: CURVE keys for a detector and its peers."""

from collections.abc import Mapping
from pathlib import Path

import click

from streamer import auth
from streamer.commands import Command, examples
from streamer.errors import StreamerError


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online keys keys",
        "musc-online keys keys --publisher camera-1 --controller operator",
        "musc-online keys keys --page page-1 --bridge mqtt-1",
    ),
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--publisher", "publishers", multiple=True, metavar="NAME", help="Of a peer that sends frames.")
@click.option("--subscriber", "subscribers", multiple=True, metavar="NAME", help="Of one that reads scores.")
@click.option(
    "--controller", "controllers", multiple=True, metavar="NAME", help="Of one that asks the control socket."
)
@click.option("--page", "pages", multiple=True, metavar="NAME", help="Of a page: it reads scores and asks.")
@click.option("--bridge", "bridges", multiple=True, metavar="NAME", help="Of a bridge: so does it.")
def main(folder: Path, **named: tuple[str, ...]) -> None:
    """Make CURVE keys for a detector and its peers in FOLDER.

    The detector's key pair and one pair a peer; existing keys are kept. Every option may be given more than
    once. Without names, one peer of each role is made in a new folder: camera, screen and operator; in one
    that has keys only what the detector itself lacks. The detector needs `security: {keys: FOLDER}`; a peer
    needs its own clients/NAME.key_secret and server.key, Prometheus metrics.token.
    """
    if not any(named.values()) and not (folder / "server.key_secret").exists():
        named = {"publishers": ("camera",), "subscribers": ("screen",), "controllers": ("operator",)}
    written = auth.create_keys(folder, _roles(named))
    for path in written:
        click.echo(path)
    if not written:
        click.echo("all of these keys exist already; nothing was changed", err=True)


def _roles(named: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The role of each name."""
    roles: dict[str, str] = {}
    for role, names in named.items():
        for name in names:
            if roles.setdefault(name, role) != role:
                raise StreamerError(
                    f"{name}: named as one of the {roles[name]} and of the {role}; a name has one role: give "
                    "each key a name of its own"
                )
    return roles


if __name__ == "__main__":
    main()
