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

_READERS = 4
_READ_S = 30.0


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
        rows = dict(self.database.execute("SELECT name, value FROM counter").fetchall())
        self.change: int = rows["change"]
        self.n_bytes: int = rows["bytes"]
        self._readers: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        for _ in range(_READERS):
            self._readers.put(None)

    @contextmanager
    def writing(self) -> Iterator[Written]:
        """One transaction.

        Raises:
            sqlite3.Error: the disk does not take it; `failed` says why, and nothing has changed.
        """
        with self.lock:
            written = Written(self.change + 1, self._clock())
            try:
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
            StreamerError: all were taken for half a minute.
        """
        try:
            connection = self._readers.get(timeout=_READ_S)
        except queue.Empty:
            raise StreamerError("the store is busy: too much is read from it at once; try again") from None
        try:
            if connection is None:
                connection = open_reader(self._path)
            yield connection
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

    def _undo(self, written: Written, error: BaseException) -> None:
        if self.database.in_transaction:
            self.database.execute("ROLLBACK")
        self.pictures.delete(written.made)
        if isinstance(error, sqlite3.Error):
            self._say(" ".join(str(error).split()))

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
