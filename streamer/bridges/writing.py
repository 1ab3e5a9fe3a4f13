"""One transaction of the queue: items put, cursors moved, labels remembered, and the bounds kept."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamer.bridges.sink import Kind
from streamer.errors import WireError
from streamer.wire.frame import VERSION, pack, unpack

_REMEMBERED = 200_000
# Frames whose label is remembered; of more those that were told the longest ago are forgotten.
_TOPICS = 200_000
# Whose last numbers are kept, twice as many as a detector counts on; of more those silent for longest go.
_ITEM_BYTES = 200
# Of an item beside header, payload and picture.
_MAX_MARK = 4096
_LOOK = 64
_FULL, _DAMAGED = "queue_full", "damaged"


@dataclass(frozen=True)
class Draft:
    """An item that has no number yet; `header` is packed, `key` the frame of a verdict."""

    kind: Kind
    header: bytes
    topic: str = ""
    pub_seq: int = -1
    stream: str | None = None
    key: str | None = None
    before: bool | None = None
    payload: bytes | None = None
    picture: bytes | None = None


@dataclass(frozen=True)
class Label:
    """Of a frame: what was said of it last, and whether the receiver was told so."""

    label: bool | None
    told: bool


class Writing:
    """What may be done within a transaction; ended by `Queue.writing`.

    Args:
        database: in a transaction.
        now: nanoseconds since 1970.
        tried: number up to which items may have gone out: they stay.

    Attributes:
        n_dropped: items that went for want of room.
        n_letters_dropped: dead letters that did.
    """

    def __init__(self, database: sqlite3.Connection, now: int, tried: int) -> None:
        self._database, self._now, self._tried = database, now, tried
        self.n_letters_dropped = 0
        self._changes: dict[str, int] = {}
        self._labelled = False
        self._moved: dict[str, tuple[int, bytes | None]] = {}
        self.n_dropped = 0

    @property
    def born(self) -> int:
        """When the queue began, nanoseconds since 1970."""
        return self._counter("born")

    def put(self, draft: Draft) -> int:
        """Append an item; its number."""
        number = self._counter("number") + self._changes.get("number", 0) + 1
        size = _ITEM_BYTES + sum(len(part or b"") for part in (draft.header, draft.payload, draft.picture))
        self._database.execute(
            "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(number, draft.kind, draft.topic, draft.pub_seq, draft.stream, draft.key, draft.before),
                *(draft.header, draft.payload, draft.picture, size, self._now),
            ),
        )
        for name, more in (("number", 1), ("items", 1), ("bytes", size)):
            self.count(name, more)
        return number

    def label(self, stream: str, key: str) -> Label | None:
        """What was said of a frame last; None where that is not known."""
        row = self._database.execute(
            "SELECT label, told FROM told WHERE stream = ? AND key = ?", (stream, key)
        ).fetchone()
        return None if row is None else Label(None if row[0] is None else bool(row[0]), bool(row[1]))

    def remember(self, stream: str, key: str, label: Label) -> None:
        """What is said of a frame now."""
        self._database.execute(
            "INSERT OR REPLACE INTO told (stream, key, label, told) VALUES (?, ?, ?, ?)",
            (stream, key, label.label, label.told),
        )
        self._labelled = True

    def move(self, topic: str, pub_seq: int, digest: bytes | None) -> None:
        """Everything of a topic up to this number is kept, lost, or need not be kept.

        Args:
            topic: its name.
            pub_seq: the number.
            digest: of its message; None where that was lost.
        """
        self._moved[topic] = pub_seq, digest

    def forget_topic(self, topic: str) -> None:
        """The detector has begun a topic anew: what comes is numbered from 0 again."""
        self._moved.pop(topic, None)
        self._database.execute("DELETE FROM topic WHERE topic = ?", (topic,))

    def note_whole(self) -> None:
        """All that the detector had was caught up with: from now on what is gone was missed."""
        self._database.execute("INSERT OR IGNORE INTO about VALUES ('whole', 'yes')")

    def remove(self, numbers: Sequence[int], counter: str) -> int:
        """Take items out, and count them; how many bytes they had."""
        size = 0
        for number in numbers:
            row = self._database.execute("SELECT bytes FROM item WHERE number = ?", (number,)).fetchone()
            if row is not None:
                self._database.execute("DELETE FROM item WHERE number = ?", (number,))
                size += row[0]
                for name, more in (("items", -1), ("bytes", -row[0]), (counter, 1)):
                    self.count(name, more)
        return size

    def give_up(self, number: int) -> None:
        """An item that cannot be read any more is lost: in its place stands that it is."""
        row = self._database.execute(
            "SELECT bytes, stream, key FROM item WHERE number = ?", (number,)
        ).fetchone()
        self._take_out(number, *row)
        self.count("lost", 1)
        self._put_mark(1, number, number, _DAMAGED)

    def count(self, name: str, more: int) -> None:
        """Add to a counter."""
        self._changes[name] = self._changes.get(name, 0) + more

    def bound_letters(self, most: int, most_bytes: int) -> None:
        """Delete the oldest dead letters beyond a number and size."""
        while self._value("dead") > most or (
            self._value("dead_bytes") > most_bytes and self._value("dead") > 1
        ):
            number, size = self._database.execute(
                "SELECT number, bytes FROM dead ORDER BY number LIMIT 1"
            ).fetchone()
            self._database.execute("DELETE FROM dead WHERE number = ?", (number,))
            self.n_letters_dropped += 1
            for name, more in (("dead", -1), ("dead_bytes", -size), ("letters_dropped", 1)):
                self.count(name, more)

    def finish(self, max_items: int, max_bytes: int) -> None:
        """Keep the bounds, and write down the counters."""
        if self._labelled:
            self._database.execute(
                "DELETE FROM told WHERE id <= (SELECT max(id) FROM told) - ?", (_REMEMBERED,)
            )
        self._keep_topics()
        if self._changes.get("items", 0) > 0:
            self._make_room(max_items, max_bytes)
        self._database.executemany(
            "UPDATE counter SET value = value + ? WHERE name = ?",
            [(more, name) for name, more in self._changes.items()],
        )
        if self._changes.get("items", 0) < 0:
            self._database.execute("PRAGMA incremental_vacuum(64)").fetchall()

    def _keep_topics(self) -> None:
        """Each move is a new row: the topics silent for longest have the oldest."""
        is_new = False
        for topic, cursor in self._moved.items():
            found = self._database.execute("SELECT 1 FROM topic WHERE topic = ?", (topic,)).fetchone()
            is_new = is_new or found is None
            self._database.execute("INSERT OR REPLACE INTO topic VALUES (?, ?, ?)", (topic, *cursor))
        if is_new:
            self._database.execute(
                "DELETE FROM topic WHERE rowid IN (SELECT rowid FROM topic ORDER BY rowid "
                "LIMIT max(0, (SELECT count(*) FROM topic) - ?))",
                (_TOPICS,),
            )

    def _make_room(self, max_items: int, max_bytes: int) -> None:
        """The oldest that was not tried goes; in its place stands how many went."""
        while self._value("items") > max_items or self._value("bytes") > max_bytes:
            # One more than is over: a mark takes the place of the last that goes.
            rows = self._database.execute(
                "SELECT number, bytes, kind, stream, key, header FROM item WHERE number > ? "
                "ORDER BY number LIMIT ?",
                (self._tried, _LOOK),
            ).fetchall()
            going = self._choose(rows, max_items, max_bytes)
            if len(going) < 2:
                return  # all of it may have gone out
            self._replace(going)

    def _choose(self, rows: list[Any], max_items: int, max_bytes: int) -> list[Any]:
        items, size = self._value("items") + 1 - max_items, self._value("bytes") + 2 * _ITEM_BYTES - max_bytes
        going: list[Any] = []
        for row in rows:
            if len(going) >= 2 and items <= 0 and size <= 0:
                break
            going.append(row)
            items, size = items - 1, size - row[1]
        return going

    def _replace(self, going: list[Any]) -> None:
        marks = [mark for row in going if (mark := _mark(row)) is not None]
        lost = len(going) - len(marks) + sum(mark["lost"] for mark in marks)
        first = min([row[0] for row in going] + [mark["first"] for mark in marks])
        last = going[-1][0]
        for number, n_bytes, _, stream, key, _ in going:
            self._take_out(number, n_bytes, stream, key)
        self._put_mark(lost, first, last, _FULL)
        n_new = len(going) - len(marks)
        self.n_dropped += n_new
        self.count("dropped", n_new)

    def _take_out(self, number: int, n_bytes: int, stream: str | None, key: str | None) -> None:
        self._database.execute("DELETE FROM item WHERE number = ?", (number,))
        self.count("items", -1)
        self.count("bytes", -n_bytes)
        if key is not None:  # the receiver does not know of it: a later verdict is told
            self._database.execute("DELETE FROM told WHERE stream = ? AND key = ?", (stream, key))

    def _put_mark(self, lost: int, first: int, last: int, reason: str) -> None:
        """An item in the place of the last that is gone, which says how many are."""
        header = {"v": VERSION, "kind": "dropped", "lost": lost, "first": first, "last": last, "topic": ""}
        packed = pack({**header, "reason": reason})
        size = _ITEM_BYTES + len(packed)
        self._database.execute(
            "INSERT INTO item VALUES (?, 'dropped', '', -1, NULL, NULL, NULL, ?, NULL, NULL, ?, ?)",
            (last, packed, size, self._now),
        )
        self.count("items", 1)
        self.count("bytes", size)

    def _counter(self, name: str) -> int:
        (value,) = self._database.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
        return int(value)

    def _value(self, name: str) -> int:
        """With what this transaction adds."""
        return self._counter(name) + self._changes.get(name, 0)


def _mark(row: Any) -> dict[str, Any] | None:
    """What an item says of others that went before, or None where it is none of these."""
    if row[2] != "dropped" or len(row[5]) > _MAX_MARK:
        return None
    try:
        header = unpack(row[5], _MAX_MARK)
    except WireError:  # damaged: it goes as any other
        return None
    return header if header.get("reason") == _FULL and "lost" in header else None
