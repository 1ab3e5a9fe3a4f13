"""What the detector says, checked: every value of a type and size that who takes it can bear."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from streamer.errors import WireError
from streamer.following.identity import key_of
from streamer.wire.checks import NO_STREAM, check_count, check_frame_id, check_stream, shown
from streamer.wire.published import Message, topic_of

KINDS = ("score", "revision", "picture", "event", "operator", "dropped", "error")
"""Kinds of messages that are kept."""

_MAX_TEXT = 400
_MAX_META = 16 * 1024
_MAX_FACTS = 8 * 1024
_REGIONS = 64
_IDS = 100
_STATES = frozenset({"warmup", "ready", "degraded"})
_LARGEST = 2**53
# Of whole numbers that a browser reads exactly.

Value = TypeVar("Value")


@dataclass(frozen=True)
class Verdict:
    """A `score` or `revision`; `part` is its payload, the map, and `map_entry` says how to read it."""

    stream: str
    key: str
    seq: int | None
    captured: int
    scored: int
    raw: float | None
    rscin: float | None
    pred: float | None
    threshold: float | None
    label: bool | None
    state: str
    n_references: int
    revision: int
    final: bool
    known_defect: str | None
    regions: str
    meta: str
    part_id: str | None
    product_id: str | None
    latency: float | None
    model_id: str | None
    map_entry: Mapping[str, Any] | None = field(repr=False)
    part: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Picture:
    """A `picture`; whether its JPEG is one is looked at where it is kept."""

    stream: str
    key: str
    seq: int | None
    captured: int
    height: int
    width: int
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class Event:
    """An `event`; `keys` are its newest frames, `since` its first."""

    stream: str
    event: str
    group: int
    since: str
    n_frames: int
    keys: list[str]
    regions: str
    name: str | None
    at: int


@dataclass(frozen=True)
class Word:
    """An `operator` message; `before` and `after` as JSON."""

    stream: str
    who: str | None
    what: str
    key: str | None
    group: int | None
    before: str | None
    after: str | None
    at: int


@dataclass(frozen=True)
class Loss:
    """A `dropped` or `error` message: which reason or code."""

    stream: str
    kind: str
    code: str


Checked = Verdict | Picture | Event | Word | Loss


def check(message: Message) -> Checked:
    """A message as the store takes it.

    Raises:
        WireError: it is of no kind that is kept, lacks a key, or holds what no detector says.
    """
    make = _MAKE.get(message.kind)
    if make is None:
        raise WireError(
            "unknown_kind", f"kind: got {shown(message.kind)}, expected one of {', '.join(KINDS)}"
        )
    stream = NO_STREAM
    if message.get("stream") != NO_STREAM and message.topic != topic_of(NO_STREAM, message.kind):
        stream = check_stream(message.get("stream"))
    if message.topic != topic_of(stream, message.kind) or (stream == NO_STREAM and make is not _loss):
        raise WireError(
            "bad_value", f"topic: got {shown(message.topic)}, expected that of its stream and kind"
        )
    try:
        return make(stream, message)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError("bad_value", f"{message.kind}: {type(error).__name__}: {error}") from None


def _verdict(stream: str, message: Message) -> Verdict:
    meta = message.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    label, latency = message["pred_label"], message.get("latency_ms")
    entry = message.get("anomaly_map")
    return Verdict(
        stream=stream,
        key=key_of(check_frame_id(message["frame_id"])),
        seq=_optional(check_count, message.get("seq")),
        captured=check_count(message["capture_ns"], "capture_ns"),
        scored=check_count(message["scored_ns"], "scored_ns"),
        raw=_optional(_number, message["raw_score"]),
        rscin=_optional(_number, message.get("rscin_score")),
        pred=_optional(_number, message.get("pred_score")),
        threshold=_optional(_number, message.get("threshold")),
        label=_optional(_flag, label),
        state=_one_of(message.get("state"), _STATES),
        n_references=_count(message.get("n_references", 0)),
        revision=_count(message["revision"]),
        final=_flag(message["is_final"]),
        known_defect=_optional(_text, message.get("known_defect")),
        regions=_regions(message.get("regions")),
        meta=_json(meta, _MAX_META),
        part_id=_label(meta.get("part_id")),
        product_id=_label(meta.get("product_id")),
        latency=_optional(_number, latency.get("total")) if isinstance(latency, dict) else None,
        model_id=_optional(_text, message.get("model_id")),
        map_entry=entry if isinstance(entry, dict) else None,
        part=message.payload,
    )


def _picture(stream: str, message: Message) -> Picture:
    if message["encoding"] != "jpeg" or not message.payload:
        raise WireError("bad_encoding", "picture: expected a JPEG")
    height, width = (_count(side) for side in message["shape"])
    return Picture(
        stream,
        key_of(check_frame_id(message["frame_id"])),
        _optional(check_count, message.get("seq")),
        check_count(message["capture_ns"], "capture_ns"),
        height,
        width,
        message.payload,
    )


def _event(stream: str, message: Message) -> Event:
    frame_ids = message["frame_ids"]
    if not isinstance(frame_ids, list):
        raise WireError("bad_value", f"frame_ids: got {shown(frame_ids)}, expected a list")
    return Event(
        stream,
        _text(message["event"]),
        _count(message["group"]),
        key_of(check_frame_id(message["since"])),
        _count(message["n_frames"]),
        [key_of(check_frame_id(frame_id)) for frame_id in frame_ids[-_IDS:]],
        _regions(message.get("regions")),
        _optional(_text, message.get("name")),
        check_count(message["event_ns"], "event_ns"),
    )


def _word(stream: str, message: Message) -> Word:
    frame_id = message.get("frame_id")
    facts = [message.get(side) for side in ("before", "after")]
    before, after = (None if side is None else _json(side, _MAX_FACTS) for side in facts)
    return Word(
        stream,
        _optional(_text, message.get("who")),
        _text(message["what"]),
        None if frame_id is None else key_of(check_frame_id(frame_id)),
        _optional(_count, message.get("group")),
        before,
        after,
        check_count(message["operator_ns"], "operator_ns"),
    )


def _loss(stream: str, message: Message) -> Loss:
    code = message["reason"] if message.kind == "dropped" else message["code"]
    return Loss(stream, message.kind, _text(code)[:64])


_MAKE: dict[str, Callable[[str, Message], Checked]] = {
    "score": _verdict,
    "revision": _verdict,
    "picture": _picture,
    "event": _event,
    "operator": _word,
    "dropped": _loss,
    "error": _loss,
}


def _optional(check_it: Callable[[Any], Value], value: object) -> Value | None:
    return None if value is None else check_it(value)


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise WireError("bad_value", f"got {shown(value)}, expected a finite number")


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST:
        return value
    raise WireError("bad_value", f"got {shown(value)}, expected a count")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise WireError("bad_value", f"got {shown(value)}, expected true or false")


def _text(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT:
        return value.encode("utf-8", "replace").decode()
    raise WireError("bad_value", f"got {shown(value)}, expected 1 to {_MAX_TEXT} characters")


def _one_of(value: object, known: frozenset[str]) -> str:
    if isinstance(value, str) and value in known:
        return value
    return _text(value)[:32]


def _label(value: object) -> str | None:
    """What a frame's `meta` calls its part or product, as text; None where it does not."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return None
    if isinstance(value, int) and value.bit_length() > 256:
        return None
    return str(value)[:_MAX_TEXT].encode("utf-8", "replace").decode()


def _regions(value: object) -> str:
    regions = [] if value is None else value
    if not isinstance(regions, list):
        raise WireError("bad_value", f"regions: got {shown(value)}, expected a list")
    boxes = [[round(_number(side), 4) for side in region] for region in regions[:_REGIONS]]
    if any(len(box) != 5 for box in boxes):
        raise WireError("bad_value", "regions: expected [x, y, width, height, score] each")
    return _json(boxes, _MAX_META)


def _json(value: object, most: int) -> str:
    """As JSON that any browser reads; `{}` where it would be longer than `most` bytes."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text if len(text) <= most else "{}"
