"""`python -m streamer.keys DIR`: CURVE keys for a detector and its peers."""

import sys
from pathlib import Path

import click

from streamer import auth
from streamer.errors import StreamerError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--publisher", "publishers", multiple=True, metavar="NAME", help="May push frames; repeatable.")
@click.option(
    "--subscriber", "subscribers", multiple=True, metavar="NAME", help="May read scores; repeatable."
)
@click.option(
    "--controller", "controllers", multiple=True, metavar="NAME", help="May ask the control socket."
)
def main(
    folder: Path, publishers: tuple[str, ...], subscribers: tuple[str, ...], controllers: tuple[str, ...]
) -> None:
    """Make the detector's key pair and one pair a peer in FOLDER; existing keys are kept.

    Without names, one peer of each role is made in a new folder: camera, screen and operator; in one that
    has keys only what the detector itself lacks. The detector needs `security: {keys: FOLDER}`; a peer
    needs its own clients/NAME.key_secret and server.key, Prometheus metrics.token.
    """
    named = {"publishers": publishers, "subscribers": subscribers, "controllers": controllers}
    if not any(named.values()) and not (folder / "server.key_secret").exists():
        named = {"publishers": ("camera",), "subscribers": ("screen",), "controllers": ("operator",)}
    try:
        written = auth.create_keys(folder, {name: role for role, names in named.items() for name in names})
    except StreamerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for path in written:
        click.echo(path)
    if not written:
        click.echo("all of these keys exist already; nothing was changed", err=True)


if __name__ == "__main__":
    main()
