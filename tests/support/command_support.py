"""Commands of ours, those below a group among them, and Python processes that run them."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bench.cli import COMMANDS, NAME, main
from streamer.extras import BROUGHT

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180.0


def under(name, command):
    """A command and those below it."""
    yield name, command
    if isinstance(command, click.Group):
        for inner, below in command.commands.items():
            yield from under(f"{name} {inner}", below)


def all_commands():
    yield NAME, main
    for name, lazy in COMMANDS.items():
        yield from under(f"{NAME} {name}", lazy.load())


def python(*words, **more):
    return subprocess.run(
        [sys.executable, *words], check=False, capture_output=True, text=True, timeout=PATIENCE_S, **more
    )


@pytest.fixture(scope="module")
def core_only(tmp_path_factory):
    """Environment of an installation without extras."""
    folder = tmp_path_factory.mktemp("core")
    for module in (name for modules in BROUGHT.values() for name in modules):
        (folder / f"{module}.py").write_text(f"raise ModuleNotFoundError('none', name='{module}')")
    return {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
