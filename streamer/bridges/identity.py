"""A bridge's own name in what it hands on: random, of its queue, whose numbers count under it."""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from streamer.bridges.schema import FILE
from streamer.errors import StreamerError

_ID = re.compile(r"[0-9a-f]{16}")


def bridge_id(folder: Path) -> str:
    """16 hexadecimal digits, the same as long as the queue is.

    Args:
        folder: of a queue that has been opened.

    Raises:
        StreamerError: there is no queue, or it cannot be read.
    """
    path = folder / FILE
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT value FROM about WHERE name = 'id'").fetchone()
    except sqlite3.Error as error:
        raise StreamerError(f"queue.path: {path}: cannot be read ({error})") from None
    if row is None or not _ID.fullmatch(str(row[0])):
        raise StreamerError(
            f"queue.path: {path}: has no id; move the file away, and receivers take what comes next for "
            "another bridge's"
        )
    return str(row[0])


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut.

    Raises:
        OSError: the disk is gone.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
