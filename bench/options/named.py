"""The options that are compared: each a name and what it changes of the defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musc_online.errors import ConfigError

if TYPE_CHECKING:
    from musc_online.config import Config

_DEGREE_1: dict[str, Any] = {"method": {"degrees": [1]}}
_WORST: dict[str, Any] = {"method": {"degrees": [1], "image_score": {"worst": 0.01}}}
_NEAREST: dict[str, Any] = {"ring": {"nearest": 16}}
_LARGE: dict[str, Any] = {"image_size": 448}
_TILES: dict[str, Any] = {"tiles": {"rows": 2, "cols": 2}}

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "published": {},
    "degree 1": _DEGREE_1,
    "nearest 16": _NEAREST,
    "nearest 32": {"ring": {"nearest": 32}},
    "both": _DEGREE_1 | _NEAREST,
    "both 32": _DEGREE_1 | {"ring": {"nearest": 32}},
    "both worst": _WORST | _NEAREST,
    "both blocks 5 8": _DEGREE_1 | _NEAREST | {"backbone": {"stages": [5, 8]}},
    "both block 8": _DEGREE_1 | _NEAREST | {"backbone": {"stages": [8]}},
    "both position 2": {"method": {"degrees": [1], "position": 2}} | _NEAREST,
    "both 448 block 8": _WORST | _NEAREST | {"backbone": _LARGE | {"stages": [8]}},
    "both tiles": _DEGREE_1 | _NEAREST | _TILES,
    "degree 1 tiles": _DEGREE_1 | _TILES,
    "degree 1 tiles worst": _WORST | _TILES,
    "both tiles worst": _WORST | _NEAREST | _TILES,
}
"""By name, what differs from the defaults, which are the published setting at 224 px. `both` is degree 1 and
the 16 nearest (`both 32`: 32), `worst` the mean of the worst 1 %, `tiles` two by two of 224 px."""


@dataclass(frozen=True)
class Option:
    """One setting, and what its row is called."""

    name: str
    config: "Config"


def chosen(only: str | None, paths: Sequence[Path]) -> list[Option]:
    """The named options that were asked for, and each configuration file under its file's name.

    Args:
        only: names of `CHANGES` with commas between; None for all.
        paths: YAML files of further rows.

    Raises:
        ConfigError: an unknown name, two rows of one name, or a configuration that cannot be used.
    """
    from musc_online import config as configuration  # noqa: PLC0415  (help does without)

    found = [Option(name, configuration.load(CHANGES[name])) for name in _names(only)]
    found += [Option(path.stem, configuration.load(path)) for path in paths]
    names = [option.name for option in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--config: got two rows called '{name}', expected another name for each file")
    if not found:
        raise ConfigError("--only: got no name and no --config, expected one of them")
    return found


def _names(only: str | None) -> list[str]:
    if only is None:
        return list(CHANGES)
    names = list(dict.fromkeys(name.strip() for name in only.split(",") if name.strip()))
    for name in names:
        if name not in CHANGES:
            raise ConfigError(f"--only: got '{name}', expected names of {', '.join(CHANGES)}")
    return names
