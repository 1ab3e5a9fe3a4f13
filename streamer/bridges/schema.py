"""The queue's database: its tables, how it is opened, and what a file that is not ours is told."""

import os
import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path

from streamer.errors import StreamerError

FILE = "queue.sqlite"
VERSION = 2

_PROBE_BYTES = 256 * 1024

_DAMAGED = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Else it is another program that holds it, a disk that is full or read-only: nothing is wrong with the file.

_ITEM = """
    kind TEXT NOT NULL, topic TEXT NOT NULL, pub_seq INTEGER NOT NULL, stream TEXT, key TEXT,
    before INTEGER, header BLOB NOT NULL, payload BLOB, picture BLOB, bytes INTEGER NOT NULL,
    at INTEGER NOT NULL"""
_TABLES = f"""
CREATE TABLE item (number INTEGER PRIMARY KEY, {_ITEM});
CREATE TABLE dead (number INTEGER PRIMARY KEY, {_ITEM}, reason TEXT NOT NULL, refused INTEGER NOT NULL);
CREATE TABLE told (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, key TEXT NOT NULL, label INTEGER, told INTEGER NOT NULL,
    UNIQUE (stream, key));
CREATE TABLE topic (topic TEXT PRIMARY KEY, pub_seq INTEGER NOT NULL, digest BLOB);
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
COUNTERS = (
    "number",
    "items",
    "bytes",
    "dead",
    "dead_bytes",
    "delivered",
    "dropped",
    "refused",
    "letters_dropped",
    "lost",
    "born",
)
"""`number`: the last one given; `items`, `bytes`: that wait; `dead`, `dead_bytes`: of the letters kept;
`lost`: messages gone from the history, and items found damaged. All but the first five count since the queue
began, which was at `born`, nanoseconds since 1970."""


def open_queue(folder: Path, bridge: str, born: int) -> sqlite3.Connection:
    """The connection of a bridge; makes the file and its tables if missing, for its owner only.

    Args:
        folder: is there.
        bridge: whose queue it is.
        born: nanoseconds since 1970.

    Raises:
        StreamerError: it cannot be opened, or is no queue of this bridge.
    """
    path = folder / FILE
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        connection = sqlite3.connect(path, check_same_thread=False, timeout=30.0, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise StreamerError(f"queue.path: {path}: cannot be opened ({error})") from None
    try:
        _prepare(connection, path, bridge, born)
    except sqlite3.Error as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in _DAMAGED:
            raise StreamerError(f"queue.path: {path}: cannot be used ({error})") from None
        raise StreamerError(
            f"queue.path: {path}: is no queue of a bridge, or is damaged ({error}); move it away, and a new "
            "one is begun"
        ) from None
    except StreamerError:
        connection.close()
        raise
    return connection


def check_room(folder: Path) -> None:
    """See whether the disk takes more.

    What SQLite writes over says nothing of it: a small transaction goes into what its log file has already.

    Raises:
        OSError: it does not.
    """
    path = folder / f"{FILE}.probe"
    try:
        with path.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


def _prepare(connection: sqlite3.Connection, path: Path, bridge: str, born: int) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    elif not {"item", "dead", "told", "topic"} <= tables:
        raise StreamerError(
            f"queue.path: {path}: is another program's database (it has a table '{min(tables)}'); set "
            "queue.path to a folder of its own"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    # An item that has gone out keeps its number also over a power cut.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {16 * 2**20}")
    connection.execute("PRAGMA cache_size = -8192")
    if not tables:
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION};")
        connection.executemany(
            "INSERT INTO counter VALUES (?, ?)", [(name, born if name == "born" else 0) for name in COUNTERS]
        )
        # Numbers begin again in another queue: who keeps what it was handed tells the two apart.
        about = {"bridge": bridge, "id": secrets.token_hex(8)}
        connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        connection.execute("COMMIT")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        raise StreamerError(
            f"queue.path: {path}: was written by another version of the bridges (format {version}, expected "
            f"{VERSION}); let that one empty it, or move it away"
        )
    known = {name for (name,) in connection.execute("SELECT name FROM counter")}
    if missing := [(name, 0) for name in COUNTERS if name not in known]:  # what was not counted before
        connection.executemany("INSERT OR IGNORE INTO counter VALUES (?, ?)", missing)
    (whose,) = connection.execute("SELECT value FROM about WHERE name = 'bridge'").fetchone()
    if whose != bridge:
        raise StreamerError(
            f"queue.path: {path}: is the queue of the bridge '{whose}', not of '{bridge}'; set another "
            "queue.path: each bridge has its own"
        )
