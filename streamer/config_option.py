"""`--config FILE` of every command: a file of the user's own; of a shipped one the name is a common guess."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from streamer.errors import StreamerError
from streamer.printable import printable
from streamer.shipped import shipped


class ConfigFile(click.Path):
    """Type of such an option: the path, as `pathlib.Path`; the command reads it and says what is wrong.

    Where there is no such file and a shipped configuration has its name, with or without a folder and
    `.yaml`, the error says how to get that one.
    """

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Click's, which raises `click.BadParameter`."""
        given: Any = super().convert(value, param, ctx)
        path: Path = given
        with suppress(OSError, ValueError, StreamerError):  # the command says so, and how it is mended
            name = path.stem if path.suffix in {"", ".yaml", ".yml"} else path.name
            if not path.exists() and name in shipped():
                self.fail(
                    f"{printable(path)} is not there; `musc-online config {name} > {name}.yaml` writes the "
                    f"one that came with the installation, then give {name}.yaml",
                    param,
                    ctx,
                )
        return path
