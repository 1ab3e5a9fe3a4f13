"""The page's memory: frames, verdicts, alarms, words in SQLite, pictures in files; bounded."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from streamer.errors import StreamerError
from streamer.following.messages import Event, Loss, Picture, Verdict, Word
from streamer.page.alarms import Alarms
from streamer.page.batches import Batch, Kept, collapsed
from streamer.page.pictures import Newest
from streamer.page.retention import Retention
from streamer.page.rows import unkept_json
from streamer.page.telling import Telling
from streamer.page.updates import Update, update
from streamer.page.verdicts import Verdicts, Written
from streamer.page.words import Words
from streamer.page.writer import Writer, unwritable
from streamer.wire.published import Message

log = structlog.get_logger()

DECISIONS = ("defect", "good", "unsure")
_MAX_NOTE = 2000


class Store:
    """Keeps what a detector publishes; safe from any thread.

    Args:
        folder: holds `page.sqlite` and `pictures/`; made if missing.
        days: that good frames are kept; frames that matter are kept four times as long.
        max_bytes: that frames, maps and pictures may take.
        alarm_cooldown_s: anomalous frames of a stream so close together are one alarm.
        clock: nanoseconds since 1970.

    Raises:
        StreamerError: the folder cannot be used or is another page's, or the file in it is not ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        days: float,
        max_bytes: int,
        alarm_cooldown_s: float = 10.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._writer = Writer(folder, clock)
        self._database = self._writer.database
        self._alarms = Alarms(round(1e9 * alarm_cooldown_s))
        self._verdicts = Verdicts(self._database, self._writer.pictures, self._alarms)
        self._words = Words(self._database)
        self._retention = Retention(self._database, self._verdicts, days, max_bytes)
        self._telling = Telling(self._database)
        self.newest_pictures = Newest()

    @property
    def failed(self) -> str | None:
        """Why the last write failed, one line, or None: it is told, and tried again with the next."""
        return self._writer.failed

    @property
    def unusable(self) -> str | None:
        """Why the last write, else a read within the last minute, failed, one line, or None."""
        return self._writer.failed or self._writer.unread

    @property
    def bad(self) -> int:
        """Messages, maps and pictures that no detector sends, passed over."""
        return self._writer.bad

    @property
    def cursor(self) -> int:
        """The newest `change`."""
        return self._writer.change

    @property
    def n_bytes(self) -> int:
        """What frames, maps and pictures take."""
        return self._writer.n_bytes

    def take(self, message: Message) -> list[Update]:
        """Keep one message; see `take_all`."""
        return self.take_all([message])

    def take_all(self, messages: Sequence[Message]) -> list[Update]:
        """Keep messages in one transaction, with the number of the last one of each topic.

        What no detector says is counted in `bad` and passed over. Where the disk does not take them `failed`
        says so, and scores are told all the same.

        Returns:
            What to tell: scores, pictures, words and events in their order, then for each stream what was
            revised, then alarms.
        """
        batch = Batch.of(messages)
        self.count_bad(batch.bad)
        try:
            return self._keep_all(batch)
        except sqlite3.Error:
            return [
                update({"type": "score", "frame": unkept_json(one)}, stream=one.stream)
                for one, kind in batch.kept
                if kind == "score" and isinstance(one, Verdict)
            ]
        except Exception:  # one message that trips the store must not cost the others
            log.exception("page_message_failed", messages=len(batch.kept))
        if len(batch.kept) > 1:
            return [told for one in messages for told in self.take_all([one])]
        self.count_bad()
        return self._keep_all(Batch([], batch.numbers))

    def count_bad(self, count: int = 1) -> None:
        """Something came that no detector sends."""
        with self._writer.lock:
            self._writer.bad += count

    def note_gap(self, topic: str, first: int, last: int, lost: int, filled: int) -> None:
        """Numbers of a topic did not come by themselves: so many the history filled, so many are lost."""
        with self._told(), self._writing() as written:
            self._database.execute(
                "INSERT INTO gap (topic, first, last, lost, filled, at) VALUES (?, ?, ?, ?, ?, ?)",
                (topic, first, last, lost, filled, written.now),
            )

    def last_pub_seq(self) -> dict[str, int]:
        """The last number kept of each topic."""
        return {topic: number for topic, (number, _) in self.topics().items()}

    def topics(self) -> dict[str, tuple[int, bytes | None]]:
        """The last number kept of each topic, and the digest of that message."""
        with self._writer.lock:
            rows = self._database.execute("SELECT topic, pub_seq, digest FROM topic").fetchall()
        return {row["topic"]: (row["pub_seq"], row["digest"]) for row in rows}

    def restart_topic(self, topic: str) -> None:
        """The detector has begun a topic anew: what comes is numbered from 0 again; nothing is deleted."""
        with self._told(), self._writing():
            self._database.execute("DELETE FROM topic WHERE topic = ?", (topic,))

    def review(
        self, stream: str, key: str, decision: str, who: str, kind: str | None, note: str | None
    ) -> Update:
        """What a person decided of a frame; the last decision counts, all stay in the audit.

        Raises:
            StreamerError: no such frame or decision, or the disk does not take it.
        """
        if decision not in DECISIONS:
            raise StreamerError(f"decision: got {decision[:80]!r}, expected one of {', '.join(DECISIONS)}")
        with self._asked(), self._writing() as written:
            before = self._decision(stream, key)
            self._database.execute(
                "INSERT OR REPLACE INTO review VALUES (?, ?, ?, ?, ?, ?, ?)",
                (stream, key, decision, who, written.now, kind, note and note[:_MAX_NOTE]),
            )
            self._database.execute(
                "UPDATE frame SET important = 1, change = ? WHERE stream = ? AND key = ?",
                (written.change, stream, key),
            )
            after = {"decision": decision, "kind": kind}
            self._line(written, stream, key, who, "review", note, before, after)
            review = {"decision": decision, "who": who, "at": written.now / 1e6, "kind": kind, "note": note}
            header = {"type": "review", "stream": stream, "key": key, "review": review}
        return update(header, stream=stream)

    def acknowledge(self, alarm: int, who: str) -> Update:
        """Somebody has seen to an alarm; who acknowledged it first stays.

        Raises:
            StreamerError: no such alarm, or the disk does not take it.
        """
        with self._asked(), self._writing() as written:
            changed = self._database.execute(
                "UPDATE alarm SET ack_by = ?, ack_at = ? WHERE id = ? AND ack_at IS NULL",
                (who, written.now, alarm),
            )
            told = self._telling.alarms([alarm])
            if not told:
                raise StreamerError(f"id: got {alarm}, which is no alarm that is kept")
            if changed.rowcount:
                self._database.execute("UPDATE frame SET change = ? WHERE alarm = ?", (written.change, alarm))
                told_of = told[0].header["alarm"]
                self._line(
                    written, told_of["stream"], told_of["key"], who, "ack", None, None, {"alarm": alarm}
                )
        return told[0]

    def note(
        self,
        stream: str | None,
        key: str | None,
        who: str,
        what: str,
        note: str | None,
        before: Any = None,
        after: Any = None,
    ) -> Update:
        """A line of the page's own in the audit; within a minute of the detector's word of the same frame and
        kind (the reason of a `threshold`, say) it becomes that line's note.

        Raises:
            StreamerError: the disk does not take it.
        """
        with self._asked(), self._writing() as written:
            number = self._line(written, stream, key, who, what, note, before, after)
            return self._telling.word(number)

    def begin_alarm(self, stream: str, cause: str) -> list[Update]:
        """A state (`silent`, `detector`) begins; nothing where it goes on already."""
        return self._state(self._alarms.begin, stream, cause)

    def end_alarm(self, stream: str, cause: str) -> list[Update]:
        """A state is over."""
        return self._state(self._alarms.end, stream, cause)

    def tidy(self) -> bool:
        """Delete a little of what is too old or too much; whether there is more."""
        with self._told(), self._writing() as written:
            more = self._retention.step(self.n_bytes, written)
            self._database.execute("PRAGMA incremental_vacuum(256)").fetchall()
            return more
        return False

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection that only reads, rows by name; for short reads, a few at once.

        Raises:
            StreamerError: all were taken for half a minute, or the file is damaged or gone.
        """
        return self._writer.reading()

    def picture_path(self, name: str) -> Path | None:
        """The file of a frame's `picture` column, or None where it is gone."""
        return self._writer.pictures.path(name)

    def close(self) -> None:
        """Close the database; who reads at the moment finishes first."""
        self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[Written]:
        with self._writer.writing() as written:
            self._alarms.changed.clear()
            yield written

    def _keep_all(self, batch: Batch) -> list[Update]:
        with self._writing() as written:
            told = [one for kept in collapsed(batch.kept) for one in self._keep(kept, written)]
            self._database.executemany(
                "INSERT OR REPLACE INTO topic VALUES (?, ?, ?)",
                [(topic, *values) for topic, values in batch.numbers.items()],
            )
            updates = [*self._telling.frames(written), *told, *self._told_alarms()]
        self.newest_pictures.put(written.jpegs)
        return updates

    def _keep(self, kept: Kept, written: Written) -> list[Update]:
        one, kind = kept
        match one:
            case Verdict() if kind == "score":
                self._verdicts.score(one, written)
            case Verdict():
                self._verdicts.revise(one, written)
            case Picture():
                self._verdicts.picture(one, written)
            case Event():
                self._alarms.event(self._database, one, written.now)
                return [self._telling.event(self._words.event(one, written.now))]
            case Word():
                line, event = self._words.word(one, written.now)
                told = [] if line is None else [self._telling.word(line)]
                return told if event is None else [*told, self._telling.event(event)]
            case Loss():
                self._words.loss(one, written.now)
        return []

    def _line(
        self,
        written: Written,
        stream: str | None,
        key: str | None,
        who: str,
        what: str,
        note: str | None,
        before: Any,
        after: Any,
    ) -> int:
        facts = [None if side is None else json.dumps(side) for side in (before, after)]
        values = {"at": written.now, "who": who, "what": what, "stream": stream, "key": key}
        values |= {"before": facts[0], "after": facts[1], "note": note and note[:_MAX_NOTE]}
        return self._words.note(values)

    def _decision(self, stream: str, key: str) -> dict[str, Any] | None:
        frame = self._database.execute(
            "SELECT 1 FROM frame WHERE stream = ? AND key = ?", (stream, key)
        ).fetchone()
        if frame is None:
            raise StreamerError(f"key: no frame {key[:80]!r} of stream {stream[:80]!r} is kept")
        row = self._database.execute(
            "SELECT decision, kind FROM review WHERE stream = ? AND key = ?", (stream, key)
        ).fetchone()
        return None if row is None else {"decision": row["decision"], "kind": row["kind"]}

    def _state(self, change: Callable[..., None], stream: str, cause: str) -> list[Update]:
        with self._told(), self._writing() as written:
            change(self._database, stream, cause, written.now)
            return self._told_alarms()
        return []

    def _told_alarms(self) -> list[Update]:
        return self._telling.alarms(sorted(self._alarms.changed))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the disk does not take is in `failed`, and no more happens."""
        with suppress(sqlite3.Error):
            yield

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """What the disk does not take is told to who asked."""
        try:
            yield
        except sqlite3.Error as error:
            raise unwritable(error) from None
