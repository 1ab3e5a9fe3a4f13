"""A Python process of our own: it finds the modules that this one finds, and none of the current folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SAFE = "PYTHONSAFEPATH"
"""As `-P`, for an interpreter whose command line is not ours."""


def command(module: str, *arguments: str) -> list[str]:
    """What runs a module as `python -m` does, without the current folder: its files are not ours to run.

    Args:
        module: dotted name.
        arguments: of its command line.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def bare_command(file: str, *arguments: str) -> list[str]:
    """What runs a file by itself, with no packages and nothing of the environment: up at once.

    Args:
        file: imports nothing but Python's own modules.
        arguments: of its command line.
    """
    return [sys.executable, "-I", "-S", file, *arguments]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, in which Python finds what this process finds.

    Args:
        more: variables of the child's own.
    """
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, **more}


@contextmanager
def safe_path() -> Iterator[None]:
    """In here `multiprocessing` starts processes without the current folder, too."""
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE]
        else:
            os.environ[_SAFE] = before
