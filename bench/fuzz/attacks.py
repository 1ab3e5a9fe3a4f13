"""The attacks of `bench.fuzz`, by name: each starts a server of its own and says what held."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Attack = Callable[[Path], dict[str, Any]]
"""Given an empty folder, attacks a server: figures, and under `checks` what should hold and whether."""

_MODULES: dict[str, str] = {name: name for name in ("pictures", "peers", "stops", "journal")}
"""Name of an attack -> the module of `bench.fuzz` whose function `attack` it is."""

NAMES = tuple(_MODULES)


def find(name: str) -> Attack:
    """The attack of that name, one of `NAMES`."""
    attack: Attack = import_module(f"bench.fuzz.{_MODULES[name]}").attack
    return attack
