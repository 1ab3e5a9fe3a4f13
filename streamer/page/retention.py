"""What is kept for how long: by days and by bytes, frames that matter four times as long as good ones."""

import sqlite3
from typing import Any

from streamer.page.verdicts import QUARTER_NS, Verdicts, Written

FACTOR = 4
"""Frames that were ever called anomalous, or that somebody reviewed, and what was said of any, are kept
so many times longer."""

_DAY_NS = 86400 * 10**9
_AT_ONCE = 100
_GAPS = 1000


class Retention:
    """Deletes what is too old or too much, a little at a time.

    Args:
        days: that good frames are kept.
        max_bytes: that frames, maps and pictures may take.
    """

    def __init__(self, database: sqlite3.Connection, verdicts: Verdicts, days: float, max_bytes: int) -> None:
        self._database, self._verdicts = database, verdicts
        self._keep_ns, self._max_bytes = round(days * _DAY_NS), max_bytes

    def step(self, n_bytes: int, written: Written) -> bool:
        """Delete a few frames, within the transaction of the caller; whether there may be more to delete.

        Args:
            n_bytes: that frames take now.
            written: of the transaction.
        """
        deleted = 0
        for row in self._oldest(written.now):
            too_old = written.now - row["stored"] > self._keep_ns * (FACTOR if row["important"] else 1)
            if not too_old and n_bytes + written.n_bytes <= self._max_bytes:
                break
            self._verdicts.forget(row["id"], written, untold=False)
            deleted += 1
        if deleted < _AT_ONCE:
            self._old_lines(written.now)
        return deleted >= _AT_ONCE

    def _oldest(self, now: int) -> list[Any]:
        """A few frames, those that are oldest first; one that matters counts as a quarter as old as it is."""
        query = "SELECT id, stored, important FROM frame WHERE important = ? ORDER BY stored, id LIMIT ?"
        rows = [row for which in (0, 1) for row in self._database.execute(query, (which, _AT_ONCE))]
        rows.sort(key=lambda row: (row["stored"] - now) * (1 if row["important"] else FACTOR))
        return rows[:_AT_ONCE]

    def _old_lines(self, now: int) -> None:
        before = now - FACTOR * self._keep_ns
        for table in ("alarm", "event", "audit"):
            self._database.execute(f"DELETE FROM {table} WHERE stored < ?", (before,))  # noqa: S608 - ours
        for table in ("loss", "tally"):
            self._database.execute(f"DELETE FROM {table} WHERE quarter < ?", (before // QUARTER_NS,))  # noqa: S608
        self._database.execute("DELETE FROM gap WHERE id <= (SELECT max(id) FROM gap) - ?", (_GAPS,))
