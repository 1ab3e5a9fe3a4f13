"""Good frames that look like another one, by small grey copies of their pictures; without them, by time."""

import sqlite3
from typing import Any

_AMONG = 2000
_MOST = 3
_GOOD = "stream = ? AND id != ? AND scored IS NOT NULL AND label = 0"


def nearest(database: sqlite3.Connection, frame: Any, thumb: bytes | None) -> list[int]:
    """Rows of up to three good frames of the same stream that look most like a frame, most alike first.

    Args:
        database: that is read.
        frame: a row with `id`, `stream` and `captured`.
        thumb: its 16 x 16 grey values; None where it has no picture: then the frames around it.
    """
    if thumb is not None:
        found = _most_alike(database, frame, thumb)
        if found:
            return found
    rows = []
    for side, order in (("<=", "DESC"), (">", "ASC")):
        rows += database.execute(
            f"SELECT id, captured FROM frame WHERE {_GOOD} AND captured {side} ? "  # noqa: S608 - ours
            f"ORDER BY captured {order} LIMIT ?",
            (frame["stream"], frame["id"], frame["captured"], _MOST),
        ).fetchall()
    rows.sort(key=lambda row: abs(row["captured"] - frame["captured"]))
    return [row["id"] for row in rows[:_MOST]]


def _most_alike(database: sqlite3.Connection, frame: Any, thumb: bytes) -> list[int]:
    import numpy as np  # noqa: PLC0415 - not loaded where nobody sends pictures

    rows = database.execute(
        f"SELECT id, thumb FROM frame WHERE {_GOOD} AND thumb IS NOT NULL ORDER BY captured DESC LIMIT ?",  # noqa: S608
        (frame["stream"], frame["id"], _AMONG),
    ).fetchall()
    rows = [row for row in rows if len(row["thumb"]) == len(thumb)]
    if not rows:
        return []
    others = np.frombuffer(b"".join(row["thumb"] for row in rows), np.uint8).reshape(len(rows), -1)
    apart = np.square(others.astype(np.int32) - np.frombuffer(thumb, np.uint8).astype(np.int32)).sum(1)
    return [rows[index]["id"] for index in np.argsort(apart, kind="stable")[:_MOST]]
