"""Which files of tests are run where and when, if several are run at a time (`make test`).

Nothing a test shows depends on it: each file passes alone, and in any company.
"""

from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
SHARING = ("streamer/page", "streamer/bridges", "streamer/sources", "packaging")
"""Folders whose tests share a detector, a page or a browser for the session. Each is run by one worker: it is
seconds and a gigabyte for every further one that would start them too."""
ON_RAY = "[ray"
"""In the name of each test that runs on Ray; one worker runs them all."""
LONG = (Path(__file__).with_name("long_files.txt")).read_text(encoding="utf-8").split()
"""Files that take longest, longest first, as `--durations=0` said: one of them begun last by one worker would
leave the others without work."""


def unit_of(file: str) -> str:
    """What one worker runs: the folder of `SHARING` that a file is in, or the file itself.

    Args:
        file: below `tests`, with `/`.
    """
    return next((folder for folder in SHARING if file.startswith(f"{folder}/")), file)


def in_order(items: list[pytest.Item]) -> None:
    """Sort tests in place: those of `SHARING`, then `LONG`, then the others; within a file as they were."""
    places = {unit: place for place, unit in enumerate([ON_RAY, *SHARING, *LONG])}

    def place(item: pytest.Item) -> int:
        unit = ON_RAY if ON_RAY in item.name else unit_of(_below(item.path))
        return places.get(unit, len(places))

    items.sort(key=place)


def _below(path: Path) -> str:
    return path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else path.as_posix()


def scheduler(config: pytest.Config, log: Any) -> Any:
    """What gives the workers of pytest-xdist their work: a unit at a time, in the order of the tests.

    None where the user asked for another distribution than `--dist loadfile`.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415 - only where it is installed

    class ByUnit(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            if ON_RAY in nodeid.removeprefix(file):  # one cluster, and what stands on it, for all of them
                return ON_RAY
            return unit_of(_below((config.rootpath / file).resolve()))

    config.option.loadscopereorder = False  # it would begin with the files of most tests
    return ByUnit(config, log)
