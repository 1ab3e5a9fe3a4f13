"""Events, operators' words and losses into rows, and the page's own notes beside the detector's."""

import json
import sqlite3
from typing import Any

from streamer.following.messages import Event, Loss, Word
from streamer.page.verdicts import QUARTER_NS

_BESIDE_NS = 60 * 10**9
# A note of the page and the detector's word it explains are so close.
_MOST_LINES = 500_000
_MOST_CODES = 64
# Of one stream in a quarter: what a hostile detector makes up is counted together.


class Words:
    """Writes what was said and what went wrong, within the transaction of its caller."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def event(self, event: Event, now: int) -> int:
        """An event, or the same with more frames; returns its row."""
        values = (event.stream, event.event, event.group, event.since)
        self._database.execute(
            "INSERT INTO event (stream, event, grp, since, n_frames, keys, regions, name, at, stored) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET n_frames = excluded.n_frames, "
            "keys = excluded.keys, regions = excluded.regions, name = coalesce(excluded.name, name), "
            "at = excluded.at",
            (*values, event.n_frames, json.dumps(event.keys), event.regions, event.name, event.at, now),
        )
        found = self._database.execute(
            "SELECT id FROM event WHERE stream = ? AND event = ? AND grp = ? AND since = ?", values
        ).fetchone()
        return int(found["id"])

    def word(self, word: Word, now: int) -> tuple[int | None, int | None]:
        """An operator's word; its row (None for one that is known), and the row of the event it decides."""
        known = self._database.execute(
            "SELECT 1 FROM audit WHERE stream = ? AND what = ? AND at = ? AND key IS ? AND grp IS ? "
            "AND NOT by_page",
            (word.stream, word.what, word.at, word.key, word.group),
        ).fetchone()
        if known is not None:
            return None, None
        facts = {"at": word.at, "who": word.who, "before": word.before, "after": word.after, "now": now}
        # What the page noted of it a moment ago, why a threshold was moved, becomes one line with it.
        beside = self._beside(word.stream, word.key, word.what, word.at, by_page=True)
        if beside is None:
            made = self._database.execute(
                "INSERT INTO audit (at, who, what, stream, key, grp, before, after, by_page, stored) "
                "VALUES (:at, :who, :what, :stream, :key, :group, :before, :after, 0, :now)",
                {**facts, "what": word.what, "stream": word.stream, "key": word.key, "group": word.group},
            )
            beside = int(made.lastrowid or 0)
        else:
            self._database.execute(
                "UPDATE audit SET at = :at, who = coalesce(:who, who), before = :before, after = :after, "
                "by_page = 0 WHERE id = :id",
                {**facts, "id": beside},
            )
        return beside, self._decide(word)

    def note(self, values: dict[str, Any]) -> int:
        """A line of the page's own; beside the detector's word that it explains, its note."""
        note, what = values["note"], values["what"]
        beside = self._beside(values["stream"], values["key"], what, values["at"], by_page=False)
        if note is not None and beside is not None:
            self._database.execute("UPDATE audit SET note = ? WHERE id = ?", (note, beside))
            return beside
        made = self._database.execute(
            "INSERT INTO audit (at, who, what, stream, key, before, after, note, by_page, stored) "
            "VALUES (:at, :who, :what, :stream, :key, :before, :after, :note, 1, :at)",
            values,
        )
        number = int(made.lastrowid or 0)
        self._database.execute("DELETE FROM audit WHERE id <= ?", (number - _MOST_LINES,))
        return number

    def loss(self, loss: Loss, now: int) -> None:
        """A frame that was dropped or refused, counted by reason or code."""
        quarter = now // QUARTER_NS
        (codes,) = self._database.execute(
            "SELECT count(*) FROM loss WHERE stream = ? AND quarter = ?", (loss.stream, quarter)
        ).fetchone()
        code = loss.code if codes < _MOST_CODES else "other"
        self._database.execute(
            "INSERT INTO loss VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
            (loss.stream, quarter, loss.kind, code),
        )

    def _decide(self, word: Word) -> int | None:
        """Enter in the newest event of a group what was decided of it."""
        if word.group is None or word.what not in {"accept", "reject"}:
            return None
        found = self._database.execute(
            "SELECT id FROM event WHERE stream = ? AND grp = ? ORDER BY id DESC LIMIT 1",
            (word.stream, word.group),
        ).fetchone()
        if found is None:
            return None
        after = json.loads(word.after) if word.after else None
        name = after.get("name") if isinstance(after, dict) else None
        self._database.execute(
            "UPDATE event SET decision = ?, who = ?, decided = ?, name = coalesce(?, name) WHERE id = ?",
            (word.what, word.who, word.at, name if isinstance(name, str) else None, found["id"]),
        )
        return int(found["id"])

    def _beside(
        self, stream: str | None, key: str | None, what: str, at: int, *, by_page: bool
    ) -> int | None:
        found = self._database.execute(
            "SELECT id FROM audit WHERE stream IS ? AND what = ? AND key IS ? AND by_page = ? "
            "AND at BETWEEN ? AND ? AND (? OR note IS NULL) ORDER BY id DESC LIMIT 1",
            (stream, what, key, by_page, at - _BESIDE_NS, at + _BESIDE_NS, by_page),
        ).fetchone()
        return None if found is None else int(found["id"])
