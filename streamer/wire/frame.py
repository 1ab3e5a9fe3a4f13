"""Messages <-> lists of buffers, version 1: a msgpack header first, payload after. Nothing is unpickled.

Frame: `[header, payload]`. Published: `[topic, header, map?]`, topic `stream/kind`. Control: one msgpack map
each way. Sizes and types are checked before anything is decoded; whatever is wrong raises `WireError`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from streamer.errors import WireError
from streamer.wire.checks import (
    NO_STREAM,
    Limits,
    check_count,
    check_frame_id,
    check_meta,
    check_raw,
    check_shape,
    check_size,
    check_stream,
    if_valid,
    shown,
)

__all__ = [
    "CODES",
    "NO_STREAM",
    "VERSION",
    "FrameMessage",
    "Limits",
    "check_frame_id",
    "check_size",
    "check_stream",
    "pack",
    "pack_frame",
    "unpack",
    "unpack_frame",
]

VERSION = 1
ENCODINGS = ("raw", "jpeg", "png")

CODES = {
    "bad_parts": "a frame is exactly two parts: header and payload",
    "header_too_large": "the header is longer than limits.header_bytes",
    "payload_too_large": "the payload is longer than limits.payload_bytes",
    "bad_header": "the header is not one msgpack map with string keys",
    "unsupported_version": "`v` is not 1",
    "unknown_kind": "`kind` is not 'frame'",
    "unknown_key": "the header has a key that version 1 does not know",
    "missing_key": "the header lacks a required key",
    "bad_value": "a header value has the wrong type or range",
    "not_finite": "a number in `meta` is NaN or infinite",
    "bad_encoding": "`encoding` is not raw, jpeg or png, or the payload is of another format",
    "bad_dtype": "`dtype` is not uint8",
    "bad_shape": "`shape` is not [H, W, 3], or differs from the image's own",
    "empty_image": "an image of no pixels",
    "image_too_large": "the image is larger than limits.width, height or pixels",
    "payload_size": "a raw payload is not H*W*3 bytes long",
    "undecodable": "the payload is damaged or truncated",
    "duplicate": "a frame of this stream with this id is already queued or in the ring",
    "out_of_order": "`seq` went backwards; the frame is scored all the same",
    "too_many_streams": "limits.streams streams are open already",
    "no_room": "the stream's ring does not fit in what limits.total_bytes leaves",
    "snapshot_unreadable": "the stream's ring is on disk and cannot be read just now",
    "rate_limited": "the sender is above limits.rate",
    "busy": "the stream's queue is full or its ring cannot be woken: send the frame again (reliable only)",
    "bad_frame": "the detector cannot use the frame",
    "backbone_failed": "the backbone raised on this frame",
    "snapshot_refused": "a snapshot on disk is damaged or foreign; it was set aside, the ring starts empty",
    "snapshot_failed": "a snapshot could not be written; scoring goes on",
    "internal": "an error of the service itself; its log has the details",
}
"""Every machine-readable code of an `error` message, and what it says."""

_FRAME_KEYS = frozenset(
    ("v", "kind", "stream", "frame_id", "seq", "capture_ns", "encoding", "shape", "dtype", "meta")
)


@dataclass(frozen=True)
class FrameMessage:
    """One frame as it travels: checked header fields, payload not decoded yet.

    `shape` is `(H, W, 3)` or None where an encoded image brings its own; `payload` is raw BGR bytes or a
    JPEG/PNG file.
    """

    stream: str
    frame_id: str | int
    encoding: str
    payload: bytes
    seq: int | None = None
    capture_ns: int | None = None
    shape: tuple[int, int, int] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def pack(message: Mapping[str, Any]) -> bytes:
    """One msgpack map; numpy scalars and arrays become plain numbers and lists, NaN and infinity None."""
    packed: bytes = msgpack.packb(_plain(message), use_bin_type=True)
    return packed


def unpack(buffer: bytes, max_bytes: int) -> dict[str, Any]:
    """One msgpack map with string keys.

    Raises:
        WireError: `header_too_large`, `bad_header`.
    """
    if len(buffer) > max_bytes:
        raise WireError("header_too_large", f"header: got {len(buffer)} bytes, expected at most {max_bytes}")
    try:
        header = msgpack.unpackb(buffer, raw=False, strict_map_key=True, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise WireError("bad_header", f"header: is not msgpack ({detail})") from None
    if not isinstance(header, dict) or not all(isinstance(key, str) for key in header):
        raise WireError(
            "bad_header", f"header: got a {type(header).__name__}, expected a map with string keys"
        )
    return header


def pack_frame(message: FrameMessage) -> list[bytes]:
    """`[header, payload]` of a frame, ready for `send_multipart`."""
    header: dict[str, Any] = {
        "v": VERSION,
        "kind": "frame",
        "stream": message.stream,
        "frame_id": message.frame_id,
        "encoding": message.encoding,
        "meta": message.meta,
    }
    if message.seq is not None:
        header["seq"] = message.seq
    if message.capture_ns is not None:
        header["capture_ns"] = message.capture_ns
    if message.encoding == "raw":
        header |= {"shape": message.shape, "dtype": "uint8"}
    return [pack(header), message.payload]


def unpack_frame(parts: Sequence[bytes], limits: Limits) -> FrameMessage:
    """Check a frame's parts against the contract and the limits; the payload is not decoded.

    Args:
        parts: `[header, payload]`.
        limits: sizes above which a message is refused.

    Raises:
        WireError: with one of `CODES`, and the stream, id and seq where they could be read.
    """
    if len(parts) != 2:
        raise WireError("bad_parts", f"message: got {len(parts)} parts, expected 2 (header, payload)")
    header = unpack(parts[0], limits.header_bytes)
    try:
        return _checked(header, parts[1], limits)
    except WireError as error:
        error.stream = error.stream or if_valid(check_stream, header.get("stream"))
        error.frame_id = if_valid(check_frame_id, header.get("frame_id"))
        error.seq = if_valid(check_count, header.get("seq"))
        raise


def _checked(header: dict[str, Any], payload: bytes, limits: Limits) -> FrameMessage:
    if header.get("v") != VERSION or isinstance(header["v"], bool):
        raise WireError("unsupported_version", f"v: got {shown(header.get('v'))}, expected {VERSION}")
    if header.get("kind") != "frame":
        raise WireError("unknown_kind", f"kind: got {shown(header.get('kind'))}, expected 'frame'")
    unknown = sorted(header.keys() - _FRAME_KEYS)
    if unknown:
        raise WireError(
            "unknown_key", f"header: unknown key {shown(unknown[0])}; known: {', '.join(sorted(_FRAME_KEYS))}"
        )
    for key in ("stream", "frame_id", "encoding"):
        if key not in header:
            raise WireError("missing_key", f"header: '{key}' is missing")
    stream, frame_id = check_stream(header["stream"]), check_frame_id(header["frame_id"])
    encoding = header["encoding"]
    if encoding not in ENCODINGS:
        raise WireError("bad_encoding", f"encoding: got {shown(encoding)}, expected raw, jpeg or png")
    seq, capture_ns = (None if header.get(key) is None else check_count(header[key], key)
                       for key in ("seq", "capture_ns"))  # fmt: skip
    meta = check_meta(header.get("meta"))
    if len(payload) > limits.payload_bytes:
        raise WireError(
            "payload_too_large",
            f"payload: got {len(payload)} bytes, expected at most {limits.payload_bytes}",
        )
    shape = check_shape(header, limits)
    if encoding == "raw":
        check_raw(shape, payload)
    return FrameMessage(stream, frame_id, encoding, payload, seq, capture_ns, shape, meta)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
