"""What a transaction has changed, as updates for those who look."""

import sqlite3
from collections.abc import Iterable, Sequence

from streamer.page.rows import (
    ALARMS,
    AUDIT,
    EVENTS,
    FRAMES,
    Facts,
    alarm_json,
    audit_json,
    event_json,
    frame_json,
    ms,
    some,
)
from streamer.page.updates import Update, update
from streamer.page.verdicts import Written

_FLIPS = 100
# In one update, so that none is larger than a browser reads in a moment.
_AT_ONCE = 500


class Telling:
    """Reads within the transaction that has changed it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def frames(self, written: Written) -> list[Update]:
        """Pictures and scores, then what was revised, stream by stream.

        Pictures first: who is told of a score that has one, and has not got it yet, asks for it.
        """
        known = self._frames([*written.scored, *written.pictured, *written.flips])
        told = self._pictures(written, known)
        told += [
            update(
                {"type": "score", "frame": known[number]},
                stream=known[number]["stream"],
                grid=written.grids.get(number),
            )
            for number in dict.fromkeys(written.scored)
            if number in known
        ]
        for stream, count in written.revised.items():
            flips = [known[one] for one in written.flips if one in known and known[one]["stream"] == stream]
            told += self._revised(stream, count, flips, written.now)
        return told

    def _pictures(self, written: Written, known: dict[int, Facts]) -> list[Update]:
        told = []
        for number in written.pictured:
            if number in known:
                stream, key = known[number]["stream"], known[number]["key"]
                header = {"type": "picture", "stream": stream, "key": key}
                told.append(update(header, stream=stream, jpeg=written.jpegs.get((stream, key))))
        return told

    def word(self, number: int) -> Update:
        """A line of the audit."""
        row = self._database.execute(f"{AUDIT} WHERE id = ?", (number,)).fetchone()
        return update({"type": "operator", "word": audit_json(row)}, stream=row["stream"])

    def event(self, number: int) -> Update:
        """An event."""
        row = self._database.execute(f"{EVENTS} WHERE id = ?", (number,)).fetchone()
        return update({"type": "event", "event": event_json(row)}, stream=row["stream"])

    def alarms(self, numbers: Sequence[int]) -> list[Update]:
        """Alarms that are new or changed."""
        rows = self._in(f"{ALARMS} WHERE id", numbers)
        told = [alarm_json(row) for row in rows]
        # That of a detector concerns every page, whatever stream it shows.
        return [
            update(
                {"type": "alarm", "alarm": one}, stream=None if one["cause"] == "detector" else one["stream"]
            )
            for one in told
        ]

    def _revised(self, stream: str, count: int, flips: list[Facts], now: int) -> list[Update]:
        told = []
        for first in range(0, max(1, len(flips)), _FLIPS):
            part = flips[first : first + _FLIPS]
            header = {
                "type": "revised",
                "stream": stream,
                "n": 0 if first else count,
                "flips": part,
                "at": ms(now),
            }
            told.append(update(header, stream=stream, may_drop=not part))
        return told

    def _frames(self, numbers: Iterable[int]) -> dict[int, Facts]:
        rows = self._in(f"{FRAMES} WHERE f.scored IS NOT NULL AND f.id", list(dict.fromkeys(numbers)))
        return {row["id"]: frame_json(row) for row in rows}

    def _in(self, query: str, numbers: Sequence[int]) -> list[sqlite3.Row]:
        found: list[sqlite3.Row] = []
        for first in range(0, len(numbers), _AT_ONCE):
            part = numbers[first : first + _AT_ONCE]
            found += self._database.execute(f"{query} IN ({some(part)})", part).fetchall()
        return found
