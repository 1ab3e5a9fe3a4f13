"""The page's database: its tables, how it is opened, and what a file that is not ours is told."""

import sqlite3
from pathlib import Path

from streamer.errors import StreamerError

VERSION = 1

_DAMAGED = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Else it is another program that holds it, a disk that is full or read-only: nothing is wrong with the file.

_TABLES = """
CREATE TABLE frame (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER,
    part_id TEXT, product_id TEXT, captured INTEGER NOT NULL, scored INTEGER, stored INTEGER NOT NULL,
    raw REAL, rscin REAL, pred REAL, threshold REAL, label INTEGER, state TEXT, n_references INTEGER,
    revision INTEGER, final INTEGER, known_defect TEXT, regions TEXT,
    first_raw REAL, first_label INTEGER, first_threshold REAL, first_scored INTEGER, flipped INTEGER,
    meta TEXT, latency REAL, model_id TEXT, height INTEGER, width INTEGER,
    picture TEXT, picture_bytes INTEGER NOT NULL DEFAULT 0, thumb BLOB, alarm INTEGER,
    bytes INTEGER NOT NULL, important INTEGER NOT NULL DEFAULT 0, change INTEGER NOT NULL,
    UNIQUE (stream, key));
CREATE INDEX frame_time ON frame (stream, captured, scored, label, raw);
CREATE INDEX frame_when ON frame (captured, scored, label, raw);
CREATE INDEX frame_change ON frame (change);
CREATE INDEX frame_part ON frame (part_id) WHERE part_id IS NOT NULL;
CREATE INDEX frame_label ON frame (stream, captured) WHERE label = 1;
CREATE INDEX frame_age ON frame (important, stored);
CREATE INDEX frame_alarm ON frame (alarm) WHERE alarm IS NOT NULL;
CREATE TABLE grid (
    id INTEGER PRIMARY KEY, rows INTEGER NOT NULL, cols INTEGER NOT NULL, low REAL NOT NULL,
    high REAL NOT NULL, view TEXT, ignored INTEGER NOT NULL, grid BLOB NOT NULL);
CREATE TABLE review (
    stream TEXT NOT NULL, key TEXT NOT NULL, decision TEXT NOT NULL, who TEXT, at INTEGER NOT NULL,
    kind TEXT, note TEXT, PRIMARY KEY (stream, key)) WITHOUT ROWID;
CREATE TABLE alarm (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, cause TEXT NOT NULL, key TEXT,
    n_frames INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER, ack_by TEXT, ack_at INTEGER,
    revised INTEGER, grp INTEGER, stored INTEGER NOT NULL);
CREATE INDEX alarm_open ON alarm (stream) WHERE ack_at IS NULL;
CREATE INDEX alarm_cause ON alarm (stream, cause, id);
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, event TEXT NOT NULL, grp INTEGER NOT NULL,
    since TEXT NOT NULL, n_frames INTEGER NOT NULL, keys TEXT NOT NULL, regions TEXT NOT NULL, name TEXT,
    at INTEGER NOT NULL, decision TEXT, who TEXT, decided INTEGER, stored INTEGER NOT NULL,
    UNIQUE (stream, event, grp, since));
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, who TEXT, what TEXT NOT NULL, stream TEXT,
    key TEXT, grp INTEGER, before TEXT, after TEXT, note TEXT, by_page INTEGER NOT NULL,
    stored INTEGER NOT NULL);
CREATE INDEX audit_time ON audit (at);
CREATE INDEX audit_frame ON audit (stream, key, at);
CREATE INDEX audit_what ON audit (stream, what, at);
CREATE TABLE loss (
    stream TEXT NOT NULL, quarter INTEGER NOT NULL, kind TEXT NOT NULL, code TEXT NOT NULL,
    n INTEGER NOT NULL, PRIMARY KEY (stream, quarter, kind, code)) WITHOUT ROWID;
CREATE TABLE tally (
    stream TEXT NOT NULL, quarter INTEGER NOT NULL, inspected INTEGER NOT NULL, anomalous INTEGER NOT NULL,
    PRIMARY KEY (stream, quarter)) WITHOUT ROWID;
CREATE TABLE gap (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    lost INTEGER NOT NULL, filled INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE topic (topic TEXT PRIMARY KEY, pub_seq INTEGER NOT NULL, digest BLOB) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('change', 0), ('bytes', 0);
"""
# Times are nanoseconds since 1970; a quarter is a quarter of an hour since then, so that days may begin
# where they do anywhere on earth. `stored` is this machine's clock, which is what keeping goes by.
# A frame whose score has not come yet (its picture or a revision was faster) has `scored` or
# `first_scored` null. The long indices hold what lists are sorted and counted by, so that they read no rows.


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes; makes the file, its folder and its tables if missing.

    Raises:
        StreamerError: it cannot be opened, or is no database of this page.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, check_same_thread=False, timeout=5.0, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise StreamerError(f"store.path: {path}: cannot be opened ({error})") from None
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in _DAMAGED:
            raise StreamerError(f"store.path: {path}: cannot be used ({error})") from None
        raise StreamerError(
            f"store.path: {path}: is no store of this page, or is damaged ({error}); move it away, and a new "
            "one is begun"
        ) from None
    except StreamerError:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads, of little memory; for one thread at a time."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=5.0
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA cache_size = -1024")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    elif not {"frame", "topic", "tally"} <= tables:
        raise StreamerError(
            f"store.path: {path}: is another program's database (it has a table '{min(tables)}'); set "
            "store.path to a folder of its own"
        )
    # A killed process loses nothing that was told; a power cut may cost the last moments.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {16 * 2**20}")
    connection.execute("PRAGMA cache_size = -8192")
    if not tables:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        raise StreamerError(
            f"store.path: {path}: was written by another version of the page (format {version}, expected "
            f"{VERSION}); move it away, and a new one is begun"
        )
