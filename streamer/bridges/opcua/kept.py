"""What was told last, on disk beside the bridge's queue: for a client that was away, and for a restart."""

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.bridges.opcua.names import COUNTERS, ResultState, Verdict
from streamer.bridges.opcua.told import Told
from streamer.errors import StreamerError

FILE = "opcua-kept.db"
_VERSION = 1
_DEFAULTS_BYTES = 300
"""Of the fields that a body leaves out. What is in it, as JSON with its names, is longer than as OPC UA."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, stream TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS of_a_stream ON items (kind, stream, number);
CREATE TABLE IF NOT EXISTS streams (stream TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


@dataclass
class State:
    """What the variables of a stream show.

    Attributes:
        newest: by kind, `result` or `message`, the number of the last item that was told of it.
        last: fields of the last result of its newest frame.
        revised: fields of the result that was told again last.
        counters: by name, see `COUNTERS`.
    """

    newest: dict[str, int] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    revised: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))


class Kept:
    """The last results and messages of each stream, by their numbers, and what the variables show.

    Numbers count up for as long as the file is there. Those of a queue begin again when it is moved away and
    a new one is made: they are then told as going on behind the last, for a client asks by the last it has.

    `add` may run in a thread of its own beside everything else; one at a time.

    Args:
        folder: of the queue; must exist.
        queue: id of the queue, whose items are to be added.
        keep: results, and as many messages, of each stream.
        streams: of so many there are variables and counters; items of all together are kept in their room.

    Raises:
        StreamerError: the file is damaged or cannot be written.
    """

    def __init__(self, folder: Path, queue: str, keep: int, streams: int) -> None:
        self.path = folder / FILE
        self._keep, self._most = keep, 2 * keep * streams
        self._streams_most = streams
        try:
            self._writer = self._connect()
            self._writer.executescript(_SCHEMA)
            self._reader = self._connect()
            self.instance = self._instance()
            self._before = self._told_before(queue)
            self.states = self._load()
        except sqlite3.Error as error:
            raise StreamerError(
                f"{self.path}: cannot be used ({error}); if it is damaged delete it: clients can no longer "
                "fetch what they missed before"
            ) from None
        self._since_trim = 0
        self._writing = threading.Lock()

    def _connect(self) -> sqlite3.Connection:
        self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        # What has left the queue is here alone: it must not be lost with the power.
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _instance(self) -> str:
        """Part of every result id: numbers begin again when this file is gone, ids must not."""
        self._check_version()
        self._writer.execute("INSERT OR IGNORE INTO facts VALUES ('instance', ?)", (secrets.token_hex(4),))
        found = self._writer.execute("SELECT value FROM facts WHERE name = 'instance'").fetchone()
        return str(found[0])

    def _check_version(self) -> None:
        self._writer.execute("INSERT OR IGNORE INTO facts VALUES ('version', ?)", (str(_VERSION),))
        found = self._writer.execute("SELECT value FROM facts WHERE name = 'version'").fetchone()[0]
        if found != str(_VERSION):
            raise StreamerError(f"{self.path}: is of version {found}, expected {_VERSION}; move it away")

    def _told_before(self, queue: str) -> int:
        """The newest number that was told before this queue's first; the same as long as the queue is."""
        writer = self._writer
        writer.execute("BEGIN IMMEDIATE")
        facts = dict(writer.execute("SELECT name, value FROM facts").fetchall())
        if facts.get("queue") != queue:
            facts["before"] = str(self.newest)
            known = [("queue", queue), ("before", facts["before"])]
            writer.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", known)
        writer.execute("COMMIT")
        return int(facts["before"])

    def number_of(self, queued: int) -> int:
        """The number under which an item of the queue is told."""
        return self._before + queued

    def _load(self) -> dict[str, State]:
        rows = self._writer.execute("SELECT stream, body FROM streams ORDER BY stream").fetchall()
        return {stream: State(**json.loads(body)) for stream, body in rows}

    @property
    def newest(self) -> int:
        """Number of the newest item; 0 before the first."""
        found = self._reader.execute("SELECT max(number) FROM items").fetchone()[0]
        return int(found or 0)

    def result_id(self, number: int) -> str:
        """Of the result with that number."""
        return f"{self.instance}-{number}"

    def add(self, items: Sequence[Told]) -> list[Told]:
        """Keep items and count them, all or none; what is told again by the queue is not counted again.

        Returns:
            The items with `ResultId` and `PreviousItemNumber` filled in.

        Raises:
            sqlite3.Error: not now.
        """
        with self._writing:
            return self._add_all(items)

    def _add_all(self, items: Sequence[Told]) -> list[Told]:
        writer = self._writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            touched: dict[str, State] = {}
            whole = [self._add(one, touched) for one in items]
            for stream, state in touched.items():
                writer.execute(
                    "INSERT OR REPLACE INTO streams VALUES (?, ?)", (stream, json.dumps(state.__dict__))
                )
            self._trim({(one.kind, one.stream) for one in items}, len(items))
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:  # a full disk has ended it already
                writer.execute("ROLLBACK")
            raise
        self.states |= touched
        return whole

    def _add(self, one: Told, touched: dict[str, State]) -> Told:
        found = self._writer.execute("SELECT body FROM items WHERE number = ?", (one.number,)).fetchone()
        if found is not None:
            return Told(one.kind, one.number, one.stream, json.loads(found[0]), one.newest, one.told_again)
        state = touched.get(one.stream) or self._copy(one.stream)
        values = {**one.values, "PreviousItemNumber": self._previous(one, state)}
        if one.kind == "result":
            values["ResultId"] = self.result_id(one.number)
        whole = Told(one.kind, one.number, one.stream, values, one.newest, one.told_again)
        if one.number > max(state.newest.values(), default=0) and self._has_room(one.stream, touched):
            _count(state, whole)
            touched[one.stream] = state
        self._writer.execute(
            "INSERT INTO items VALUES (?, ?, ?, ?)", (one.number, one.kind, one.stream, json.dumps(values))
        )
        return whole

    def _previous(self, one: Told, state: State) -> int:
        """Number of its stream's item before it; of what has no state, or is told again: if it is kept."""
        newest = state.newest.get(one.kind, 0)
        if 0 < newest < one.number:
            return newest
        found = self._writer.execute(
            "SELECT max(number) FROM items WHERE kind = ? AND stream = ? AND number < ?",
            (one.kind, one.stream, one.number),
        ).fetchone()[0]
        return int(found or 0)

    def _copy(self, stream: str) -> State:
        known = self.states.get(stream)
        if known is None:
            return State()
        parts = (known.newest, known.last, known.revised, known.counters)
        return State(*(dict(part) for part in parts))

    def _has_room(self, stream: str, touched: dict[str, State]) -> bool:
        return stream in self.states or stream in touched or len(self.states | touched) < self._streams_most

    def _trim(self, touched: Iterable[tuple[str, str]], added: int) -> None:
        for kind, stream in touched:
            self._writer.execute(
                "DELETE FROM items WHERE kind = ?1 AND stream = ?2 AND number <= (SELECT number FROM items "
                "WHERE kind = ?1 AND stream = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)",
                (kind, stream, self._keep),
            )
        self._since_trim += added
        if self._since_trim < 1000:
            return
        self._since_trim = 0
        self._writer.execute(
            "DELETE FROM items WHERE number <= "
            "(SELECT number FROM items ORDER BY number DESC LIMIT 1 OFFSET ?)",
            (self._most,),
        )

    def get(self, result_id: str) -> dict[str, Any] | None:
        """The fields of one result, or None where it is kept no more."""
        instance, _, number = result_id.rpartition("-")
        if instance != self.instance or not (number.isascii() and number.isdigit() and len(number) < 19):
            return None
        found = self._reader.execute(
            "SELECT body FROM items WHERE number = ? AND kind = 'result'", (int(number),)
        ).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def after(
        self, kind: str, stream: str | None, number: int, most: int, most_bytes: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Fields of at most `most` items behind a number, oldest first, and whether there are more.

        Args:
            kind: `result` or `message`.
            stream: None for all.
            number: of the last item that is known already; 0 for none.
            most: 1 or more.
            most_bytes: of all of them, as a client gets them; one comes however large it is.
        """
        where, given = "kind = ? AND number > ?", [kind, min(number, 2**63 - 1)]
        if stream is not None:
            where, given = f"{where} AND stream = ?", [*given, stream]
        rows = self._reader.execute(
            f"SELECT body FROM items WHERE {where} ORDER BY number LIMIT ?",  # noqa: S608  (constants)
            (*given, most + 1),
        )
        found: list[dict[str, Any]] = []
        for (body,) in rows:
            most_bytes -= len(body) + _DEFAULTS_BYTES
            if len(found) == most or (found and most_bytes < 0):
                return found, True
            found.append(json.loads(body))
        return found, False

    def oldest(self, kind: str, stream: str | None) -> int:
        """Number of the oldest item that is kept; 0 where there is none."""
        where, given = ("", [kind]) if stream is None else (" AND stream = ?", [kind, stream])
        found = self._reader.execute(
            f"SELECT min(number) FROM items WHERE kind = ?{where}",  # noqa: S608  (constants)
            given,
        ).fetchone()[0]
        return int(found or 0)

    def close(self) -> None:
        """Close the file, once what is being written is."""
        with self._writing:
            self._reader.close()
            self._writer.close()


def _count(state: State, one: Told) -> None:
    counters = state.counters
    state.newest[one.kind] = one.number
    if one.kind == "message":
        counters["Messages"] += 1
        return
    if one.told_again:
        counters["Revisions"] += 1
        state.revised = one.values
        if one.values.get("FrameId") == state.last.get("FrameId"):
            state.last = one.values
        return
    if one.values.get("ResultState") == ResultState.ABORTED:
        counters["Aborted"] += 1
    counters["Results"] += 1
    counters["Anomalous"] += one.values.get("Verdict") == Verdict.ANOMALOUS
    state.last = one.values
