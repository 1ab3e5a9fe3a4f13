"""The command lines of `bench` end as all do; of errors they know those of the method too."""

from pathlib import Path

from musc_online.errors import DataError, MuscError
from musc_online.installed import refuse_clash
from streamer import commands

# `bench/__init__.py` has asked already, unless it is another distribution's, written over ours.
refuse_clash()


class Command(commands.Command):
    """`@click.command(cls=Command)`; the function returns the exit status, None for 0."""

    mendable = (MuscError,)


class Group(commands.Group):
    """`@click.group(cls=Group)`."""

    mendable = (MuscError,)
    command_class = Command


def check_writable(output: Path | None, json_path: Path | None) -> None:
    """Before the long work: the folders that are written to in the end, made where they are missing.

    Raises:
        DataError: a folder cannot be made.
    """
    for path, folder in ((output, output), (json_path, json_path and json_path.parent)):
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror}); give another path") from None
