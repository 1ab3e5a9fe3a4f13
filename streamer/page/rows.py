"""Rows of the store as the JSON that pages read; times become milliseconds since 1970."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from streamer.following.messages import Verdict
from streamer.page.identity import frame_id_of

Row = Mapping[str, Any] | sqlite3.Row
Facts = dict[str, Any]

_FRAME = [
    "id",
    "stream",
    "key",
    "seq",
    "part_id",
    "product_id",
    "captured",
    "scored",
    "raw",
    "rscin",
    "pred",
    "threshold",
    "label",
    "state",
    "n_references",
    "revision",
    "final",
    "known_defect",
    "regions",
    "first_raw",
    "first_label",
    "first_threshold",
    "first_scored",
    "flipped",
    "height",
    "width",
    "picture",
    "alarm",
    "change",
]
_OTHERS = {
    "g_rows": "g.rows",
    "g_cols": "g.cols",
    "g_low": "g.low",
    "g_high": "g.high",
    "g_view": "g.view",
    "g_ignored": "g.ignored",
    "decision": "r.decision",
    "r_who": "r.who",
    "r_at": "r.at",
    "r_kind": "r.kind",
    "r_note": "r.note",
    "ack_at": "a.ack_at",
}
_COLUMNS = ", ".join(
    [f"f.{name}" for name in _FRAME] + [f"{value} AS {name}" for name, value in _OTHERS.items()]
)
FRAMES = (
    f"SELECT {_COLUMNS} FROM frame f LEFT JOIN grid g ON g.id = f.id "  # noqa: S608 - ours
    "LEFT JOIN review r ON r.stream = f.stream AND r.key = f.key LEFT JOIN alarm a ON a.id = f.alarm "
)
"""To be followed by `WHERE`; a frame is shown once `f.scored` is not null."""
ALARMS = "SELECT * FROM alarm "
EVENTS = "SELECT * FROM event "
AUDIT = "SELECT * FROM audit "


def ms(ns: int | None) -> float | None:
    """Nanoseconds as milliseconds, to the microsecond."""
    return None if ns is None else ns // 1000 / 1000


def ns(milliseconds: float) -> int:
    """Milliseconds as nanoseconds, within what the database holds."""
    return round(min(max(milliseconds, -9e12), 9e12) * 1e6)


def flag(value: int | None) -> bool | None:
    """A label as it is kept."""
    return None if value is None else bool(value)


def frame_json(row: Row) -> Facts:
    """A `Frame` from a row of `FRAMES`."""
    first_scored = row["first_scored"]
    return {
        "stream": row["stream"],
        "frame_id": frame_id_of(row["key"]),
        "key": row["key"],
        "seq": row["seq"],
        "part_id": row["part_id"],
        "product_id": row["product_id"],
        "captured": ms(row["captured"]),
        "scored": ms(row["scored"] if first_scored is None else first_scored),
        "raw": row["raw"],
        "rscin": row["rscin"],
        "pred": row["pred"],
        "threshold": row["threshold"],
        "label": flag(row["label"]),
        "state": row["state"],
        "n_references": row["n_references"],
        "revision": row["revision"],
        "final": bool(row["final"]),
        "first": {
            "raw": row["first_raw"],
            "label": flag(row["first_label"]),
            "threshold": row["first_threshold"],
            "scored": ms(first_scored),
        },
        "flipped": ms(row["flipped"]),
        "regions": json.loads(row["regions"] or "[]"),
        "known_defect": row["known_defect"],
        "shape": None if row["height"] is None else [row["height"], row["width"]],
        "picture": row["picture"] is not None,
        "map": _map(row),
        "review": review_json(row),
        "alarm": row["alarm"],
        "acked": None if row["alarm"] is None else row["ack_at"] is not None,
        "change": row["change"],
    }


def review_json(row: Row) -> Facts | None:
    """The `review` of a row of `FRAMES`."""
    if row["decision"] is None:
        return None
    at = ms(row["r_at"])
    return {
        "decision": row["decision"],
        "who": row["r_who"],
        "at": at,
        "kind": row["r_kind"],
        "note": row["r_note"],
    }


def unkept_json(verdict: Verdict) -> Facts:
    """A `Frame` of a score that the store could not keep."""
    row: Facts = dict.fromkeys([*_FRAME, *_OTHERS])
    row |= {name: value for name, value in vars(verdict).items() if name in row}
    for name in ("raw", "label", "threshold", "scored"):
        row[f"first_{name}"] = row[name]
    return frame_json({**row, "change": 0})


def alarm_json(row: Row) -> Facts:
    """An `Alarm`."""
    key = row["key"]
    return {
        "id": row["id"],
        "stream": row["stream"],
        "cause": row["cause"],
        "key": key,
        "frame_id": None if key is None else frame_id_of(key),
        "n_frames": row["n_frames"],
        "from": ms(row["since"]),
        "until": ms(row["until"]),
        "ack_by": row["ack_by"],
        "ack_at": ms(row["ack_at"]),
        "revised": ms(row["revised"]),
        "group": row["grp"],
    }


def event_json(row: Row) -> Facts:
    """An event; `frame_ids` and `keys` are its newest 100 frames, `since` the key of its first."""
    keys = json.loads(row["keys"])
    return {
        "stream": row["stream"],
        "group": row["grp"],
        "event": row["event"],
        "since": row["since"],
        "n_frames": row["n_frames"],
        "frame_ids": [frame_id_of(key) for key in keys],
        "keys": keys,
        "regions": json.loads(row["regions"]),
        "name": row["name"],
        "at": ms(row["at"]),
        "decision": row["decision"],
        "who": row["who"],
        "decided": ms(row["decided"]),
    }


def audit_json(row: Row) -> Facts:
    """A line of what was said and done."""
    key = row["key"]
    return {
        "at": ms(row["at"]),
        "who": row["who"],
        "what": row["what"],
        "stream": row["stream"],
        "frame_id": None if key is None else frame_id_of(key),
        "key": key,
        "group": row["grp"],
        "before": None if row["before"] is None else json.loads(row["before"]),
        "after": None if row["after"] is None else json.loads(row["after"]),
        "note": row["note"],
    }


def gap_json(row: Row) -> Facts:
    """A hole in the numbers of a topic."""
    return {
        "topic": row["topic"],
        "first": row["first"],
        "last": row["last"],
        "lost": row["lost"],
        "filled": row["filled"],
        "at": ms(row["at"]),
    }


def some(count: Sequence[object]) -> str:
    """Question marks for so many values."""
    return ", ".join("?" * len(count))


def _map(row: Row) -> Facts | None:
    if row["g_rows"] is None:
        return None
    view = row["g_view"]
    return {
        "rows": row["g_rows"],
        "cols": row["g_cols"],
        "min": row["g_low"],
        "max": row["g_high"],
        "view": None if view is None else json.loads(view),
        "ignored": bool(row["g_ignored"]),
    }
