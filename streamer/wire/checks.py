"""What a frame's header may hold, field by field; each check returns the value or raises `WireError`."""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from streamer.credentials import address_without_secrets, without_secrets
from streamer.errors import FrameId, WireError

NO_STREAM = "-"
"""Stands for the stream in a topic when a message belongs to none, or to none that is known."""

BitDepth = Literal["auto", 8, 10, 12, 14, 16, "float"]
"""How many bits of a pixel the camera uses, or numbers of 0 to 1; `auto` where nobody says it."""
BIT_DEPTHS: tuple[BitDepth, ...] = ("auto", 8, 10, 12, 14, 16, "float")

DTYPES = {"uint8": 1, "uint16": 2, "float32": 4}
"""Of raw pixels, with the bytes of a value; little-endian."""
CHANNELS = (1, 2, 3, 4)
"""Grey, grey and alpha, BGR, BGRA."""

_MAX_ID = 256
_MAX_STREAM = 128
_LOOKED_AT = 512
# Of a text that an error shows the beginning of.
MAX_DEPTH = 8
"""Levels of `meta`, itself among them."""
_HALF = re.compile("[\ud800-\udfff]")
"""Half a character, as of a file's name that is not UTF-8: no message can carry it."""


@dataclass(frozen=True)
class Limits:
    """What a message may cost before it is refused.

    Attributes:
        header_bytes: of its header.
        payload_bytes: of its picture, as it is sent.
        width: of its picture, pixels.
        height: of its picture, pixels.
        pixels: of its picture, width times height.
    """

    header_bytes: int = 64 * 1024
    payload_bytes: int = 64 * 1024 * 1024
    width: int = 16384
    height: int = 16384
    pixels: int = 64_000_000


def check_stream(stream: object) -> str:
    """A stream's name: 1 to 128 bytes of printable text without '/', and not '-'."""
    good = isinstance(stream, str) and stream.isprintable() and "/" not in stream
    if not good or not 0 < len(str(stream).encode()) <= _MAX_STREAM or stream == NO_STREAM:
        raise WireError(
            "bad_value",
            f"stream: got {shown(stream)}, expected 1 to {_MAX_STREAM} bytes of printable text "
            f"without '/', and not '-'",
        )
    return str(stream)


def check_frame_id(frame_id: object) -> FrameId:
    """A frame's id: an integer of msgpack, or 1 to 256 characters that UTF-8 can hold."""
    if isinstance(frame_id, int) and not isinstance(frame_id, bool) and -(2**63) <= frame_id < 2**64:
        return frame_id
    if isinstance(frame_id, str) and 0 < len(frame_id) <= _MAX_ID and not _HALF.search(frame_id):
        return frame_id
    raise WireError(
        "bad_value",
        f"frame_id: got {shown(frame_id)}, expected an integer of -2^63 to 2^64 - 1 or 1 to {_MAX_ID} "
        f"characters of UTF-8",
    )


def check_size(height: int, width: int, limits: Limits) -> None:
    """Refuse an image of no pixels (`empty_image`) or of too many (`image_too_large`)."""
    if height < 1 or width < 1:
        raise WireError("empty_image", f"shape: got {height} x {width}, expected at least one pixel")
    if height > limits.height or width > limits.width or height * width > limits.pixels:
        raise WireError(
            "image_too_large",
            f"shape: got {height} x {width}, expected at most {limits.height} x {limits.width} "
            f"and {limits.pixels} pixels",
        )


def check_dtype(header: dict[str, Any]) -> str:
    """The type of raw pixels, one of `DTYPES`; an encoded image brings its own, and may leave it out."""
    dtype = header.get("dtype")
    if dtype is None and header["encoding"] != "raw":
        return "uint8"
    if not isinstance(dtype, str) or dtype not in DTYPES:
        expected = ", ".join(DTYPES)
        raise WireError("bad_dtype", f"dtype: got {shown(dtype)}, expected one of {expected} (little-endian)")
    return dtype


