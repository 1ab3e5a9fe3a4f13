"""The bounded log of published messages, and in the same file topics' counts, ids and tallies, in SQLite."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import structlog

from musc_online.arrays import FrameId
from streamer.errors import StreamerError
from streamer.server.known_ids import KnownIds, Scored
from streamer.server.room import Room, Used
from streamer.server.runtime_ids import RuntimeIds
from streamer.server.threads import FairLock

log = structlog.get_logger()

_TOPICS = 100_000
_AT_ONCE = 64
_BYTES_AT_ONCE = 1024 * 1024
# Read under the lock at once, but for a single message that is larger.

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, pub_seq INTEGER NOT NULL, header BLOB NOT NULL, map BLOB,
    bytes INTEGER NOT NULL, peer TEXT, UNIQUE (topic, pub_seq));
CREATE TABLE IF NOT EXISTS topics (topic TEXT PRIMARY KEY, pub_seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tallies (stream TEXT PRIMARY KEY, tally BLOB NOT NULL);
"""
# `peer` is null for what is no complaint, '' for what is about no one peer.
_INDEX = """
CREATE INDEX IF NOT EXISTS complaints ON messages (id) WHERE peer IS NOT NULL;
CREATE INDEX IF NOT EXISTS complaints_by_peer ON messages (peer, id) WHERE peer IS NOT NULL;
"""
_OLD = """
ALTER TABLE messages ADD COLUMN peer TEXT;
UPDATE messages SET peer = '' WHERE topic LIKE '%/error' OR topic LIKE '%/dropped';
"""
_COMPLAINTS = ("/error", "/dropped")


@dataclass(frozen=True)
class Entry:
    """One published message as it is kept.

    `scored`: the frame a `score` is of, or its stream and id. `peer`: whose message an `error` is about.
    """

    topic: str
    pub_seq: int
    header: bytes
    payload: bytes | None = None
    scored: Scored | tuple[str, FrameId] | None = None
    peer: str = ""

    @property
    def complaint_about(self) -> str | None:
        """The peer, "" for none in particular, of an `error` or `dropped` message; None if it is neither."""
        return self.peer if self.topic.endswith(_COMPLAINTS) else None


