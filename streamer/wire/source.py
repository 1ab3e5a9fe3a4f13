"""What a publisher says of its camera beside the frames: kind `source`, `[header, b""]`, field by field.

A camera that gives no frame can be told from a line that stands still only by who reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streamer.credentials import address_without_secrets, without_secrets
from streamer.errors import WireError
from streamer.printable import printable
from streamer.wire.checks import Limits, check_count, check_stream, if_valid, shown
from streamer.wire.frame import VERSION, pack, unpack

KIND = "source"
STATES = ("waiting", "live", "lost", "ended")
"""Of a camera: not there yet, giving frames, gone for now, closed by its publisher."""
UNKNOWN = "unknown"
"""The detector's word for a source whose publisher says nothing any more."""
EVERY_S = 5.0
"""How often a publisher says how its source is, besides at every change."""
SILENT_S = 15.0
"""A source of which nothing was heard for so long is `UNKNOWN`."""

MAX_BYTES = 4096
"""Of a header: it is read before it is known whose rate it counts to."""
_MAX_NAME, _MAX_TEXT = 256, 400
MAX_COUNTS, _MAX_COUNT_NAME = 32, 64
MAX_AGE_MS, MAX_FPS = 1e13, 1e6
"""A camera whose clock stands at 1970 gives pictures of 1.8e12 ms; what is beyond 300 years is no age."""
_KEYS = frozenset(
    ("v", "kind", "stream", "state", "since_ns", "at_ns", "source", "age_ms", "fps", "counts", "text")
)
_REQUIRED = ("stream", "state", "since_ns", "at_ns")


@dataclass(frozen=True)
class SourceMessage:
    """How a source is, as it travels.

    `state` is one of `STATES`; `since_ns` when that began and `at_ns` when it was said, nanoseconds since
    1970; `source` its address without credentials; `age_ms` how old the last frame was when it was handed
    over, 0 to `MAX_AGE_MS`, None before the first; `fps` frames a second, measured, 0 to `MAX_FPS`, None
    where it is not known; `counts` up to 32 counts by name; `text` the last error on one line, or "".
    """

    stream: str
    state: str
    since_ns: int
    at_ns: int
    source: str = ""
    age_ms: float | None = None
    fps: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    text: str = ""

    def facts(self) -> dict[str, Any]:
        """All of it but the stream, as it is published and as `status` shows it."""
        facts = {**vars(self), "counts": dict(self.counts)}
        del facts["stream"]
        return facts


def told(message: SourceMessage) -> SourceMessage:
    """The same on one line each, short enough and without passwords, whatever it was made of."""
    return replace(
        message,
        source=printable(address_without_secrets(message.source))[:_MAX_NAME],
        text=printable(without_secrets(message.text))[:_MAX_TEXT],
    )


def pack_source(message: SourceMessage) -> list[bytes]:
    """`[header, b""]`, ready for `send_multipart`."""
    return [pack({"v": VERSION, "kind": KIND, "stream": message.stream, **message.facts()}), b""]


def is_source(parts: Sequence[bytes], limits: Limits) -> bool:
    """Whether a message says of itself that it is one; of one that cannot be read nothing is known."""
    if len(parts) != 2 or parts[1] or len(parts[0]) > min(MAX_BYTES, limits.header_bytes):
        return False
    header = if_valid(lambda packed: unpack(packed, MAX_BYTES), parts[0])
    return header is not None and header.get("kind") == KIND


def unpack_source(parts: Sequence[bytes]) -> SourceMessage:
    """Check a message that `is_source`; passwords in what it says are left out.

    Raises:
        WireError: with one of `CODES`, and the stream where it could be read.
    """
    header = unpack(parts[0], MAX_BYTES)
    try:
        return _checked(header)
    except WireError as error:
        error.stream = error.stream or if_valid(check_stream, header.get("stream"))
        raise


def _checked(header: dict[str, Any]) -> SourceMessage:
    if header.get("v") != VERSION or isinstance(header["v"], bool):
        raise WireError("unsupported_version", f"v: got {shown(header.get('v'))}, expected {VERSION}")
    unknown = sorted(header.keys() - _KEYS)
    if unknown:
        raise WireError(
            "unknown_key", f"source: unknown key {shown(unknown[0])}; known: {', '.join(sorted(_KEYS))}"
        )
    for key in _REQUIRED:
        if key not in header:
            raise WireError("missing_key", f"source: '{key}' is missing")
    stream, state = check_stream(header["stream"]), header["state"]
    if state not in STATES:
        raise WireError("bad_value", f"state: got {shown(state)}, expected one of {', '.join(STATES)}")
    since_ns, at_ns = (check_count(header[key], key) for key in ("since_ns", "at_ns"))
    source, text = _line(header, "source", _MAX_NAME), _line(header, "text", _MAX_TEXT)
    age_ms, fps = (_amount(header, key, most) for key, most in (("age_ms", MAX_AGE_MS), ("fps", MAX_FPS)))
    counts = _counts(header.get("counts"))
    return told(SourceMessage(stream, state, since_ns, at_ns, source, age_ms, fps, counts, text))


def _line(header: Mapping[str, Any], key: str, most: int) -> str:
    value = header.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise WireError("bad_value", f"{key}: got {shown(value)}, expected up to {most} printable characters")
    return value


def _amount(header: Mapping[str, Any], key: str, most: float) -> float | None:
    value = header.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise WireError("bad_value", f"{key}: got {shown(value)}, expected 0 to {most:g}, or null")
    return float(value)


def _counts(value: object) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_COUNTS:
        raise WireError(
            "bad_value", f"counts: got {shown(value)}, expected a map of at most {MAX_COUNTS} counts"
        )
    for name in value:
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_COUNT_NAME or not name.isprintable():
            raise WireError(
                "bad_value",
                f"counts: got the name {shown(name)}, expected 1 to {_MAX_COUNT_NAME} printable characters",
            )
    return {name: check_count(count, f"counts.{name}") for name, count in value.items()}
