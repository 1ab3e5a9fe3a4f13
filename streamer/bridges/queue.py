"""What waits for the receiver, on disk: items in order with the cursors they came by, wholly or not at all.

A kill at any moment loses nothing: what was not kept is asked of the history again, and what was not known to
have arrived is delivered again under the same number.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from streamer.bridges.schema import FILE, check_room, open_queue
from streamer.bridges.seldom import Seldom
from streamer.bridges.sink import Item
from streamer.bridges.writing import Draft, Writing
from streamer.errors import WireError
from streamer.wire.frame import pack, unpack

log = structlog.get_logger()

TOGETHER = 100
"""Items that a sink is handed at most."""
_BYTES = 4 * 2**20
_LETTERS = 10_000
_MAX_HEADER = 8 * 2**20
_COLUMNS = "number, kind, topic, pub_seq, stream, before, header, payload, picture, at"
_HEADER = _COLUMNS.split(", ").index("header")
_ALL = "number, kind, topic, pub_seq, stream, key, before, header, payload, picture, bytes, at"


@dataclass(frozen=True)
class Letter:
    """An item that the receiver refused for good: why, and when, in nanoseconds since 1970."""

    item: Item
    reason: str
    refused_ns: int


class Queue:
    """Owns the database; safe from any thread.

    Args:
        folder: is there, and this bridge's alone while it delivers.
        bridge: its name.
        max_items, max_bytes: that may wait; beyond that the oldest that was not tried yet goes, and is told.
        clock: nanoseconds since 1970.

    Attributes:
        failed: why the last write failed, one line, or None.

    Raises:
        StreamerError: the file cannot be opened, or is no queue of this bridge.
    """

    def __init__(
        self,
        folder: Path,
        bridge: str,
        *,
        max_items: int,
        max_bytes: int,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.failed: str | None = None
        self._full = Seldom("bridge_queue_full", "dropped")
        self._letters_full = Seldom("bridge_dead_letters_full", "dropped")
        self._damaged = Seldom("bridge_item_damaged", "lost")
        self._failures, self._said_failed = Seldom("bridge_queue_failed", "failures", "error"), False
        self._lock = threading.RLock()
        self._clock, self._path = clock, folder / FILE
        self._max_items, self._max_bytes = max_items, max_bytes
        self._database = open_queue(folder, bridge, clock())
        self._inode = self._path.stat().st_ino
        # What was handed over before keeps its number and its place: before a restart it was these at most.
        row = self._database.execute(
            "SELECT max(number) FROM (SELECT number FROM item ORDER BY number LIMIT ?)", (TOGETHER,)
        ).fetchone()
        self._tried: int = row[0] or 0

    def topics(self) -> dict[str, tuple[int, bytes | None]]:
        """Of each topic the last number kept and the digest of its message."""
        with self._lock:
            rows = self._database.execute("SELECT topic, pub_seq, digest FROM topic").fetchall()
        return {topic: (number, digest) for topic, number, digest in rows}

    def topic(self, name: str) -> tuple[int, bytes | None] | None:
        """The same of one topic; None where nothing of it was kept."""
        with self._lock:
            row = self._database.execute(
                "SELECT pub_seq, digest FROM topic WHERE topic = ?", (name,)
            ).fetchone()
        return None if row is None else (row[0], row[1])

    @property
    def was_whole(self) -> bool:
        """Whether all that the detector had was once caught up with."""
        with self._lock:
            return bool(self._database.execute("SELECT 1 FROM about WHERE name = 'whole'").fetchone())

    def counters(self) -> Mapping[str, int]:
        """By name, as `schema.COUNTERS` lists them."""
        with self._lock:
            return dict(self._database.execute("SELECT name, value FROM counter").fetchall())

    def oldest_ns(self) -> int | None:
        """When the oldest item was kept, nanoseconds since 1970; None where none waits."""
        with self._lock:
            row = self._database.execute("SELECT at FROM item ORDER BY number LIMIT 1").fetchone()
        return None if row is None else int(row[0])

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """One transaction, in which items are put and cursors moved.

        Raises:
            sqlite3.Error: the disk does not take it; `failed` says why, and nothing has changed.
        """
        with self._lock:
            try:
                self._check_is_there()
                self._database.execute("BEGIN IMMEDIATE")
                writing = Writing(self._database, self._clock(), self._tried)
                yield writing
                writing.finish(self._max_items, self._max_bytes)
                self._database.execute("COMMIT")
            except BaseException as error:
                self._undo(error)
                raise
            self._say(None)
            self._full.add(writing.n_dropped, what_now="the oldest go, and are told")
            self._letters_full.add(
                writing.n_letters_dropped, what_now="the oldest dead letters go: see --dead, --redeliver"
            )
            self._damaged.add(0)

    def first(self, most: int = TOGETHER) -> list[Item]:
        """The items that come next, oldest first; what is not said to be `delivered` comes again.

        One that cannot be read is given up: counted, logged, and told in its place as lost.

        Raises:
            sqlite3.Error: the disk cannot be read, or one is to be given up and the disk takes no write.
        """
        with self._lock:
            found, damaged = self._read(most)
            while damaged is not None:
                number, error = damaged
                with self.writing() as writing:
                    writing.give_up(number)
                self._damaged.add(1, number=number, error=error, what_now="it is told as lost")
                found, damaged = self._read(most)
            if found:
                self._tried = max(self._tried, found[-1].number)
        return found

    def _read(self, most: int) -> tuple[list[Item], tuple[int, str] | None]:
        """What comes next, up to an item that cannot be read: its number, and why."""
        found: list[Item] = []
        size = 0
        rows = self._database.execute(
            f"SELECT {_COLUMNS}, bytes FROM item ORDER BY number LIMIT ?",  # noqa: S608 - ours
            (min(most, TOGETHER),),
        )
        for *row, n_bytes in rows:
            size += n_bytes
            if found and size > _BYTES:
                break
            try:
                found.append(_item(row))
            except WireError as error:
                return found, (row[0], str(error))
        return found, None

    def delivered(self, items: list[Item]) -> None:
        """These have arrived.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        with self.writing() as writing:
            writing.remove([item.number for item in items], "delivered")

    def refused(self, item: Item, reason: str) -> None:
        """The receiver will never take it: it is kept apart.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        with self.writing() as writing:
            self._database.execute(
                f"INSERT OR REPLACE INTO dead SELECT {_ALL}, ?, ? FROM item WHERE number = ?",  # noqa: S608
                (reason[:1000], self._clock(), item.number),
            )
            writing.count("dead", 1)
            writing.count("dead_bytes", writing.remove([item.number], "refused"))
            writing.bound_letters(_LETTERS, self._max_bytes // 4)

    def letters(self) -> Iterator[Letter]:
        """What was refused, oldest first."""
        last = -1
        while True:
            with self._lock:
                row = self._database.execute(
                    f"SELECT {_COLUMNS}, reason, refused FROM dead WHERE number > ? "  # noqa: S608 - ours
                    "ORDER BY number LIMIT 1",
                    (last,),
                ).fetchone()
            if row is None:
                return
            *columns, reason, refused = row
            last = columns[0]
            try:
                item = _item(columns)
            except WireError as error:
                columns[_HEADER] = pack({})
                item, reason = _item(columns), f"{reason} (damaged since: {error})"
            yield Letter(item, reason, refused)

    def redeliver(self) -> int:
        """Put what was refused back in its place; how many there were.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        with self.writing() as writing:
            count, size = self._database.execute("SELECT count(*), total(bytes) FROM dead").fetchone()
            self._database.execute(f"INSERT OR IGNORE INTO item SELECT {_ALL} FROM dead")  # noqa: S608 - ours
            self._database.execute("DELETE FROM dead")
            for name, more in (("items", count), ("bytes", size), ("dead", -count), ("dead_bytes", -size)):
                writing.count(name, int(more))
        return int(count)

    def mend(self) -> bool:
        """After a write that failed: whether the disk takes one again."""
        try:
            check_room(self._path.parent)
            with self.writing() as writing:
                writing.count("items", 0)
        except (sqlite3.Error, OSError):
            return False
        return True

    def close(self) -> None:
        """Close the database."""
        for seldom in (self._full, self._letters_full, self._damaged, self._failures):
            seldom.flush()
        with self._lock:
            self._database.close()

    def _check_is_there(self) -> None:
        """A file that was deleted or put in another's place takes what is written with it, without a word."""
        try:
            there = self._path.stat().st_ino == self._inode
        except OSError:
            there = False
        if not there:
            raise sqlite3.OperationalError(
                f"{self._path.name} was deleted or replaced while the bridge runs: start the bridge again"
            )

    def _undo(self, error: BaseException) -> None:
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            self._say(" ".join(str(error).split()))

    def _say(self, failed: str | None) -> None:
        if failed is not None and self.failed is None:
            what_now = "nothing is kept; it is asked for again later"
            self._said_failed = self._failures.add(error=failed, what_now=what_now) or self._said_failed
        if failed is None and self.failed is not None and self._said_failed:
            log.info("bridge_queue_works_again")
            self._said_failed = False
        self.failed = failed


def _item(row: Any) -> Item:
    """Of a row.

    Raises:
        WireError: its header is damaged.
    """
    number, kind, topic, pub_seq, stream, before, header, payload, picture, at = row
    label = None if before is None else bool(before)
    return Item(
        number, kind, topic, pub_seq, stream, unpack(header, _MAX_HEADER), label, payload, picture, at
    )


__all__ = ["Draft", "Letter", "Queue", "Writing"]
