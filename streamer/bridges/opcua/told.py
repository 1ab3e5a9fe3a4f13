"""What an item says, as the fields of an event: a result of a frame, or a message about anything else."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from streamer.bridges.opcua.config import Names
from streamer.bridges.opcua.names import ResultState, Verdict
from streamer.bridges.sink import Item
from streamer.printable import printable
from streamer.wire.codes import WARNINGS

_MAX_TEXT = 256
"""Characters of a name that a client gets; longer ones end in an ellipsis."""
_MAX_REGIONS = 16
_LEVELS = {"event": 400, "operator": 200, "dropped": 700, "error": 600, "availability": 800}
"""Severity, 1 to 1000, as OPC UA counts it."""
_WARNING = 300


@dataclass(frozen=True)
class Told:
    """One item as it is told and kept.

    Attributes:
        kind: `result` has the fields of a ResultReady event, `message` those of a DetectorMessage.
        number: the item's.
        stream: "" for the detector.
        values: by field; what has its default is left out. Times are nanoseconds since 1970.
        newest: whether it is of the stream's newest frame as far as the item says: a `score`.
        told_again: whether it changes or ends what had been told of its frame.
    """

    kind: Literal["result", "message"]
    number: int
    stream: str
    values: dict[str, Any]
    newest: bool = False
    told_again: bool = False

    @property
    def text(self) -> str:
        """One line for a person."""
        return str(self.values["Text"]) if self.kind == "message" else _sentence(self.stream, self.values)

    @property
    def level(self) -> int:
        """Severity, 1 to 1000."""
        if self.kind == "message":
            return int(self.values["Level"])
        return 500 if self.values.get("Verdict") == Verdict.ANOMALOUS else 100


def told(item: Item, names: Names) -> Told:
    """An item's fields.

    Args:
        item: of any kind.
        names: keys of `meta`.
    """
    if item.kind == "verdict":
        return _verdict(item, names)
    if item.kind == "dropped" and item.header.get("frame_id") is not None:
        return _given_up(item, names)
    return _message(item)


def _verdict(item: Item, names: Names) -> Told:
    header = item.header
    first = _kind_of(item) != "revision"
    scored, captured = header.get("scored_ns"), header.get("capture_ns")
    raw = _finite(header.get("raw_score"))
    values = {
        **_frame(item, names),
        "IsPartial": item.is_partial,
        "IsRevision": not first,
        "ResultState": _state(raw, item.is_partial),
        "StartTime": _ns(captured),
        "EndTime": _ns(scored),
        "ProcessingDuration": _finite(_of(header, "latency_ms").get("total")),
        "TotalDuration": _between(captured, scored),
        "Verdict": verdict(header.get("pred_label")),
        "VerdictBefore": verdict(item.before),
        "RawScore": raw,
        "PredScore": _finite(header.get("pred_score")),
        "Threshold": _finite(header.get("threshold")),
        "Late": header.get("late") is True,
        "Revision": _natural(header.get("revision")),
        "State": _text(header.get("state")),
        "References": _natural(header.get("n_references")),
        "KnownDefect": _text(header.get("known_defect")),
        "ModelId": _text(header.get("model_id")),
        "Regions": _regions(header.get("regions")),
    }
    return Told("result", item.number, item.stream or "", _filled(values), first, not first)


def _given_up(item: Item, names: Names) -> Told:
    """A frame that will have no score: whoever waits for its part is told so."""
    values = {
        **_frame(item, names),
        "ResultState": ResultState.ABORTED,
        "State": _text(item.header.get("reason")),
    }
    return Told("result", item.number, item.stream or "", _filled(values), newest=True)


def _frame(item: Item, names: Names) -> dict[str, Any]:
    meta = _of(item.header, "meta")

    def named(key: str | None) -> str:
        return "" if key is None else _text(meta.get(key))

    return {
        "ItemNumber": item.number,
        "StreamName": item.stream or "",
        "FrameId": _text(item.header.get("frame_id")),
        "PartId": named(names.part),
        "JobId": named(names.job),
        "ExternalId": named(names.external),
        "ProductId": named(names.product),
        "CreationTime": _ns(item.header.get("capture_ns")),
    }


def _message(item: Item) -> Told:
    header = item.header
    code = _text(header.get("code") or header.get("event") or header.get("what") or header.get("reason"))
    level = _WARNING if code in WARNINGS else _LEVELS.get(item.kind, 100)
    if item.kind == "availability" and is_up(header):
        level = 100
    at = next((header[key] for key in ("event_ns", "operator_ns", "at_ns") if _ns(header.get(key))), None)
    values = {
        "ItemNumber": item.number,
        "StreamName": item.stream or "",
        "Kind": item.kind,
        "Code": code,
        "FrameId": _text(header.get("frame_id")),
        "Group": _natural(header.get("group")),
        "CreationTime": _ns(at),
        "Text": _text(_words(item, code)),
        "Level": level,
    }
    return Told("message", item.number, item.stream or "", _filled(values))


def _words(item: Item, code: str) -> str:
    header, where = item.header, "detector" if item.stream is None else item.stream
    if item.kind == "availability":
        return f"{where}: {'up' if is_up(header) else 'down'}"
    if item.kind == "dropped":
        return (
            f"{where}: {header.get('lost')} messages of {header.get('topic')} are lost, "
            f"{header.get('first')} to {header.get('last')}"
        )
    if item.kind == "event":
        frames, since, name = header.get("n_frames"), header.get("since"), header.get("name")
        return f"{where}: {code}, {frames} frames since {since}" + (f", {name}" if name else "")
    if item.kind == "operator":
        about = header.get("frame_id") if header.get("frame_id") is not None else header.get("group")
        return f"{where}: {header.get('who') or 'somebody'}: {code}" + ("" if about is None else f" {about}")
    return f"{where}: {code}: {header.get('text')}"


def _sentence(stream: str, values: Mapping[str, Any]) -> str:
    state = values.get("ResultState")
    verdicts = {Verdict.GOOD: "good", Verdict.ANOMALOUS: "anomalous"}
    said = (
        "no score" if state == ResultState.ABORTED else verdicts.get(values.get("Verdict", 0), "no verdict")
    )
    score, threshold = values.get("RawScore"), values.get("Threshold")
    figures = "" if score is None else f", {score:.4g}"
    figures += "" if score is None or threshold is None else f" at a threshold of {threshold:.4g}"
    part = values.get("PartId") or values.get("FrameId", "")
    return printable(f"{stream}: {part}: {said}{figures}{', late' if values.get('Late') else ''}")


def is_up(header: Mapping[str, Any]) -> bool:
    """Of an `availability` item: whether the detector answers."""
    return header.get("detector") == "up"


def verdict(label: Any) -> Verdict:
    """A label as a PLC reads it."""
    return Verdict.NONE if not isinstance(label, bool) else Verdict.ANOMALOUS if label else Verdict.GOOD


def when(nanoseconds: int | None) -> datetime | None:
    """A time of ours as OPC UA's; None where there is none."""
    if nanoseconds is None:
        return None
    seconds, rest = divmod(nanoseconds, 10**9)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def _state(raw: float | None, is_partial: bool) -> ResultState:
    if raw is not None:
        return ResultState.COMPLETED
    return ResultState.PROCESSING if is_partial else ResultState.ABORTED


