"""Which frames a page asks for, as SQL: every value is bound, and none is put into the text."""

from dataclasses import dataclass
from typing import Any, Literal

from streamer.errors import StreamerError
from streamer.page.rows import ns

Verdict = Literal["any", "anomalous", "normal", "none"]
Reviewed = Literal["any", "yes", "no"]
Sort = Literal["time", "score"]

MOST = 200
"""Frames of one answer."""
_MAX_QUERY = 256
_SEARCHED = 500_000

_VERDICTS = {"any": "", "anomalous": "f.label = 1", "normal": "f.label = 0", "none": "f.label IS NULL"}
_REVIEWED = {"any": "", "yes": "r.decision IS NOT NULL", "no": "r.decision IS NULL"}


@dataclass(frozen=True)
class Filters:
    """Which frames, in what order.

    Args:
        stream: its name; None for all.
        start, end: milliseconds since 1970 of capture, `start <= captured < end`; None for no bound.
        verdict: of the last label.
        reviewed: whether a person has decided.
        q: part of a part's or frame's id, looked for in the newest 500,000 frames.
        sort: newest first, or highest raw score first.
        since: only frames that changed after this `change`.
    """

    stream: str | None = None
    start: float | None = None
    end: float | None = None
    verdict: Verdict = "any"
    reviewed: Reviewed = "any"
    q: str | None = None
    sort: Sort = "time"
    since: int | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The condition and its values.

        Raises:
            StreamerError: a value is none of those above.
        """
        for key, value, known in (
            ("verdict", self.verdict, _VERDICTS),
            ("reviewed", self.reviewed, _REVIEWED),
            ("sort", self.sort, ("time", "score")),
        ):
            if value not in known:
                raise StreamerError(f"{key}: got {str(value)[:80]!r}, expected one of {', '.join(known)}")
        parts: list[tuple[str, list[Any]]] = [("f.scored IS NOT NULL", [])]
        # What changed lately are few frames, found by their change: the signs keep other indices out of it.
        sign = "" if self.since is None else "+"
        if self.stream is not None:
            parts.append((f"{sign}f.stream = ?", [self.stream]))
        if self.start is not None:
            parts.append((f"{sign}f.captured >= ?", [ns(self.start)]))
        if self.end is not None:
            parts.append((f"{sign}f.captured < ?", [ns(self.end)]))
        if self.since is not None:
            parts.append(("f.change > ?", [self.since]))
        if self.q:
            like = f"%{_escaped(self.q[:_MAX_QUERY])}%"
            parts.append(
                (
                    "f.id > (SELECT coalesce(max(id), 0) FROM frame) - ? "
                    "AND (f.part_id LIKE ? ESCAPE '!' OR substr(f.key, 3) LIKE ? ESCAPE '!')",
                    [_SEARCHED, like, like],
                )
            )
        parts += [(text, []) for text in (_VERDICTS[self.verdict], _REVIEWED[self.reviewed]) if text]
        return " AND ".join(text for text, _ in parts), [value for _, values in parts for value in values]

    @property
    def tables(self) -> str:
        """What the condition is on; reviews only where it is about them."""
        if self.reviewed == "any":
            return "frame f"
        return "frame f LEFT JOIN review r ON r.stream = f.stream AND r.key = f.key"

    @property
    def order(self) -> str:
        """The order, as SQL."""
        return "f.raw DESC, f.id DESC" if self.sort == "score" else "f.captured DESC, f.id DESC"

    def cursor(self, frame: Any) -> str:
        """Where the page that ends with a row goes on."""
        value = frame["raw"] if self.sort == "score" else frame["captured"]
        return f"{'' if value is None else repr(value)}:{frame['id']}"

    def after(self, cursor: str) -> tuple[str, list[Any]]:
        """The condition for what comes after a cursor; null scores are last.

        Raises:
            StreamerError: it is none of `cursor`'s.
        """
        text, _, number = cursor.partition(":")
        try:
            last = int(number)
            value = None if text == "" else float(text) if self.sort == "score" else int(text)
            if abs(last) >= 2**63 or (isinstance(value, int) and abs(value) >= 2**63):
                raise ValueError
        except ValueError:
            raise StreamerError(
                f"cursor: got {cursor[:80]!r}, expected what `next` of an answer holds"
            ) from None
        column = "f.raw" if self.sort == "score" else "f.captured"
        if value is None:
            return f"({column} IS NULL AND f.id < ?)", [last]
        return f"({column} < ? OR ({column} = ? AND f.id < ?) OR {column} IS NULL)", [value, value, last]


def _escaped(text: str) -> str:
    """Text that `LIKE` takes as it is."""
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return text
