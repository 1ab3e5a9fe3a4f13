"""What the pages ask of the store: rows as the JSON they show."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamer.page.filters import MOST, Filters
from streamer.page.likeness import nearest
from streamer.page.rows import (
    ALARMS,
    AUDIT,
    EVENTS,
    FRAMES,
    Facts,
    alarm_json,
    audit_json,
    event_json,
    flag,
    frame_json,
    gap_json,
    ms,
    ns,
)
from streamer.page.store import Store
from streamer.page.verdicts import QUARTER_NS

_MOST_LINES = 1000
_MOST_SCORES = 2000
_COUNTED = 100_000
_BESIDES = "SELECT meta, latency, model_id, thumb FROM frame WHERE id = ?"
_TALLY = "SELECT stream, sum(inspected) AS inspected, sum(anomalous) AS anomalous FROM tally"
# Each stream by one look into the index, however many quarters there are of it.
_NEWEST = """
WITH RECURSIVE known (stream) AS (
    SELECT min(stream) FROM tally
    UNION ALL SELECT (SELECT min(stream) FROM tally WHERE tally.stream > known.stream)
    FROM known WHERE stream IS NOT NULL)
SELECT stream, (SELECT max(captured) FROM frame WHERE frame.stream = known.stream) AS captured FROM known
"""
_LOSS = "SELECT kind, code, sum(n) AS n FROM loss"

_OF_ITS_GROUP = """grp IN (SELECT event.grp FROM event, json_each(event.keys) AS member
    WHERE event.stream = ? AND member.value = ?)"""
"""What was said of the group of an event is said of each of its frames."""


class Queries:
    """Reads, from any thread; times in and out are milliseconds since 1970.

    Args:
        store: that is read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def scores(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Facts:
        """`{"frames": [Frame...], "next": cursor or None, "total": n}`; filters as of `Filters`.

        `total` is 100,000 where there are more.

        Raises:
            StreamerError: a filter or the cursor is wrong.
        """
        wanted = Filters(**filters)
        where, values = wanted.where()
        limit = min(max(limit, 1), MOST)
        with self._store.read() as database:
            (total,) = database.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM {wanted.tables} WHERE {where} LIMIT ?)",  # noqa: S608
                [*values, _COUNTED],
            ).fetchone()
            rows = _page(database, wanted, cursor, limit + 1)
        following = wanted.cursor(rows[limit - 1]) if len(rows) > limit else None
        return {"frames": [frame_json(row) for row in rows[:limit]], "next": following, "total": total}

    def export(self, **filters: Any) -> Iterator[Facts]:
        """Every frame that `scores` would give, one after the other; nobody is held up meanwhile.

        Raises:
            StreamerError: a filter is wrong.
        """
        wanted, cursor = Filters(**filters), None
        while True:
            with self._store.read() as database:
                rows = _page(database, wanted, cursor, _MOST_LINES)
            yield from map(frame_json, rows)
            if len(rows) < _MOST_LINES:
                return
            cursor = wanted.cursor(rows[-1])

    def frame(self, stream: str, key: str) -> Facts | None:
        """A `Frame` with `meta`, `latency_ms`, `model_id`, `words` said of it and up to 3 `nearest`."""
        with self._store.read() as database:
            row = _frame(database, stream, key)
            if row is None:
                return None
            more = database.execute(_BESIDES, (row["id"],)).fetchone()
            words = database.execute(
                f"{AUDIT} WHERE stream = ? AND (key = ? OR {_OF_ITS_GROUP}) ORDER BY at, id LIMIT ?",
                (stream, key, stream, key, _MOST_LINES),
            ).fetchall()
            alike = [
                database.execute(f"{FRAMES} WHERE f.id = ?", (number,)).fetchone()
                for number in nearest(database, row, more["thumb"])
            ]
        return {
            **frame_json(row),
            "meta": json.loads(more["meta"] or "{}"),
            "latency_ms": more["latency"],
            "model_id": more["model_id"],
            "words": [audit_json(word) for word in words],
            "nearest": [frame_json(one) for one in alike if one is not None],
        }

    def picture_path(self, stream: str, key: str) -> Path | None:
        """The JPEG of a frame, or None where there is none."""
        with self._store.read() as database:
            row = database.execute(
                "SELECT picture FROM frame WHERE stream = ? AND key = ?", (stream, key)
            ).fetchone()
        return None if row is None or row["picture"] is None else self._store.picture_path(row["picture"])

    def grid(self, stream: str, key: str) -> tuple[bytes, int, int] | None:
        """A frame's map as it is drawn: float32 little-endian row by row, rows, cols; None without one."""
        with self._store.read() as database:
            row = database.execute(
                "SELECT g.grid, g.rows, g.cols FROM frame f JOIN grid g ON g.id = f.id "
                "WHERE f.stream = ? AND f.key = ?",
                (stream, key),
            ).fetchone()
        return None if row is None else (row["grid"], row["rows"], row["cols"])

    def events(self, stream: str | None = None, limit: int = 100) -> list[Facts]:
        """Events, newest first."""
        where, values = _of(stream)
        with self._store.read() as database:
            rows = database.execute(
                f"{EVENTS} WHERE {where} ORDER BY at DESC, id DESC LIMIT ?", [*values, _most(limit)]
            ).fetchall()
        return [event_json(row) for row in rows]

    def alarms(self, stream: str | None = None, open_only: bool = False, limit: int = 200) -> list[Facts]:
        """Alarms, newest first; open are those that nobody has acknowledged."""
        where, values = _of(stream)
        if open_only:
            where += " AND ack_at IS NULL"
        with self._store.read() as database:
            rows = database.execute(
                f"{ALARMS} WHERE {where} ORDER BY id DESC LIMIT ?", [*values, _most(limit)]
            ).fetchall()
        return [alarm_json(row) for row in rows]

    def newest(self) -> dict[str, float | None]:
        """Streams that frames are kept of, and when the newest was captured."""
        with self._store.read() as database:
            rows = database.execute(_NEWEST).fetchall()
        return {row["stream"]: ms(row["captured"]) for row in rows if row["captured"] is not None}

    def open_alarms(self) -> dict[str, int]:
        """How many alarms of each stream nobody has acknowledged."""
        with self._store.read() as database:
            rows = database.execute(
                "SELECT stream, count(*) AS n FROM alarm WHERE ack_at IS NULL GROUP BY stream"
            )
            return {row["stream"]: row["n"] for row in rows}

    def tallies(self, start: float, end: float, stream: str | None = None) -> dict[str, tuple[int, int]]:
        """(inspected, anomalous by the last label) of each stream, by quarters of hours."""
        where, values = _of(stream)
        quarters = [ns(edge) // QUARTER_NS for edge in (start, end)]
        with self._store.read() as database:
            rows = database.execute(
                f"{_TALLY} WHERE {where} AND quarter >= ? AND quarter < ? GROUP BY stream",
                [*values, *quarters],
            ).fetchall()
        return {row["stream"]: (row["inspected"], row["anomalous"]) for row in rows}

    def threshold(self, stream: str, window: int = _MOST_SCORES) -> Facts:
        """The threshold as it was last heard of, who set it and why, and the newest scores it decides.

        Args:
            stream: its name.
            window: how many scores, as many as the detector re-scores; 2000 at most.
        """
        window = min(max(window, 1), _MOST_SCORES)
        with self._store.read() as database:
            rows = database.execute(
                f"{FRAMES} WHERE f.stream = ? AND f.scored IS NOT NULL AND f.raw IS NOT NULL "
                "ORDER BY f.captured DESC, f.id DESC LIMIT ?",
                (stream, window),
            ).fetchall()
            last = database.execute(
                f"{AUDIT} WHERE stream = ? AND what = 'threshold' ORDER BY at DESC, id DESC LIMIT 1",
                (stream,),
            ).fetchone()
        newest = max(rows, key=lambda row: row["change"], default=None)
        value = None if newest is None else newest["threshold"]
        said = None if last is None else audit_json(last)
        after = said["after"] if said is not None and isinstance(said["after"], dict) else {}
        # A line that stands still scores nothing that would say it: then the word is the newest.
        if last is not None and "threshold" in after and (newest is None or newest["scored"] <= last["at"]):
            value = after["threshold"]
        return {
            "stream": stream,
            "rule": after.get("rule"),
            "threshold": value,
            "since": None if said is None else said["at"],
            "who": None if said is None else said["who"],
            "why": None if said is None else said["note"],
            "scores": [
                {
                    "key": row["key"],
                    "raw": row["raw"],
                    "label": flag(row["label"]),
                    "final": bool(row["final"]),
                    "decision": row["decision"],
                }
                for row in rows
            ],
            "window": window,
        }

    def audit(
        self,
        stream: str | None = None,
        start: float | None = None,
        end: float | None = None,
        limit: int = 200,
    ) -> list[Facts]:
        """What was said and done, newest first."""
        where, values = _of(stream)
        for edge, sign in ((start, ">="), (end, "<")):
            if edge is not None:
                where += f" AND at {sign} ?"
                values.append(ns(edge))
        with self._store.read() as database:
            rows = database.execute(
                f"{AUDIT} WHERE {where} ORDER BY at DESC, id DESC LIMIT ?", [*values, _most(limit)]
            ).fetchall()
        return [audit_json(row) for row in rows]

    def gaps(self, limit: int = 100) -> list[Facts]:
        """Numbers that did not come by themselves, newest first."""
        with self._store.read() as database:
            rows = database.execute("SELECT * FROM gap ORDER BY id DESC LIMIT ?", (_most(limit),)).fetchall()
        return [gap_json(row) for row in rows]

    def losses(self, stream: str | None, start: float, end: float) -> dict[str, dict[str, int]]:
        """`{"dropped": {reason: n}, "error": {code: n}}` as heard of in between, by quarters of hours."""
        where, values = _of(stream)
        with self._store.read() as database:
            rows = database.execute(
                f"{_LOSS} WHERE {where} AND quarter >= ? AND quarter < ? GROUP BY kind, code",
                [*values, ns(start) // QUARTER_NS, -(-ns(end) // QUARTER_NS)],
            ).fetchall()
        found: dict[str, dict[str, int]] = {"dropped": {}, "error": {}}
        for row in rows:
            found[row["kind"]][row["code"]] = row["n"]
        return found


def _of(stream: str | None) -> tuple[str, list[Any]]:
    return ("1", []) if stream is None else ("stream = ?", [stream])


def _most(limit: int) -> int:
    return min(max(limit, 1), _MOST_LINES)


def _frame(database: sqlite3.Connection, stream: str, key: str) -> Any:
    return database.execute(
        f"{FRAMES} WHERE f.stream = ? AND f.key = ? AND f.scored IS NOT NULL", (stream, key)
    ).fetchone()


def _page(database: sqlite3.Connection, wanted: Filters, cursor: str | None, limit: int) -> list[sqlite3.Row]:
    where, values = wanted.where()
    if cursor is not None:
        condition, more = wanted.after(cursor)
        where, values = f"{where} AND {condition}", [*values, *more]
    # First which they are, by an index alone, then what is known of them.
    chosen = f"SELECT f.id FROM {wanted.tables} WHERE {where} ORDER BY {wanted.order} LIMIT ?"  # noqa: S608 - ours
    return database.execute(
        f"{FRAMES} WHERE f.id IN ({chosen}) ORDER BY {wanted.order}", [*values, limit]
    ).fetchall()
