"""An item as plain values: what JSON and tables are made of, whatever the detector's words hold."""

import math
from collections.abc import Mapping
from typing import Any

from streamer.bridges.sink import Item
from streamer.tables import time_text

_TIMES = ("event_ns", "operator_ns", "at_ns", "scored_ns", "capture_ns")
_LATEST = 253_402_300_799_000_000_000
"""End of the year 9999, in nanoseconds since 1970: later than that is no time that anybody can write."""
_DEEPEST = 16


def what(item: Item) -> str:
    """The kind in more detail: of a verdict `provisional`, `revised` or `final`, of an event its kind, of an
    operator's word what was done, of an error its code, of frames lost the reason; "" where there is none.
    """
    header = item.header
    if item.kind == "verdict":
        if header.get("is_final") is True:
            return "final"
        return (
            "revised" if item.topic.endswith("/revision") or _count(header.get("revision")) else "provisional"
        )
    key = {
        "event": "event",
        "operator": "what",
        "error": "code",
        "dropped": "reason",
        "availability": "detector",
    }
    found = header.get(key.get(item.kind, ""))
    return found if isinstance(found, str) else ""


def at_ns(item: Item) -> int:
    """When it was, nanoseconds since 1970: as the detector says, or when the bridge heard of it."""
    for key in _TIMES:
        found = nanoseconds(item.header.get(key))
        if found is not None:
            return found
    return item.kept_ns


def nanoseconds(value: Any) -> int | None:
    """A time since 1970 that a calendar has, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LATEST else None


def label(value: Any) -> bool | None:
    """A `pred_label`, None where it is withheld, or is no label."""
    return value if isinstance(value, bool) else None


def fields(item: Item) -> dict[str, Any]:
    """An item as JSON has it: who, when and what beside the header as it was published.

    A map and a picture are not in it, nor is the header's entry that says how to read the map. Numbers that
    are not finite are null, and what JSON has no words for is left out.
    """
    header = {key: value for key, value in item.header.items() if key != "anomaly_map"}
    told: dict[str, Any] = {
        "number": item.number,
        "kind": item.kind,
        "what": what(item),
        "at": time_text(at_ns(item) // 10**6),
        "topic": item.topic,
        "pub_seq": item.pub_seq,
        "stream": item.stream,
    }
    if item.kind == "verdict":
        told |= {"before": item.before, "is_partial": item.is_partial}
    return {**told, "header": plain(header)}


def plain(value: Any, depth: int = 0) -> Any:
    """A value of a header as JSON takes it: no bytes, no infinite numbers, no more than 16 levels."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(key): plain(entry, depth + 1) for key, entry in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple):
        return [plain(entry, depth + 1) for entry in value]
    return None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
