"""What is told, as JSON: of each kind the same fields in the same order, whatever a header has or lacks."""

import json
import math
from collections.abc import Mapping
from typing import Any

from streamer.bridges.sink import Item, Refused

VERSION = 1
_OF_A_FRAME = ("frame_id", "seq", "capture_ns")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "verdict": (
        *_OF_A_FRAME,
        "scored_ns",
        "revision",
        "is_final",
        "pred_label",
        "raw_score",
        "rscin_score",
        "pred_score",
        "threshold",
        "state",
        "late",
        "known_defect",
        "n_references",
        "regions",
        "latency_ms",
        "model_id",
        "meta",
    ),
    "event": ("event", "group", "frame_ids", "since", "n_frames", "regions", "name", "event_ns"),
    "operator": ("who", "what", "frame_id", "group", "before", "after", "operator_ns"),
    "dropped": (*_OF_A_FRAME, "reason", "meta", "lost", "first", "last"),
    "error": ("frame_id", "seq", "code", "text"),
}
"""Of a header, by the kind of its item; docs/bridges-mqtt.md has the meaning of each."""
_CUTTABLE = ("meta", "regions", "frame_ids", "latency_ms")
"""What is left out, in this order, of a payload that is too long."""
_DEEPEST = 16


def payload(item: Item, bridge: str, *, most: int, picture: bool = False) -> bytes:
    """An item as JSON in UTF-8.

    Args:
        item: a verdict, event, operator's word, loss or error.
        bridge: id of the queue that its number is of.
        most: bytes that may be sent; of what is longer parts are left out, and named in `cut`.
        picture: whether the frame's picture was sent before it.

    Raises:
        Refused: it is longer still.
    """
    told: dict[str, Any] = {
        "v": VERSION,
        "kind": item.kind,
        "bridge": bridge,
        "number": item.number,
        "topic": item.topic or item.header.get("topic", ""),
        "pub_seq": item.pub_seq,
        "stream": item.stream,
    }
    told |= {name: item.header.get(name) for name in FIELDS[item.kind]}
    if item.kind == "verdict":
        told |= {"before": item.before, "is_partial": item.is_partial, "picture": picture}
    told["cut"] = []
    encoded = encode(told)
    for name in _CUTTABLE:
        if len(encoded) <= most:
            break
        if told.get(name):
            told[name] = None
            told["cut"].append(name)
            encoded = encode(told)
    if len(encoded) > most:
        raise Refused(f"{item.kind} {item.number}: has {len(encoded)} bytes, the broker may be sent {most}")
    return encoded


def encode(told: Mapping[str, Any]) -> bytes:
    """JSON in ASCII on one line; what is not finite becomes null."""
    return json.dumps(_plain(told), allow_nan=False, separators=(",", ":")).encode("ascii")


def _plain(value: Any, depth: int = 0) -> Any:
    """What JSON can say; what it cannot becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(key): _plain(one, depth + 1) for key, one in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple):
        return [_plain(one, depth + 1) for one in value]
    return None
