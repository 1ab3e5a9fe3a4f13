"""Which frames of each stream were scored, at any distance, in SQLite: on disk or in memory."""

import hashlib
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import structlog

from musc_online import snapshot
from musc_online.arrays import FrameId
from streamer.wire.frame import FrameMessage

log = structlog.get_logger()

FILE = "known_ids.sqlite"
"""Beside the snapshots, where there is no history on disk."""

ANY_PICTURE = b""
"""Digest of a frame of which only the id is known: whatever comes under that id is taken for the same."""

BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite itself has beside it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS known_streams (stream TEXT PRIMARY KEY, newest INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS known_ids (
    stream TEXT NOT NULL, number INTEGER NOT NULL, frame_id BLOB NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (stream, number)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS known_by_id ON known_ids (stream, frame_id);
"""
# Histories of before had a table of ids without digests, bounded by `history.max_messages` of all streams.
_FROM_SCORED = """
INSERT OR IGNORE INTO known_ids SELECT stream, row_number() OVER (PARTITION BY stream ORDER BY id),
    frame_id, x'' FROM scored;
INSERT OR REPLACE INTO known_streams SELECT stream, max(number) FROM known_ids GROUP BY stream;
DROP TABLE scored;
"""


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Scored:
    """A frame that was scored: its stream, its id, and the digest of its picture.

    `counts` is asked when it is written: a stream that was reset since knows it no more.
    """

    stream: str
    frame_id: FrameId
    digest: bytes = ANY_PICTURE
    counts: Callable[[], bool] = field(default=_always, repr=False, compare=False)


class KnownIds:
    """The newest `per_stream` ids of each of the newest `streams` streams; safe from any thread.

    What is looked up is read by index, never loaded as a whole, and never waits for a write to a disk.

    Args:
        path: a database of its own, made if missing, or with `writer` the one that is written by it; None
            keeps the ids in memory.
        per_stream: ids kept of each stream.
        streams: streams kept; those silent for longest go.
        writer: a connection to `path` in whose transactions the ids are written, by `insert`.
        lock: held by whoever uses `writer`.
        durable: `add` waits for the disk.

    Attributes:
        in_history: whether they are in the history's file, and independent of rings.

    Raises:
        sqlite3.Error: the file is no database, or cannot be opened.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        per_stream: int,
        streams: int,
        writer: sqlite3.Connection | None = None,
        lock: AbstractContextManager[object] | None = None,
        durable: bool = False,
    ) -> None:
        self._per_stream, self._streams = per_stream, streams
        self._write_lock: AbstractContextManager[object] = lock or threading.Lock()
        self._read_lock: AbstractContextManager[object] = threading.Lock()
        self.in_history = writer is not None
        self._unwritten: OrderedDict[tuple[str, FrameId], bytes] = OrderedDict()
        self._writer = writer or open_database(path, durable=durable)
        try:
            with self._writer:
                self._create()
            # A reader of its own sees what is committed, and waits for no commit; memory has no second one.
            self._reader = self._writer if path is None else open_database(path)
            if self._reader is self._writer:
                self._read_lock = self._write_lock
        except BaseException:
            if not self.in_history:
                self._writer.close()
            raise

    def find(self, stream: str, frame_id: FrameId) -> bytes | None:
        """The digest of the picture that was scored under an id, `ANY_PICTURE` if unknown; None if none was.

        Raises:
            sqlite3.Error: the disk cannot be read.
        """
        with self._read_lock:
            digest = self._unwritten.get((stream, frame_id))
            if digest is not None:
                return digest
            rows = self._reader.execute(
                "SELECT digest FROM known_ids WHERE stream = ? AND frame_id = ?",
                (stream, msgpack.packb(frame_id)),
            ).fetchall()
        return bytes(rows[0][0]) if rows else None

    def find_earlier(self, stream: str, frame_id: FrameId) -> bytes | None:
        """The digest of a picture that an earlier process scored under an id, where `find` knows it not.

        Only `RuntimeIds` has such ones.

        Raises:
            sqlite3.Error: the disk cannot be read.
        """
        del stream, frame_id
        return None

    def forget_earlier(self) -> None:
        """Know no more what `find_earlier` finds, of any stream.

        Raises:
            sqlite3.Error: the disk is full or gone; a restart may bring them back.
        """

    def streams(self) -> list[str]:
        """The streams of which ids are written, the one silent for longest first."""
        with self._read_lock:
            rows = self._reader.execute("SELECT stream FROM known_streams ORDER BY rowid").fetchall()
        return [stream for (stream,) in rows]

    def ids(self, stream: str) -> list[FrameId]:
        """All ids known of a stream, oldest first."""
        with self._read_lock:
            rows = self._reader.execute(
                "SELECT frame_id FROM known_ids WHERE stream = ? ORDER BY number", (stream,)
            ).fetchall()
        return [msgpack.unpackb(packed) for (packed,) in rows]

    def add(self, scored: Iterable[Scored]) -> None:
        """Know these frames, all or none, in a transaction of its own.

        Raises:
            sqlite3.Error: the disk is full or gone; they are known in memory only.
        """
        scored = list(scored)
        if not scored:
            return
        try:
            with self._write_lock, self._writer:
                written = self.insert(scored)
        except sqlite3.Error:
            self.keep_unwritten(scored)
            raise
        self.were_written(written)

    def insert(self, scored: Sequence[Scored]) -> list[Scored]:
        """Write these frames, and those that could not be written before, in the writer's transaction.

        Returns:
            What `were_written` is to be told once the transaction is committed.
        """
        late = [Scored(*key, digest) for key, digest in list(self._unwritten.items())]
        written = [one for one in (*late, *scored) if one.counts()]
        by_stream: dict[str, list[Scored]] = {}
        for one in written:
            by_stream.setdefault(one.stream, []).append(one)
        for stream, frames in by_stream.items():
            self._insert(stream, frames)
        if by_stream:
            self._forget_silent_streams()
        return written

    def were_written(self, written: Iterable[Scored]) -> None:
        """The transaction of `insert` is committed."""
        if self._unwritten:
            with self._read_lock:
                for one in written:
                    self._unwritten.pop((one.stream, one.frame_id), None)

    def keep_unwritten(self, scored: Iterable[Scored]) -> None:
        """The transaction of `insert` failed: the frames are known in memory until they can be written."""
        with self._read_lock:
            for one in scored:
                if one.counts():
                    self._unwritten[one.stream, one.frame_id] = one.digest
            while len(self._unwritten) > self._per_stream:
                self._unwritten.popitem(last=False)

    def learn(self, stream: str, frame_ids: Iterable[FrameId]) -> None:
        """Know ids that a snapshot knows, oldest first, and this does not, being older, lost or full.

        Those that come after the newest known here are newer. All others were scored before it: they take
        what room there is, and never that of what was scored since the snapshot.

        Raises:
            sqlite3.Error: as `add`.
        """
        ids, newest = list(frame_ids), self._newest(stream)
        known_to = 0 if newest is None else len(ids) if newest not in ids else ids.index(newest)
        unknown = [(at, Scored(stream, one)) for at, one in enumerate(ids) if self.find(stream, one) is None]
        self._add_older(stream, [one for at, one in unknown if at < known_to])
        self.add([one for at, one in unknown if at >= known_to])

    def forget(self, stream: str) -> None:
        """Know no frame of a stream any more.

        Raises:
            sqlite3.Error: the disk is full or gone; a restart may bring them back.
        """
        with self._read_lock:
            for key in [key for key in self._unwritten if key[0] == stream]:
                del self._unwritten[key]
        with self._write_lock, self._writer:
            self._delete(stream)

    def check(self) -> None:
        """See that it can be read all through, and written; nothing is changed.

        Raises:
            sqlite3.Error: it is damaged, its tables are another program's, or the disk is full or gone.
        """
        (found,) = self._one("PRAGMA quick_check(1)")
        if found != "ok":
            raise sqlite3.DatabaseError(f"is damaged ({found})")
        with self._write_lock:
            try:
                self._insert("", [Scored("", "")])
            finally:
                self._writer.rollback()

    def close(self) -> None:
        """Close the database; nothing is lost."""
        if self._reader is not self._writer:
            self._reader.close()
        if not self.in_history:
            self._writer.close()

    def _create(self) -> None:
        for statement in _SCHEMA.split(";"):
            self._writer.execute(statement)
        old = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'scored'"
        if self._writer.execute(old).fetchone()[0]:
            for statement in _FROM_SCORED.split(";"):
                self._writer.execute(statement)

    def _insert(self, stream: str, frames: list[Scored]) -> None:
        row = self._one("SELECT newest FROM known_streams WHERE stream = ?", stream)
        newest = -1 if row is None else int(row[0])
        rows = [
            (stream, newest + 1 + offset, msgpack.packb(one.frame_id), one.digest)
            for offset, one in enumerate(frames)
        ]
        newest += len(frames)
        self._writer.executemany("INSERT OR REPLACE INTO known_ids VALUES (?, ?, ?, ?)", rows)
        self._writer.execute(
            "DELETE FROM known_ids WHERE stream = ? AND number <= ?", (stream, newest - self._per_stream)
        )
        # Each update is a new row, so that row ids tell which streams were silent for longest.
        self._writer.execute("INSERT OR REPLACE INTO known_streams VALUES (?, ?)", (stream, newest))

    def _newest(self, stream: str) -> FrameId | None:
        with self._read_lock:
            rows = self._reader.execute(
                "SELECT frame_id FROM known_ids WHERE stream = ? ORDER BY number DESC LIMIT 1", (stream,)
            ).fetchall()
        return msgpack.unpackb(rows[0][0]) if rows else None

    def _add_older(self, stream: str, frames: list[Scored]) -> None:
        """Write frames scored before all that are known of a stream; the oldest are left out for room."""
        if not frames:
            return
        with self._write_lock, self._writer:
            bounds = "SELECT min(number), max(number) FROM known_ids WHERE stream = ?"
            oldest, newest = self._one(bounds, stream)
            if oldest is None:  # forgotten meanwhile, silent for longest
                return
            room = self._per_stream - (newest + 1 - oldest)
            rows = [
                (stream, oldest - offset, msgpack.packb(one.frame_id), one.digest)
                for offset, one in enumerate(reversed(frames[-room:] if room > 0 else []), 1)
            ]
            self._writer.executemany("INSERT OR IGNORE INTO known_ids VALUES (?, ?, ?, ?)", rows)

    def _forget_silent_streams(self) -> None:
        (count,) = self._one("SELECT count(*) FROM known_streams")
        if count > self._streams:
            silent = self._writer.execute(
                "SELECT stream FROM known_streams ORDER BY rowid LIMIT ?", (count - self._streams,)
            ).fetchall()
            for (stream,) in silent:
                self._delete(stream)

    def _delete(self, stream: str) -> None:
        self._writer.execute("DELETE FROM known_ids WHERE stream = ?", (stream,))
        self._writer.execute("DELETE FROM known_streams WHERE stream = ?", (stream,))

    def _one(self, query: str, *values: object) -> Any:
        return self._writer.execute(query, values).fetchone()


def open_database(path: Path | None, *, durable: bool = False) -> sqlite3.Connection:
    """A connection that any thread may use; its users take turns.

    Raises:
        sqlite3.Error: the file is no database, or cannot be opened.
    """
    database = sqlite3.connect(path or ":memory:", check_same_thread=False, timeout=5.0)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    except BaseException:
        database.close()
        raise
    return database


def prepare(folder: Path, file: str = FILE, known_still: str = "ids start with the snapshots'") -> Path:
    """Where the ids are in a folder: a whole database or nothing. What else lies there is set aside.

    Args:
        folder: of the snapshots, or `runtime_ids`.
        file: its name there.
        known_still: for the log, what is known where a file was set aside.
    """
    path = folder / file
    for rest in BESIDE:  # SQLite follows a link, and takes anything for its own
        beside = path.with_name(path.name + rest)
        if os.path.lexists(beside) and (beside.is_symlink() or not beside.is_file()):
            _set_aside(beside, f"is no file of {file}", known_still)
    try:
        if path.exists() or path.is_symlink():
            if not path.is_file():
                raise sqlite3.DatabaseError("is no file")
            made = KnownIds(path, per_stream=1, streams=1)
            try:
                made.check()
            finally:
                made.close()
    except (OSError, sqlite3.Error) as error:
        # No permission, no room, in use: nothing is wrong with the file.
        if not isinstance(error, sqlite3.OperationalError) or error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            _set_aside(path, error, known_still)
    return path


def _set_aside(path: Path, error: object, known_still: str) -> None:
    try:
        aside = f"set aside as {snapshot.set_aside(path).name}"
        for rest in BESIDE:
            path.with_name(path.name + rest).unlink(missing_ok=True)
    except OSError as failed:
        aside = f"could not be set aside ({failed.strerror})"
    log.error("known_ids_refused", text=f"{path}: {error}", what_now=f"{aside}; {known_still}")


def picture_digest(message: FrameMessage) -> bytes:
    """Eight bytes that tell a picture from another: of encoding, payload, and the shape of a raw one."""
    shape = message.shape if message.encoding == "raw" else None
    digest = hashlib.blake2b(f"{message.encoding} {shape} ".encode(), digest_size=8)
    digest.update(message.payload)
    return digest.digest()


def same_picture(known: bytes, message: FrameMessage) -> bool:
    """Whether a frame shows what was scored under its id, as far as that is known."""
    return known in (ANY_PICTURE, picture_digest(message))
