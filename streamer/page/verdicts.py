"""Verdicts and pictures into rows: the first verdict stays, the last one counts, in any order."""

import sqlite3
from dataclasses import dataclass, field
from typing import Any

import structlog

from streamer.errors import WireError
from streamer.following.messages import Picture, Verdict
from streamer.page.alarms import Alarms
from streamer.page.pictures import Pictures, grid_row, jpeg_size, thumb_of

log = structlog.get_logger()

QUARTER_NS = 900 * 10**9
_ROW_BYTES = 800
# Of a frame's row with its entries in the indices, beside what varies.
_CURRENT = (
    *("scored", "raw", "rscin", "pred", "threshold", "label", "state", "n_references"),
    *("revision", "final", "known_defect", "regions"),
)
_ORIGIN = ["seq", "captured", "part_id", "product_id", "meta", "latency", "model_id"]
_SET_CURRENT = ", ".join(f"{name} = :{name}" for name in _CURRENT)
_SET_ORIGIN = ", ".join(f"{name} = :{name}" for name in _ORIGIN)
_NEW = (
    *("stream", "key", "stored", "bytes", "important", "change"),
    *_ORIGIN,
    *_CURRENT,
    *("first_raw", "first_label", "first_threshold", "first_scored"),
)
_INSERT = f"INSERT INTO frame ({', '.join(_NEW)}) VALUES ({', '.join(':' + name for name in _NEW)})"  # noqa: S608
_FIND = (
    "SELECT id, captured, scored, label, revision, final, first_scored, alarm, picture, picture_bytes, bytes "
    "FROM frame WHERE stream = ? AND key = ?"
)


@dataclass
class Written:
    """What one transaction has changed.

    Attributes:
        scored, revised, pictured: rows.
        flips: rows whose label became another, each once.
        grids: of rows scored.
        n_bytes: more than before, or fewer.
        deleted: pictures to delete once it is done.
        made: pictures to delete if it fails.
        jpegs: pictures by stream and key.
        bad: maps and pictures that were of no use.
    """

    change: int
    now: int
    scored: list[int] = field(default_factory=list)
    revised: dict[str, int] = field(default_factory=dict)
    pictured: list[int] = field(default_factory=list)
    flips: dict[int, None] = field(default_factory=dict)
    grids: dict[int, bytes] = field(default_factory=dict)
    n_bytes: int = 0
    deleted: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    jpegs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    bad: int = 0


