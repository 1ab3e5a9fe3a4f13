"""Which verdicts and events make an alarm, which join one, and when one turns out to be none."""

import sqlite3

from streamer.following.messages import Event

STATES = ("silent", "detector")
"""Causes that are no frame's: a stream without frames, a detector that is not heard."""
CAUSES = ("anomalous", "repeat", "changeover", "drift", "frozen", *STATES)


class Alarms:
    """Writes alarms, within the transaction of its caller.

    Args:
        cooldown_ns: an anomalous frame so soon after the last one of an alarm that nobody has acknowledged
            belongs to it.

    Attributes:
        changed: ids of those that are new or another than they were; whoever reads it empties it.
    """

    def __init__(self, cooldown_ns: int) -> None:
        self._cooldown_ns = cooldown_ns
        self.changed: set[int] = set()

    def anomalous(self, database: sqlite3.Connection, stream: str, key: str, at: int, now: int) -> int:
        """A frame is anomalous that was not before; returns the number of its alarm."""
        last = database.execute(
            "SELECT id, since, until, ack_at FROM alarm WHERE stream = ? AND cause = 'anomalous' "
            "ORDER BY id DESC LIMIT 1",
            (stream,),
        ).fetchone()
        near = last is not None and (
            last["since"] - self._cooldown_ns <= at <= last["until"] + self._cooldown_ns
        )
        if last is None or last["ack_at"] is not None or not near:
            return self._new(database, stream, "anomalous", key, 1, at, at, None, now)
        database.execute(
            "UPDATE alarm SET n_frames = n_frames + 1, until = max(until, ?), revised = NULL WHERE id = ?",
            (at, last["id"]),
        )
        return self._changed(last["id"])

    def relabelled(self, database: sqlite3.Connection, number: int, at: int) -> None:
        """A frame of an alarm has another label: it is revised once none of its frames is anomalous."""
        (left,) = database.execute(
            "SELECT count(*) FROM frame WHERE alarm = ? AND label = 1", (number,)
        ).fetchone()
        changed = database.execute(
            "UPDATE alarm SET revised = ? WHERE id = ? AND (revised IS NULL) != ?",
            (None if left else at, number, bool(left)),
        )
        if changed.rowcount:
            self._changed(number)

    def event(self, database: sqlite3.Connection, event: Event, now: int) -> None:
        """An event is told; told again, as it grows, it is the same alarm."""
        if event.event not in CAUSES:
            return
        last = database.execute(
            "SELECT id, key FROM alarm WHERE stream = ? AND cause = ? AND grp = ? ORDER BY id DESC LIMIT 1",
            (event.stream, event.event, event.group),
        ).fetchone()
        if last is None or last["key"] != event.since:
            self._new(
                database,
                event.stream,
                event.event,
                event.since,
                event.n_frames,
                event.at,
                event.at,
                event.group,
                now,
            )
            return
        database.execute(
            "UPDATE alarm SET n_frames = ?, until = ? WHERE id = ?", (event.n_frames, event.at, last["id"])
        )
        self._changed(last["id"])

    def begin(self, database: sqlite3.Connection, stream: str, cause: str, at: int) -> None:
        """A state that asks for somebody begins; nothing where it goes on."""
        if self._going_on(database, stream, cause) is None:
            self._new(database, stream, cause, None, 0, at, None, None, at)

    def end(self, database: sqlite3.Connection, stream: str, cause: str, at: int) -> None:
        """It is over; what was not acknowledged still asks for it."""
        number = self._going_on(database, stream, cause)
        if number is not None:
            database.execute("UPDATE alarm SET until = ? WHERE id = ?", (at, number))
            self._changed(number)

    def _going_on(self, database: sqlite3.Connection, stream: str, cause: str) -> int | None:
        last = database.execute(
            "SELECT id, until FROM alarm WHERE stream = ? AND cause = ? ORDER BY id DESC LIMIT 1",
            (stream, cause),
        ).fetchone()
        return None if last is None or last["until"] is not None else int(last["id"])

    def _new(self, database: sqlite3.Connection, *values: object) -> int:
        made = database.execute(
            "INSERT INTO alarm (stream, cause, key, n_frames, since, until, grp, stored) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return self._changed(int(made.lastrowid or 0))

    def _changed(self, number: int) -> int:
        self.changed.add(number)
        return number