def check_bit_depth(bit_depth: object) -> BitDepth:
    """One of `BIT_DEPTHS`."""
    for known in BIT_DEPTHS:
        if type(bit_depth) is type(known) and bit_depth == known:
            return known
    expected = ", ".join(map(str, BIT_DEPTHS))
    raise WireError("bad_value", f"bit_depth: got {shown(bit_depth)}, expected one of {expected}")


def parse_bit_depth(text: str) -> BitDepth:
    """One of `BIT_DEPTHS` from a command line."""
    return check_bit_depth(int(text) if text.isdecimal() else text)


def check_shape(header: dict[str, Any], limits: Limits) -> tuple[int, ...] | None:
    """`(H, W)` or `(H, W, 1 to 4)` of a header, or None where an encoded image brings its own size."""
    shape = header.get("shape")
    if shape is None and header["encoding"] != "raw":
        return None
    if not is_shape(shape):
        raise WireError("bad_shape", f"shape: got {shown(shape)}, expected {EXPECTED_SHAPE}")
    check_size(shape[0], shape[1], limits)
    return tuple(shape)


EXPECTED_SHAPE = (
    "[height, width] or [height, width, 1] (grey), [height, width, 3] (BGR), or with alpha, which is "
    "dropped, [height, width, 2] or [height, width, 4]"
)


def is_shape(shape: object) -> TypeGuard[list[int]]:
    """Whether it is the shape of a grey or colour frame, with or without alpha; it may have no pixels."""
    whole = isinstance(shape, list) and len(shape) in {2, 3} and all(type(side) is int for side in shape)
    return whole and min(shape) >= 0 and (len(shape) == 2 or shape[2] in CHANNELS)  # type: ignore[call-overload, arg-type, index]


def check_raw(shape: tuple[int, ...] | None, dtype: str, payload: bytes) -> None:
    """A raw payload holds exactly the values of its shape."""
    expected = math.prod(shape or ()) * DTYPES[dtype]
    if len(payload) != expected:
        raise WireError(
            "payload_size",
            f"payload: got {len(payload)} bytes, expected {expected} for {list(shape or ())} of {dtype}",
        )


def check_count(value: object, key: str = "seq") -> int:
    """A sequence number or a time: an integer that fits 63 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise WireError("bad_value", f"{key}: got {shown(value)}, expected an integer of 0 to 2^63 - 1")
    return value


def check_meta(meta: object) -> dict[str, Any]:
    """What is echoed: text, finite numbers, true, false, null, lists and maps, eight levels at most."""
    if meta is None:
        return {}
    if not isinstance(meta, dict):
        raise WireError("bad_value", f"meta: got {shown(meta)}, expected a map")
    _check_meta_value(meta, MAX_DEPTH)
    return meta


def _check_meta_value(value: object, depth: int) -> None:
    if depth == 0:
        raise WireError("bad_value", f"meta: is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise WireError("not_finite", f"meta: got {value}, expected finite numbers")
    if isinstance(value, bytes):
        raise WireError(
            "bad_value", "meta: got bytes, expected text, numbers, true, false, null, lists, maps"
        )
    if isinstance(value, dict | list):
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
            raise WireError("bad_value", "meta: got a key that is not text")
        for item in value.values() if isinstance(value, dict) else value:
            _check_meta_value(item, depth - 1)


def if_valid(check: Any, value: object) -> Any:
    """The value if `check` accepts it, else None."""
    try:
        return check(value)
    except WireError:
        return None


def shown(value: object) -> str:
    """A value as an error text shows it, cut short, and without the password of an address."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"  # Python refuses to write out very long ones
    if isinstance(value, str):
        text = repr(address_without_secrets(value[:_LOOKED_AT]))
    else:
        text = without_secrets(repr(value)[:_LOOKED_AT])
    return text if len(text) <= 80 else f"{text[:77]}..."
