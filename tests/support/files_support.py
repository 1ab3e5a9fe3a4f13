"""A process that writes files until it is killed; it imports nothing that takes long."""

import asyncio
import itertools
import os
from pathlib import Path
from typing import Any

from item_support import verdict

from streamer.bridges.files import Files, FilesSink


def write_for_ever(folder: Path, ready: Any) -> None:
    """Write verdicts numbered on from the file `returned`, which has how many `deliver` returned for.

    Args:
        folder: has a queue in `queue`; gets the files in `told`.
        ready: event that is set once some were written.
    """
    asyncio.run(_write(folder, ready))


async def _write(folder: Path, ready: Any) -> None:
    sink = FilesSink(Files(folder=folder / "told", file_bytes=65536), folder / "queue")
    await sink.open()
    returned = folder / "returned"
    first = int(returned.read_text(encoding="ascii")) if returned.exists() else 0
    for start in itertools.count(first, 7):
        items = [verdict(number, meta={"part_id": "x" * 500}) for number in range(start, start + 7)]
        assert await sink.deliver(items) == 7
        handle = os.open(returned, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(handle, f"{start + 7:012d}".encode(), 0)  # in one piece: before a kill, or not
        os.close(handle)
        ready.set()