class History:
    """Keeps the newest messages, up to a number and a size; safe from any thread.

    What went wrong (`error`, `dropped`) takes at most a quarter of both, and what one peer did wrong a
    quarter of that: however many bad messages come, they cost no more of the scores than that.

    Args:
        path: the database file, made if missing with its folders; None keeps it in memory.
        max_messages: messages kept.
        max_bytes: bytes of headers and maps kept.
        durable: every `add` waits for the disk; otherwise a killed process loses nothing, a power cut may.
        known_ids: ids of scored frames kept of each stream, in the same file.
        streams: streams whose ids are kept.
        known_path: where the ids are where `path` is None; None for memory.
        reliable: `transport.reliable`, where neither of the two is a path: ids of a service that keeps
            nothing else are in a `runtime_ids` file.

    Attributes:
        known: the frames that were scored.
        on_disk: whether it outlives the process.

    Raises:
        StreamerError: the file cannot be opened, or is no database of ours.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_messages: int,
        max_bytes: int,
        durable: bool = False,
        known_ids: int = 100_000,
        streams: int = 80,
        known_path: Path | None = None,
        reliable: str | None = None,
    ) -> None:
        self._lock = FairLock()
        self.on_disk = path is not None
        self._room = Room(max_messages, max_bytes)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            raise StreamerError(f"history.path: {path}: cannot be opened ({error})") from None
        try:
            self._refuse_foreign(path)
            self._used = self._open(durable)
            kept: dict[str, Any] = {"per_stream": known_ids, "streams": streams, "durable": durable}
            self.known: KnownIds
            if path is None and known_path is None and reliable is not None:
                self.known = RuntimeIds(reliable, **kept)
            elif path is None:
                self.known = _beside_snapshots(known_path, kept)
            else:
                self.known = KnownIds(path, writer=self._database, lock=self._lock, **kept)
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

    def tallies(self) -> dict[str, dict[str, Any]]:
        """The tally of each stream as it was last kept, the one changed last first; none from memory."""
        with self._lock:
            rows = self._all("SELECT stream, tally FROM tallies ORDER BY rowid DESC")
        return {stream: msgpack.unpackb(tally) for stream, tally in rows}

    def add(
        self, entries: Sequence[Entry], tallies: Mapping[str, Mapping[str, Any] | None] | None = None
    ) -> None:
        """Keep messages, all or none; the oldest make room.

        Args:
            entries: the messages.
            tallies: by stream, kept with them where the history is on disk; None for one that is closed.

        Raises:
            sqlite3.Error: the disk is full or gone; nothing was kept but in memory.
        """
        scored = [_scored(entry.scored) for entry in entries if entry.scored is not None]
        failed: sqlite3.Error | None = None
        if not self.on_disk:
            try:
                self.known.add(scored)
            except sqlite3.Error as error:
                failed = error
        try:
            with self._lock:
                with self._database:
                    # Counting the table anew for each message would read all of it.
                    used = self._insert(entries)
                    self._trim(used)
                    written = self.known.insert(scored) if self.on_disk else []
                    self._keep_tallies(tallies or {})
                self._used = used  # what failed was rolled back
        except sqlite3.Error:
            self.known.keep_unwritten(scored)
            raise
        self.known.were_written(written)
        if failed is not None:
            raise failed

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
            return {"messages": self._used.total.messages, "bytes": self._used.total.n_bytes}

    def close(self) -> None:
        """Close the database; nothing is lost."""
        self.known.close()
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

    def _open(self, durable: bool) -> Used:
        """Make the tables if missing, bring those of before up to date, and count what is kept."""
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._database.executescript(_SCHEMA)
        columns = {row[1] for row in self._all("PRAGMA table_info(messages)")}
        if "peer" not in columns:
            self._database.executescript(f"BEGIN; {_OLD} COMMIT;")
        self._database.executescript(_INDEX)
        used = Used(Room(), Room(), {})
        counts = "SELECT peer, count(*), coalesce(sum(bytes), 0) FROM messages GROUP BY peer"
        for peer, messages, n_bytes in self._all(counts):
            used.enter(messages, n_bytes, peer)
        return used

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

    def _insert(self, entries: Sequence[Entry]) -> Used:
        used = self._used.copy()
        for entry in entries:
            size, peer = len(entry.header) + len(entry.payload or b""), entry.complaint_about
            # A topic long forgotten starts at 0 again, perhaps in the place of a message still kept.
            for n_bytes, of_peer in self._all(
                "SELECT bytes, peer FROM messages WHERE topic = ? AND pub_seq = ?", entry.topic, entry.pub_seq
            ):
                used.enter(-1, -n_bytes, of_peer)
            used.enter(1, size, peer)
            self._database.execute(
                "INSERT OR REPLACE INTO messages (topic, pub_seq, header, map, bytes, peer) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (entry.topic, entry.pub_seq, entry.header, entry.payload, size, peer),
            )
            self._trim_complaints(used, peer)
        numbers = {entry.topic: entry.pub_seq for entry in entries}
        self._database.executemany("INSERT OR REPLACE INTO topics VALUES (?, ?)", numbers.items())
        return used

    def _trim_complaints(self, used: Used, peer: str | None) -> None:
        """Delete the oldest errors of a peer, then the oldest complaints, until both fit their parts."""
        if peer is None:
            return
        complaints = self._room.part()
        while peer and complaints.part().overfull(used.peers[peer]):
            self._delete_oldest(used, "WHERE peer = ?", peer)
        while complaints.overfull(used.complaints):
            self._delete_oldest(used, "WHERE peer IS NOT NULL")

    def _trim(self, used: Used) -> None:
        """Delete the oldest until what is left is within bounds."""
        room = self._room
        while used.total.messages > room.messages or used.total.n_bytes > room.n_bytes:
            self._delete_oldest(used, "")
        # Each update of a topic is a new row: the ones silent for longest go.
        self._database.execute(
            "DELETE FROM topics WHERE rowid <= (SELECT max(rowid) FROM topics) - ?", (_TOPICS,)
        )

    def _delete_oldest(self, used: Used, where: str, *values: object) -> None:
        query = f"SELECT id, bytes, peer FROM messages {where} ORDER BY id LIMIT 1"  # noqa: S608 - ours
        row_id, n_bytes, peer = self._one(query, *values)
        self._database.execute("DELETE FROM messages WHERE id = ?", (row_id,))
        used.enter(-1, -n_bytes, peer)

    def _keep_tallies(self, tallies: Mapping[str, Mapping[str, Any] | None]) -> None:
        for stream, tally in tallies.items() if self.on_disk else ():
            if tally is None:
                self._database.execute("DELETE FROM tallies WHERE stream = ?", (stream,))
            else:
                row = (stream, msgpack.packb(tally))
                self._database.execute("INSERT OR REPLACE INTO tallies VALUES (?, ?)", row)

    def _one(self, query: str, *values: object) -> Any:
        return self._database.execute(query, values).fetchone()

    def _all(self, query: str, *values: object) -> list[Any]:
        return self._database.execute(query, values).fetchall()


def _scored(scored: Scored | tuple[str, FrameId]) -> Scored:
    return scored if isinstance(scored, Scored) else Scored(*scored)


def _beside_snapshots(path: Path | None, kept: dict[str, Any]) -> KnownIds:
    """The ids in a file of their own; in memory without one, or where the disk has no room for it now."""
    try:
        return KnownIds(path, **kept)
    except sqlite3.Error as error:
        if path is None:
            raise
        log.error(
            "known_ids_failed", text=f"{path}: {error}", what_now="ids are known until the process ends"
        )
        return KnownIds(None, **kept)
