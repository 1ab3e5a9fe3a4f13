"""Messages <-> lists of buffers, version 1: a msgpack header first, payload after. Nothing is unpickled.

Frame: `[header, payload]`. Published: `[topic, header, payload?]`, topic `stream/kind`. Control: one msgpack
map each way. Sizes and types are checked before anything is decoded; whatever is wrong raises `WireError`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from streamer.errors import FrameId, WireError
from streamer.wire.checks import (
    NO_STREAM,
    BitDepth,
    Limits,
    check_bit_depth,
    check_count,
    check_dtype,
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
    "NO_STREAM",
    "VERSION",
    "Ack",
    "FrameMessage",
    "Limits",
    "ack",
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

_FRAME_KEYS = frozenset(
    (
        "v",
        "kind",
        "stream",
        "frame_id",
        "seq",
        "capture_ns",
        "encoding",
        "shape",
        "dtype",
        "bit_depth",
        "meta",
    )
)


@dataclass(frozen=True)
class FrameMessage:
    """One frame as it travels: checked header fields, payload not decoded yet.

    `shape` is `(H, W)` or `(H, W, 1 to 4)`, or None where an encoded image brings its own; `payload` is raw
    pixels of `dtype` (uint8, uint16 or float32, little-endian; grey or BGR, with or without alpha) or a
    JPEG/PNG file. `bit_depth` says which bits of a pixel are used; None where the sender does not.
    """

    stream: str
    frame_id: FrameId
    encoding: str
    payload: bytes
    seq: int | None = None
    capture_ns: int | None = None
    shape: tuple[int, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    dtype: str = "uint8"
    bit_depth: BitDepth | None = None


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
        header |= {"shape": message.shape, "dtype": message.dtype}
    if message.bit_depth is not None:
        header["bit_depth"] = message.bit_depth
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
        raise WireError(
            "unknown_kind",
            f"kind: got {shown(header.get('kind'))}, expected 'frame', or 'source' with a header of at most "
            f"4096 bytes and nothing behind it",
        )
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
    dtype, shape = check_dtype(header), check_shape(header, limits)
    bit_depth = None if header.get("bit_depth") is None else check_bit_depth(header["bit_depth"])
    if encoding == "raw":
        check_raw(shape, dtype, payload)
    return FrameMessage(stream, frame_id, encoding, payload, seq, capture_ns, shape, meta, dtype, bit_depth)


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


Ack = tuple[bytes, dict[str, Any]]
"""Routing id of a reliable sender, and what it is told."""


def ack(
    sender: bytes,
    stream: str | None,
    frame_id: FrameId | None,
    seq: int | None,
    status: str,
    code: str = "",
) -> Ack:
    """What a reliable sender is told of a frame.

    Args:
        sender: its routing id.
        stream, frame_id, seq: of the frame, as far as known.
        status: `scored` or `refused` are final; after `busy` or `dropped` the frame is to be sent again.
        code: why it was refused.
    """
    return sender, {
        "v": VERSION,
        "kind": "ack",
        "stream": stream,
        "frame_id": frame_id,
        "seq": seq,
        "status": status,
        "code": code,
    }