class Verdicts:
    """Writes what is known of frames, within the transaction of its caller."""

    def __init__(self, database: sqlite3.Connection, pictures: Pictures, alarms: Alarms) -> None:
        self._database, self._pictures, self._alarms = database, pictures, alarms

    def score(self, verdict: Verdict, written: Written) -> None:
        """A provisional score; one that came before changes nothing."""
        row = self._find(verdict.stream, verdict.key)
        if row is not None and row["first_scored"] is not None:
            if row["first_scored"] == verdict.scored:
                return
            # An id that is used again, after a restart without a history: by the same frame, sent once more,
            # or by another one, which was inspected beside it.
            self.forget(row["id"], written, untold=row["captured"] == verdict.captured)
            row = None
        number = (
            self._insert(verdict, written, first=True)
            if row is None
            else self._complete(row, verdict, written)
        )
        self._keep_map(number, verdict, written)
        written.scored.append(number)

    def revise(self, verdict: Verdict, written: Written) -> None:
        """A revision; an older one than is known changes nothing."""
        row = self._find(verdict.stream, verdict.key)
        if row is None:
            number = self._insert(verdict, written, first=False)
        elif _is_older(verdict, row):
            return
        else:
            number = row["id"]
            self._relabel(row, verdict, written)
            if row["scored"] is None:  # until now there was only a picture
                self._count(verdict.stream, row["captured"], 1, int(verdict.label or 0))
            self._update(_SET_CURRENT, _values(verdict), number, written)
        self._keep_map(number, verdict, written)
        written.revised[verdict.stream] = written.revised.get(verdict.stream, 0) + 1

    def picture(self, picture: Picture, written: Written) -> None:
        """The picture of a frame; the row is made where the score has not come yet."""
        try:
            jpeg_size(picture.jpeg)
        except WireError:
            written.bad += 1
            return
        row = self._find(picture.stream, picture.key)
        number = self._bare(picture, written) if row is None else row["id"]
        known = None if row is None else row["picture"]
        try:
            name = self._pictures.write(number, picture.jpeg, known and known.partition("/")[0])
        except OSError as error:
            # As of the database: it is told, and the verdict stays.
            raise sqlite3.OperationalError(f"a picture could not be written: {error}") from None
        if known is None:
            written.made.append(name)
        thumb = thumb_of(picture.jpeg)
        size = len(picture.jpeg) + len(thumb or b"")
        values = {
            "picture": name,
            "picture_bytes": size,
            "thumb": thumb,
            "height": picture.height,
            "width": picture.width,
        }
        self._update(", ".join(f"{column} = :{column}" for column in values), values, number, written)
        written.n_bytes += size - (0 if row is None else row["picture_bytes"])
        written.pictured.append(number)
        written.jpegs[picture.stream, picture.key] = picture.jpeg

    def forget(self, number: int, written: Written, *, untold: bool = True) -> None:
        """Delete a frame's row, its map, its picture and what was decided of it.

        Args:
            number: of the row.
            written: of the transaction.
            untold: whether the frame is taken out of the tallies too, because it will be counted again.
        """
        row = self._database.execute("SELECT * FROM frame WHERE id = ?", (number,)).fetchone()
        if untold and row["scored"] is not None:
            self._count(row["stream"], row["captured"], -1, -int(row["label"] or 0))
        self._database.execute("DELETE FROM frame WHERE id = ?", (number,))
        self._database.execute("DELETE FROM grid WHERE id = ?", (number,))
        self._database.execute("DELETE FROM review WHERE stream = ? AND key = ?", (row["stream"], row["key"]))
        if row["picture"] is not None:
            written.deleted.append(row["picture"])
        written.n_bytes -= row["bytes"] + row["picture_bytes"]

    def _find(self, stream: str, key: str) -> Any:
        return self._database.execute(_FIND, (stream, key)).fetchone()

    def _insert(self, verdict: Verdict, written: Written, *, first: bool) -> int:
        values = _values(verdict)
        if not first and not verdict.captured:  # the detector no longer knew
            values["captured"] = verdict.scored
        size = _ROW_BYTES + len(verdict.regions) + len(verdict.meta)
        values |= {
            "stored": written.now,
            "bytes": size,
            "change": written.change,
            "important": _matters(verdict),
        }
        values |= {
            f"first_{name}": values[name] if first else None
            for name in ("raw", "label", "threshold", "scored")
        }
        number = int(self._database.execute(_INSERT, values).lastrowid or 0)
        self._count(verdict.stream, values["captured"], 1, int(verdict.label or 0))
        written.n_bytes += size
        if verdict.label:
            self._alarm(number, verdict, written)
        return number

    def _bare(self, picture: Picture, written: Written) -> int:
        made = self._database.execute(
            "INSERT INTO frame (stream, key, seq, captured, stored, bytes, change) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                picture.stream,
                picture.key,
                picture.seq,
                picture.captured,
                written.now,
                _ROW_BYTES,
                written.change,
            ),
        )
        written.n_bytes += _ROW_BYTES
        return int(made.lastrowid or 0)

    def _complete(self, row: sqlite3.Row, verdict: Verdict, written: Written) -> int:
        """The score of a row that a picture or a revision has made: its revision, if any, stays."""
        values = _values(verdict)
        columns = f"{_SET_ORIGIN}, " + ", ".join(
            f"first_{name} = :{name}" for name in ("raw", "label", "threshold", "scored")
        )
        if row["scored"] is None:
            self._relabel(row, verdict, written)
            self._count(verdict.stream, verdict.captured, 1, int(verdict.label or 0))
            size = len(verdict.regions) + len(verdict.meta)
            columns += f", {_SET_CURRENT}, bytes = bytes + {size}"
            written.n_bytes += size
        elif row["captured"] != verdict.captured:
            anomalous = int(row["label"] or 0)
            self._count(verdict.stream, row["captured"], -1, -anomalous)
            self._count(verdict.stream, verdict.captured, 1, anomalous)
        self._update(columns, values, row["id"], written)
        return int(row["id"])

    def _relabel(self, row: sqlite3.Row, verdict: Verdict, written: Written) -> None:
        """What another label than before leads to."""
        before, number = row["label"], row["id"]
        if before == verdict.label:
            return
        self._database.execute("UPDATE frame SET label = ? WHERE id = ?", (verdict.label, number))
        if row["scored"] is not None:
            self._database.execute("UPDATE frame SET flipped = ? WHERE id = ?", (verdict.scored, number))
            written.flips[number] = None
            change = int(bool(verdict.label)) - int(bool(before))
            self._count(verdict.stream, row["captured"], 0, change)
        if row["alarm"] is not None:
            self._alarms.relabelled(self._database, row["alarm"], verdict.scored)
        elif verdict.label:
            self._alarm(number, verdict, written)

    def _alarm(self, number: int, verdict: Verdict, written: Written) -> None:
        alarm = self._alarms.anomalous(
            self._database, verdict.stream, verdict.key, verdict.scored, written.now
        )
        self._database.execute("UPDATE frame SET alarm = ?, important = 1 WHERE id = ?", (alarm, number))

    def _update(self, columns: str, values: dict[str, Any], number: int, written: Written) -> None:
        important = ", important = 1" if values.get("label") or values.get("known_defect") else ""
        self._database.execute(
            f"UPDATE frame SET {columns}, change = :change{important} WHERE id = :id",  # noqa: S608 - ours
            {**values, "change": written.change, "id": number},
        )

    def _keep_map(self, number: int, verdict: Verdict, written: Written) -> None:
        if verdict.map_entry is None or not verdict.part:
            return
        try:
            row = grid_row(verdict.map_entry, verdict.part)
        except Exception as error:  # a map that cannot be read costs its verdict nothing
            log.debug("page_map_unreadable", stream=verdict.stream, text=str(error))
            written.bad += 1
            return
        old = self._database.execute("SELECT length(grid) FROM grid WHERE id = ?", (number,)).fetchone()
        self._database.execute("INSERT OR REPLACE INTO grid VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (number, *row))
        more = len(row[-1]) - (old[0] if old else 0)
        if more:
            self._database.execute("UPDATE frame SET bytes = bytes + ? WHERE id = ?", (more, number))
            written.n_bytes += more
        written.grids[number] = row[-1]

    def _count(self, stream: str, captured: int, inspected: int, anomalous: int) -> None:
        if inspected or anomalous:
            self._database.execute(
                "INSERT INTO tally VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "inspected = inspected + excluded.inspected, anomalous = anomalous + excluded.anomalous",
                (stream, captured // QUARTER_NS, inspected, anomalous),
            )


def _values(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in vars(verdict).items() if name not in {"map_entry", "part"}}


def _matters(verdict: Verdict) -> bool:
    return bool(verdict.label) or verdict.known_defect is not None


def _is_older(verdict: Verdict, row: sqlite3.Row) -> bool:
    """Whether a revision is one that came before, or older than what is known."""
    if row["scored"] is None or (verdict.scored > row["scored"]):
        return False
    return (verdict.revision, verdict.final) <= (row["revision"], bool(row["final"]))