def _kind_of(item: Item) -> str:
    return str(item.header.get("kind") or item.topic.rpartition("/")[2])


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    """Without what a field has by default; an enumeration as a number."""
    return {
        key: int(value) if isinstance(value, Verdict | ResultState) else value
        for key, value in values.items()
        if value is not None and value not in ("", [])
    }


def _of(header: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = header.get(key)
    return found if isinstance(found, Mapping) else {}


def _text(value: Any) -> str:
    """A name as text of one line, with nothing that UTF-8 or a client's screen cannot take."""
    if value is None or isinstance(value, list | Mapping):
        return ""
    text = printable(value)
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _finite(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _natural(value: Any, most: int = 2**32 - 1) -> int:
    return min(value, most) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _ns(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _between(start: Any, end: Any) -> float | None:
    """Milliseconds."""
    first, last = _ns(start), _ns(end)
    return None if first is None or last is None else (last - first) / 1e6


def _regions(found: Any) -> list[float]:
    """Five numbers a region: x, y, width and height in pixels of the frame, and its score."""
    flat: list[float] = []
    for region in (found if isinstance(found, list | tuple) else ())[:_MAX_REGIONS]:
        numbers = [_finite(number) for number in region] if isinstance(region, list | tuple) else []
        if len(numbers) == 5 and None not in numbers:
            flat += [number for number in numbers if number is not None]
    return flat
