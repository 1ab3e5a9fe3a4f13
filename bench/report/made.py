"""When, where and by which command a report was made."""

import platform
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.machine import cores, installed, processor

_LIBRARIES = ("torch", "faiss-cpu", "faiss-gpu", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Made:
    """What a report says of itself, and what hangs neither on its data nor on its settings.

    `at` is a time with its zone; the same report made at the same time has the same bytes.
    """

    at: datetime
    version: str
    machine: str
    libraries: str
    command: str

    @classmethod
    def here(cls, at: datetime) -> "Made":
        """By this process, on this machine, at a time with its zone."""
        model = processor()[0] or platform.machine()
        machine = f"{model}, {cores()} {'core' if cores() == 1 else 'cores'}, {platform.system()}"
        found = [f"Python {platform.python_version()}"]
        found += [f"{name} {version}" for name in _LIBRARIES if (version := installed(name))]
        version = installed("musc-online") or "unknown"
        return cls(at, version, machine, ", ".join(found), command(sys.orig_argv))


def command(words: list[str]) -> str:
    """How a process was started, as a person would type it: no path to Python or to its scripts.

    Args:
        words: `sys.orig_argv`.
    """
    if not words:  # of an interpreter inside another program
        return "unknown"
    python, *rest = words
    if rest and Path(rest[0]).name == "musc-online":
        return shlex.join(["musc-online", *rest[1:]])
    return shlex.join([Path(python).name, *rest])
