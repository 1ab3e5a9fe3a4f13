"""`musc-online demo`: parts through a real detector, drawn where no folder of images is given."""

import shlex
import tempfile
from pathlib import Path

import click
from click.core import ParameterSource

from bench import demo_data
from bench.commands import Command
from musc_online.errors import DataError
from streamer import demo, demo_page
from streamer.commands import examples
from streamer.printable import printable

_DRAWN = "data"
"""Folder of the drawn line, in that of the output."""


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online demo",
        "musc-online demo --data photos/ --output found/",
        "musc-online demo --page",
    ),
)
@click.option(
    "--data", type=click.Path(path_type=Path),
    help="Folder of images, a data set's or your own.  [a drawn line, kept in OUTPUT/data]",
)  # fmt: skip
@click.option(
    "--page", "with_page", is_flag=True, help="Instead: parts without an end, and the page to watch."
)
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=demo.OUTPUT,
    help="Folder that pictures are written to.",
)  # fmt: skip
@click.option(
    "--fps", type=click.FloatRange(min=0, min_open=True), default=demo_page.FPS,
    help="With --page: parts a second.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the order in which the parts come.")
@click.pass_context
def main(
    context: click.Context, data: Path | None, with_page: bool, output: Path, fps: float, seed: int
) -> None:
    """Show what a detector says of a line of parts.

    A detector, a publisher and the page are started on loopback and free ports, and end with the demo.
    """
    if not with_page and context.get_parameter_source("fps") is not ParameterSource.DEFAULT:
        raise click.UsageError(
            "--fps: got no --page, expected one; the demo sends as fast as is scored", context
        )
    from musc_online import config  # noqa: F401, PLC0415  (what a detector lacks is told before a line is drawn)

    folder = drawn(output) if data is None else data
    if with_page:
        demo_page.run(folder, fps, seed)
        return
    given = "" if folder == demo.OUTPUT / _DRAWN else f" --data {shlex.quote(str(folder))}"
    demo.run(folder, output, seed, f"musc-online demo --page{given}")


def drawn(output: Path) -> Path:
    """A drawn line in `output`/data: drawn if it is not there, all of it or nothing.

    Raises:
        DataError: the folder cannot be written to.
    """
    folder = output / _DRAWN
    if (folder / demo_data.CATEGORY).is_dir():
        return folder
    try:
        output.mkdir(parents=True, exist_ok=True)
        # Beside it first: a run that is cut short leaves no half of it.
        with tempfile.TemporaryDirectory(prefix="data-", dir=output) as beside:
            demo_data.generate(Path(beside) / _DRAWN).rename(folder)
    except OSError as error:
        if (folder / demo_data.CATEGORY).is_dir():  # another demo was quicker
            return folder
        raise DataError(
            f"--output: {output} cannot be written ({error.strerror}); give another folder"
        ) from None
    click.echo(f"parts drawn in {printable(folder)}")
    return folder


if __name__ == "__main__":
    main()
