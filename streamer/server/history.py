"""The bounded log of published messages, and the count of each topic, in SQLite: on disk or in memory."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from musc_online.arrays import FrameId
from streamer.errors import StreamerError
from streamer.server.threads import FairLock

_TOPICS = 100_000
_AT_ONCE = 64
_BYTES_AT_ONCE = 1024 * 1024
# Read under the lock at once, but for a single message that is larger.

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, pub_seq INTEGER NOT NULL, header BLOB NOT NULL, map BLOB,
    bytes INTEGER NOT NULL, UNIQUE (topic, pub_seq));
CREATE TABLE IF NOT EXISTS topics (topic TEXT PRIMARY KEY, pub_seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS scored (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, frame_id BLOB NOT NULL, UNIQUE (stream, frame_id));
"""


@dataclass(frozen=True)
class Entry:
    """One published message as it is kept. `scored`: the stream and id of the frame a `score` is of."""

    topic: str
    pub_seq: int
    header: bytes
    payload: bytes | None = None
    scored: tuple[str, FrameId] | None = None


class History:
    """Keeps the newest messages, up to a number and a size; safe from any thread.

    Args:
        path: the database file, made if missing with its folders; None keeps it in memory.
        max_messages: messages kept.
        max_bytes: bytes of headers and maps kept.
        durable: every `add` waits for the disk; otherwise a killed process loses nothing, a power cut may.

    Raises:
        StreamerError: the file cannot be opened, or is no database of ours.
    """

    def __init__(
        self, path: Path | None, *, max_messages: int, max_bytes: int, durable: bool = False
    ) -> None:
        self._lock = FairLock()
        self._max_messages, self._max_bytes = max_messages, max_bytes
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            raise StreamerError(f"history.path: {path}: cannot be opened ({error})") from None
        try:
            self._refuse_foreign(path)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._database.executescript(_SCHEMA)
            self._messages, self._bytes = self._one("SELECT count(*), coalesce(sum(bytes), 0) FROM messages")
        except sqlite3.Error as error:
            self._database.close()
            raise StreamerError(
                f"history.path: {path}: is no history of this service or is damaged ({error}); move it away, "
                "and a new one is begun"
            ) from None

    def next_number(self, topic: str) -> int:
        """The `pub_seq` that follows the last one of a topic, kept or not; 0 for a topic never heard of."""
        with self._lock:
            (last,) = self._one("SELECT coalesce(max(pub_seq), -1) FROM topics WHERE topic = ?", topic)
            return int(last) + 1

    def scored_ids(self, stream: str) -> list[FrameId]:
        """Ids of the newest `max_messages` frames of all streams that were scored, those of one stream."""
        with self._lock:
            rows = self._all("SELECT frame_id FROM scored WHERE stream = ?", stream)
        return [msgpack.unpackb(packed) for (packed,) in rows]

    def add(self, entries: Sequence[Entry]) -> None:
        """Keep messages, all or none; the oldest make room.

        Raises:
            sqlite3.Error: the disk is full or gone; nothing was kept.
        """
        with self._lock:
            with self._database:
                kept = self._trim(*self._insert(entries))
            # Counting the table anew for each message would read all of it; what failed was rolled back.
            self._messages, self._bytes = kept

    def fetch(
        self, topic: str, first: int, last: int, *, limit: int, max_bytes: int
    ) -> tuple[list[Entry], bool]:
        """Kept messages of a topic, `first <= pub_seq <= last`, oldest first; and whether there are more."""
        found: list[Entry] = []
        size = 0
        while rows := self._some(topic, first, last):
            for pub_seq, header, payload, n_bytes in rows:
                size += n_bytes
                if found and (len(found) >= limit or size > max_bytes):
                    return found, True
                found.append(Entry(topic, pub_seq, header, payload))
            first = found[-1].pub_seq + 1
        return found, False

    def status(self) -> dict[str, int]:
        """Messages and bytes kept."""
        with self._lock:
            return {"messages": self._messages, "bytes": self._bytes}

    def close(self) -> None:
        """Close the database; nothing is lost."""
        with self._lock:
            self._database.close()

    def _refuse_foreign(self, path: Path | None) -> None:
        """Leave another program's database as it is."""
        tables = {name for (name,) in self._all("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not {"messages", "topics"} <= tables:
            self._database.close()
            raise StreamerError(
                f"history.path: {path}: is another program's database (it has a table '{min(tables)}'); set "
                "history.path to a file of its own"
            )

    def _some(self, topic: str, first: int, last: int) -> list[Any]:
        """The first few of a topic's messages: publishing waits for the lock meanwhile, and for no more."""
        with self._lock:
            rows = self._database.execute(
                "SELECT pub_seq, header, map, bytes FROM messages "
                "WHERE topic = ? AND pub_seq BETWEEN ? AND ? ORDER BY pub_seq LIMIT ?",
                (topic, first, last, _AT_ONCE),
            )
            taken, size = [], 0
            for row in rows:
                taken.append(row)
                size += row[3]
                if size >= _BYTES_AT_ONCE:
                    break
            rows.close()
        return taken

    def _insert(self, entries: Sequence[Entry]) -> tuple[int, int]:
        messages, total = self._messages, self._bytes
        for entry in entries:
            size = len(entry.header) + len(entry.payload or b"")
            # A topic long forgotten starts at 0 again, perhaps in the place of a message still kept.
            replaced = self._all(
                "SELECT bytes FROM messages WHERE topic = ? AND pub_seq = ?", entry.topic, entry.pub_seq
            )
            messages, total = messages + 1 - len(replaced), total + size - sum(n for (n,) in replaced)
            row = (entry.topic, entry.pub_seq, entry.header, entry.payload, size)
            self._database.execute(
                "INSERT OR REPLACE INTO messages (topic, pub_seq, header, map, bytes) VALUES (?, ?, ?, ?, ?)",
                row,
            )
            if entry.scored is not None:
                stream, frame_id = entry.scored
                self._database.execute(
                    "INSERT OR REPLACE INTO scored (stream, frame_id) VALUES (?, ?)",
                    (stream, msgpack.packb(frame_id)),
                )
        numbers = {entry.topic: entry.pub_seq for entry in entries}
        self._database.executemany("INSERT OR REPLACE INTO topics VALUES (?, ?)", numbers.items())
        return messages, total

    def _trim(self, messages: int, size: int) -> tuple[int, int]:
        """Delete the oldest until what is left is within bounds; how many messages and bytes that is."""
        while messages > self._max_messages or size > self._max_bytes:
            oldest = self._all("SELECT id, bytes FROM messages ORDER BY id LIMIT 1")
            if not oldest:
                break
            row_id, n_bytes = oldest[0]
            self._database.execute("DELETE FROM messages WHERE id = ?", (row_id,))
            messages, size = messages - 1, size - n_bytes
        self._database.execute(
            "DELETE FROM scored WHERE id <= (SELECT max(id) FROM scored) - ?", (self._max_messages,)
        )
        # Each update of a topic is a new row: the ones silent for longest go.
        self._database.execute(
            "DELETE FROM topics WHERE rowid <= (SELECT max(rowid) FROM topics) - ?", (_TOPICS,)
        )
        return messages, size

    def _one(self, query: str, *values: object) -> Any:
        return self._database.execute(query, values).fetchone()

    def _all(self, query: str, *values: object) -> list[Any]:
        return self._database.execute(query, values).fetchall()
