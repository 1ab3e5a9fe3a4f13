"""A shift's figures: what was inspected, found, said and missed between two times."""

import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from streamer.errors import StreamerError
from streamer.page.parts import Parts
from streamer.page.rows import ms
from streamer.tables import time_text

_QUARTER = 900 * 10**9
"""Nanoseconds of a quarter of an hour, by which the store keeps its tallies."""
_SHIFT_MS = 8 * 3_600_000.0
_LONGEST_MS = 366 * 24 * 3_600_000.0
_WORST = 8
_LINES = 1000
_COUNTS = (
    "inspected",
    "anomalous",
    "alarms",
    "revised_to_normal",
    "revised_to_anomalous",
    "reviewed",
    "false_alarms",
    "missed",
    "lost",
)

Facts = dict[str, Any]


def report(parts: Parts, stream: str | None, start: float | None, end: float | None) -> Facts:
    """The figures of frames captured between two times, and of what happened between them.

    Counts of frames are those of all frames, also of such as are no longer kept. Good and defective are what
    a person said; a false alarm is a good frame that was labelled anomalous on arrival, a missed one a
    defect that was not: what is labelled otherwise after a person's word says nothing of the detector.

    Args:
        stream: None for all.
        start, end: milliseconds since 1970; without them the last eight hours.

    Raises:
        StreamerError: the time ends before it begins, or is longer than a year.
    """
    end = 1000 * time.time() if end is None else end
    start = end - _SHIFT_MS if start is None else start
    if not 0 < end - start <= _LONGEST_MS:
        raise StreamerError(
            f"from: got {start:.0f} with to: {end:.0f}, expected an earlier time, within a year"
        )
    edges = round(start * 1e6), round(end * 1e6)
    with parts.store.read() as database:
        found = _Figures(database, stream, *edges).all()
    worst = parts.queries.scores(
        stream=stream, start=start, end=end, verdict="any", sort="score", limit=_WORST
    )
    return {"from": start, "to": end, **found, "worst": worst["frames"]}


