"""The state of each stream as its retained topic tells it: the newest verdict, the threshold, and counts."""

from collections.abc import Mapping
from typing import Any

from streamer.bridges.mqtt.payloads import VERSION
from streamer.bridges.sink import Item

STREAMS = 4096
"""Streams that have a state; of those that come later only what happens is told."""
COUNTS = ("scores", "anomalous", "revisions", "changed", "events", "operator", "dropped", "errors")
_LAST = (
    "frame_id",
    "revision",
    "is_final",
    "pred_label",
    "raw_score",
    "rscin_score",
    "pred_score",
    "known_defect",
    "late",
    "capture_ns",
    "scored_ns",
    "model_id",
)
_COUNTED = {"event": "events", "operator": "operator", "error": "errors"}


class States:
    """States by stream; an item that comes again is counted once.

    Args:
        bridge: id of the queue that numbers are of.
        kept: of a run before, as `body` gave them; a state that is of another queue begins anew: its number
            would hold back all that come.
    """

    def __init__(self, bridge: str, kept: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._bridge = bridge
        self._bodies: dict[str, dict[str, Any]] = {
            stream: {**body, "counts": dict(body["counts"])}
            if body.get("bridge") == bridge
            else _begun(stream, bridge)
            for stream, body in (kept or {}).items()
        }

    def __contains__(self, stream: object) -> bool:
        """Whether a stream has a state."""
        return stream in self._bodies

    @property
    def streams(self) -> list[str]:
        """Those that have a state."""
        return list(self._bodies)

    def body(self, stream: str) -> dict[str, Any]:
        """The state of a stream, as its topic tells it."""
        return self._bodies[stream]

    def take(self, item: Item) -> bool:
        """Enter what an item says of its stream; whether there is something to tell."""
        if item.stream is None:
            return False
        body = self._bodies.get(item.stream)
        if body is None:
            if len(self._bodies) >= STREAMS:
                return False
            body = self._bodies[item.stream] = _begun(item.stream, self._bridge)
        if item.number <= body["number"]:
            return False
        body["number"] = item.number
        if item.kind == "verdict":
            _enter(body, item)
        elif item.kind == "dropped":
            body["counts"]["dropped"] += _lost(item.header)
        elif item.kind in _COUNTED:
            body["counts"][_COUNTED[item.kind]] += 1
        return True


def _begun(stream: str, bridge: str) -> dict[str, Any]:
    last = dict.fromkeys((*_LAST, "threshold", "state"))
    return {
        "v": VERSION,
        "kind": "state",
        "bridge": bridge,
        "number": -1,
        "stream": stream,
        **last,
        "counts": dict.fromkeys(COUNTS, 0),
    }


def _enter(body: dict[str, Any], item: Item) -> None:
    """A score is the newest verdict; a revision is, if it is of the same frame. Thresholds hold for all."""
    header, counts = item.header, body["counts"]
    is_score = item.topic.endswith("/score")
    if is_score:
        counts["scores"] += 1
        counts["anomalous"] += header.get("pred_label") is True
    else:
        counts["revisions"] += 1
        counts["changed"] += item.before is not None and item.before != header.get("pred_label")
    if is_score or _same(header.get("frame_id"), body["frame_id"]):
        body |= {name: header.get(name) for name in _LAST}
    body |= {name: header.get(name) for name in ("threshold", "state")}


def _same(one: object, other: object) -> bool:
    """17 and "17" are two frames."""
    return type(one) is type(other) and one == other


def _lost(header: Mapping[str, Any]) -> int:
    lost = header.get("lost")
    return lost if isinstance(lost, int) and not isinstance(lost, bool) and lost > 0 else 1
