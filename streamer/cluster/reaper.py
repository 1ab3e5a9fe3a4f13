"""Ends what is left of a cluster of our own once its gate is gone: some of Ray's processes stay for a minute.

Run by itself, without any package: `python -I -S reaper.py NUMBER...`. It waits for the end of standard
input, which comes however the gate ends, and kills the processes that had these numbers when it began.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


class Reaper:
    """That process, as the gate sees it; `end` sets it off.

    Args:
        processes: numbers; their children are ended too, as far as they have any by now.
    """

    def __init__(self, processes: Iterable[int]) -> None:
        from streamer import child  # noqa: PLC0415  (the process itself has no packages)

        roots = set(processes)
        numbers = sorted(roots | {one for one, parent in _parents() if parent in roots})
        self._process = subprocess.Popen(
            child.bare_command(__file__, *map(str, numbers)),
            stdin=subprocess.PIPE,
            start_new_session=True,  # what a terminal sends is not for it
        )

    def end(self) -> None:
        """Returns once all are ended; may be called again."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def _parents() -> Iterator[tuple[int, int]]:
    """Each process of the machine, and its parent."""
    for about in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            yield int(about.parent.name), int(about.read_bytes().rpartition(b")")[2].split()[1])


def _main() -> None:
    opened = []
    for number in map(int, sys.argv[1:]):
        with contextlib.suppress(OSError):
            opened.append(os.pidfd_open(number))  # nobody else can get the number of one that is open
    while os.read(0, 1):
        pass
    for descriptor in opened:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)


if __name__ == "__main__":
    _main()