class _Figures:
    """Reads one report's figures.

    Args:
        database: of the store, rows by name.
        start, end: nanoseconds since 1970.
    """

    def __init__(self, database: sqlite3.Connection, stream: str | None, start: int, end: int) -> None:
        self._database, self._stream, self._start, self._end = database, stream, start, end

    def all(self) -> Facts:
        """Every figure but the worst frames."""
        hours = self._hours()
        return {
            "inspected": sum(hour["inspected"] for hour in hours),
            "anomalous": sum(hour["anomalous"] for hour in hours),
            "alarms": self._rows("SELECT count(*) AS n FROM alarm WHERE {}", "since")[0]["n"],
            **self._revised(),
            **self._reviewed(),
            "kinds": self._kinds(),
            **self._losses(),
            "stops": self._stops(),
            "thresholds": self._thresholds(),
            "by_hour": hours,
            "lost": self._lost(),
        }

    def _rows(self, query: str, at: str, *, table: str = "") -> list[sqlite3.Row]:
        """Rows of the stream between the two times; `{}` in the query stands for that."""
        condition = f"{at} >= ? AND {at} < ?"
        values: list[Any] = [self._start, self._end]
        if self._stream is not None:
            condition += f" AND {table}stream = ?"
            values.append(self._stream)
        return self._database.execute(query.format(condition), values).fetchall()

    def _hours(self) -> list[Facts]:
        """Frames an hour, counted from the start on: whole quarters by tallies, the ends by frames."""
        first, last = -(-self._start // _QUARTER), self._end // _QUARTER
        counts = _Figures(self._database, self._stream, first, last)._rows(
            "SELECT quarter, inspected, anomalous FROM tally WHERE {}", "quarter"
        )
        for start, end in self._ends(first * _QUARTER, last * _QUARTER):
            counts += _Figures(self._database, self._stream, start, end)._rows(
                "SELECT captured / 900000000000 AS quarter, count(*) AS inspected, "
                "coalesce(sum(label = 1), 0) AS anomalous FROM frame "
                "WHERE {} AND scored IS NOT NULL GROUP BY 1",
                "captured",
            )
        begin = self._start // _QUARTER
        hours: dict[int, Facts] = {}
        for row in counts:
            number = (row["quarter"] - begin) // 4
            at = (begin + 4 * number) * _QUARTER / 1e6
            hour = hours.setdefault(number, {"from": at, "inspected": 0, "anomalous": 0})
            hour["inspected"] += row["inspected"]
            hour["anomalous"] += row["anomalous"]
        return [hours[number] for number in sorted(hours)]

    def _ends(self, first: int, last: int) -> list[tuple[int, int]]:
        if first > last:  # within one quarter
            return [(self._start, self._end)]
        return [edge for edge in ((self._start, first), (last, self._end)) if edge[0] < edge[1]]

    def _revised(self) -> Facts:
        (row,) = self._rows(
            "SELECT coalesce(sum(first_label = 1 AND label = 0), 0) AS normal, "
            "coalesce(sum(first_label = 0 AND label = 1), 0) AS anomalous "
            "FROM frame WHERE {} AND scored IS NOT NULL",
            "captured",
        )
        return {"revised_to_normal": row["normal"], "revised_to_anomalous": row["anomalous"]}

    def _reviewed(self) -> Facts:
        (row,) = self._rows(
            "SELECT count(*) AS n, "
            "coalesce(sum(r.decision = 'good' AND f.first_label = 1), 0) AS false_alarms, "
            "coalesce(sum(r.decision = 'defect' AND f.first_label = 0), 0) AS missed "
            "FROM frame f JOIN review r ON r.stream = f.stream AND r.key = f.key WHERE {}",
            "f.captured",
            table="f.",
        )
        return {"reviewed": row["n"], "false_alarms": row["false_alarms"], "missed": row["missed"]}

    def _kinds(self) -> list[Facts]:
        rows = self._rows(
            "SELECT coalesce(r.kind, f.known_defect) AS kind, count(*) AS n FROM frame f "
            "JOIN review r ON r.stream = f.stream AND r.key = f.key "
            "WHERE {} AND r.decision = 'defect' GROUP BY 1 ORDER BY n DESC, kind LIMIT 50",
            "f.captured",
            table="f.",
        )
        return [dict(row) for row in rows]

    def _losses(self) -> Facts:
        """By when the page heard of them, in whole quarters."""
        quarters = _Figures(
            self._database, self._stream, self._start // _QUARTER, -(-self._end // _QUARTER)
        )._rows("SELECT kind, code, sum(n) AS n FROM loss WHERE {} GROUP BY kind, code", "quarter")
        return {
            name: {row["code"]: row["n"] for row in quarters if row["kind"] == kind}
            for name, kind in (("dropped", "dropped"), ("refused", "error"))
        }

    def _stops(self) -> list[Facts]:
        """When a stream had no frames, or no detector was heard: they overlap the time, or lie in it."""
        rows = self._database.execute(
            "SELECT stream, cause, since, until FROM alarm "
            "WHERE cause IN ('silent', 'detector') AND since < ? AND (until IS NULL OR until > ?) "
            "AND (? IS NULL OR cause = 'detector' OR stream = ?) "
            "ORDER BY since, id LIMIT ?",
            (self._end, self._start, self._stream, self._stream, _LINES),
        )
        return [
            {
                "stream": row["stream"],
                "cause": row["cause"],
                "from": ms(row["since"]),
                "to": ms(row["until"]),
            }
            for row in rows
        ]

    def _thresholds(self) -> list[Facts]:
        rows = self._rows(
            "SELECT at, stream, who, before, after, note FROM audit "
            "WHERE {} AND what = 'threshold' ORDER BY at, id LIMIT 1000",
            "at",
        )
        return [
            {
                "at": ms(row["at"]),
                "stream": row["stream"],
                "who": row["who"],
                "before": _json(row["before"]),
                "after": _json(row["after"]),
                "why": row["note"],
            }
            for row in rows
        ]

    def _lost(self) -> int:
        """Scores that came neither by themselves nor out of the detector's history."""
        rows = self._database.execute(
            "SELECT topic, lost FROM gap WHERE at >= ? AND at < ?", (self._start, self._end)
        )
        of = [(row["topic"].rpartition("/"), row["lost"]) for row in rows]
        return sum(
            lost
            for (stream, _, kind), lost in of
            if kind == "score" and (self._stream is None or stream == self._stream)
        )


def lines(found: Facts) -> Iterator[tuple[Any, ...]]:
    """A report as (figure, of what, value), for a CSV; times in UTC."""
    for name in ("from", "to"):
        yield name, None, time_text(found[name])
    for name in _COUNTS:
        yield name, None, found[name]
    for entry in found["kinds"]:
        yield "kind", entry["kind"] or "none given", entry["n"]
    for name in ("dropped", "refused"):
        for code, n in found[name].items():
            yield name, code, n
    for entry in found["stops"]:
        for edge in ("from", "to"):
            yield f"stop {edge}", f"{entry['stream']} {entry['cause']}", time_text(entry[edge])
    for entry in found["thresholds"]:
        change = {side: entry[side] for side in ("who", "before", "after", "why")}
        yield "threshold", time_text(entry["at"]), json.dumps(change, ensure_ascii=False)
    for entry in found["by_hour"]:
        for name in ("inspected", "anomalous"):
            yield f"{name} from", time_text(entry["from"]), entry[name]
    for frame in found["worst"]:
        yield "worst", frame["frame_id"], frame["raw"]


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
