"""The one connection that writes: a transaction is done wholly or not at all, its pictures included."""

import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from streamer.errors import StreamerError
from streamer.page.pictures import Pictures
from streamer.page.schema import open_reader, open_writer
from streamer.page.verdicts import Written

log = structlog.get_logger()

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})
_READERS = 4
_READ_S = 30.0
_UNREAD_NS = 60 * 10**9


class StoreError(StreamerError):
    """The store cannot be read or written now.

    Attributes:
        status: of HTTP.
        code: a word for machines.
    """

    status, code = 503, "store"


def unwritable(error: sqlite3.Error) -> StoreError:
    """One line for who asked for something to be kept."""
    full = getattr(error, "sqlite_errorcode", None) in _FULL
    what_now = "free some space, and try again" if full else "see docs/page.md#when-something-is-wrong"
    return StoreError(f"the store cannot be written ({' '.join(str(error).split())}); {what_now}")


class Writer:
    """Owns the database and the folder of pictures; safe from any thread.

    Args:
        folder: made if missing; one page at a time has it.
        clock: nanoseconds since 1970.

    Attributes:
        database: for use within `writing` or `lock`.
        pictures: the files beside it.
        change, n_bytes: as of the last transaction.
        failed: why the last transaction failed, one line, or None.
        bad: what was counted as of no use.

    Raises:
        StreamerError: the folder cannot be used or is another page's, or the file in it is not ours.
    """

    def __init__(self, folder: Path, clock: Callable[[], int]) -> None:
        self.failed: str | None = None
        self._unread, self._unread_at = "", -_UNREAD_NS
        self.bad = 0
        self.lock = threading.RLock()
        self._clock, self._path = clock, folder / "page.sqlite"
        self._folder = _locked(folder)
        try:
            self.database = open_writer(self._path)
            self.database.row_factory = sqlite3.Row
            self.pictures = Pictures(folder / "pictures")
            self.pictures.sweep(self._pictures_of)
        except OSError as error:
            os.close(self._folder)
            raise StreamerError(f"store.path: {folder}: cannot be used ({error.strerror})") from None
        except BaseException:
            os.close(self._folder)
            raise
        self._inode = self._path.stat().st_ino
        rows = dict(self.database.execute("SELECT name, value FROM counter").fetchall())
        self.change: int = rows["change"]
        self.n_bytes: int = rows["bytes"]
        self._readers: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        for _ in range(_READERS):
            self._readers.put(None)

    @property
    def unread(self) -> str | None:
        """Why a read failed within the last minute, one line, or None."""
        return self._unread if self._clock() - self._unread_at < _UNREAD_NS else None

    @contextmanager
    def writing(self) -> Iterator[Written]:
        """One transaction.

        Raises:
            sqlite3.Error: the disk does not take it; `failed` says why, and nothing has changed.
        """
        with self.lock:
            written = Written(self.change + 1, self._clock())
            try:
                self._check_is_there()
                self.database.execute("BEGIN IMMEDIATE")
                yield written
                self.database.executemany(
                    "UPDATE counter SET value = ? WHERE name = ?",
                    [(written.change, "change"), (self.n_bytes + written.n_bytes, "bytes")],
                )
                self.database.execute("COMMIT")
            except BaseException as error:
                self._undo(written, error)
                raise
            self.change, self.n_bytes = written.change, self.n_bytes + written.n_bytes
            self.bad += written.bad
            self._say(None)
            self.pictures.delete(written.deleted)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that only reads, rows by name; a few at once.

        Raises:
            StoreError: all were taken for half a minute, or the file is damaged or gone.
        """
        try:
            connection = self._readers.get(timeout=_READ_S)
        except queue.Empty:
            raise StoreError("the store is busy: too much is read from it at once; try again") from None
        try:
            if connection is None:
                connection = open_reader(self._path)
            yield connection
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
                connection = None  # the next one is opened anew: the file may be whole again
            text = " ".join(str(error).split())
            self._say_unread(text)
            raise StoreError(
                f"the store cannot be read ({text}); see docs/page.md#when-something-is-wrong"
            ) from None
        finally:
            self._readers.put(connection)

    def close(self) -> None:
        """Close the database, once those who read at the moment have finished."""
        for _ in range(_READERS):
            connection = self._readers.get()
            if connection is not None:
                connection.close()
        with self.lock:
            self.database.close()
        os.close(self._folder)

    def _check_is_there(self) -> None:
        """A file that was deleted or put in another's place takes what is written with it, without a word."""
        try:
            there = self._path.stat().st_ino == self._inode
        except OSError:
            there = False
        if not there:
            raise sqlite3.OperationalError(
                f"{self._path.name} was deleted or replaced while the page runs: start the page again"
            )

    def _undo(self, written: Written, error: BaseException) -> None:
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")
        self.pictures.delete(written.made)
        if isinstance(error, sqlite3.Error):
            self._say(" ".join(str(error).split()))

    def _say_unread(self, unread: str) -> None:
        if self.unread is None:  # of a file that is damaged in part, other reads go well in between
            log.error("page_store_unreadable", error=unread, what_now="what comes is shown")
        self._unread, self._unread_at = unread, self._clock()

    def _say(self, failed: str | None) -> None:
        if failed is not None and self.failed is None:
            log.error("page_store_failed", error=failed, what_now="scores are shown and not kept")
        if failed is None and self.failed is not None:
            log.info("page_store_works_again")
        self.failed = failed

    def _pictures_of(self, day: str) -> set[str]:
        rows = self.database.execute("SELECT picture FROM frame WHERE picture GLOB ?", (f"{day}/*",))
        return {row[0] for row in rows}


def _locked(folder: Path) -> int:
    """A lock on a folder that ends with the process, however it ends; made if missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StreamerError(f"store.path: {folder}: cannot be used ({error.strerror})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StreamerError(
            f"store.path: {folder}: is in use by another page; stop that one, or set another store.path"
        ) from None
    except OSError as error:  # a file system without locks
        log.warning("page_lock_unsupported", path=str(folder), text=str(error))
    return descriptor
