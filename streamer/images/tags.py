"""How a PNG or TIFF keeps its values, by its header: what is needed to read more than 8 bits of it."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamer.images.depth import Pixels, bits_for
from streamer.images.whole import MAGIC
from streamer.wire.checks import BitDepth

# TIFF 6.0: tags, and the types that a number may have.
_BITS, _PHOTOMETRIC, _LARGEST, _FORMAT = 258, 262, 281, 339
_WANTED = frozenset((_BITS, _PHOTOMETRIC, _LARGEST, _FORMAT))
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_TAGS = 4096
_MAX_CHUNKS = 64
# Before the pixels; encoders write a handful.


@dataclass(frozen=True)
class Deep:
    """A file of more than 8 bits a value.

    `bits` are stored, `significant` is what the file says of the bits in use (PNG's sBIT, TIFF's
    MaxSampleValue), None where it does not. `inverted`: 0 is white.
    """

    kind: Literal["png", "tiff"]
    bits: int
    is_float: bool = False
    significant: int | None = None
    inverted: bool = False

    def unpacked(self, pixels: Pixels) -> Pixels:
        """What OpenCV read, as the file has it: it shifts values of 10, 12 and 14 bits to the top of 16."""
        return pixels if self.is_float or self.bits >= 16 else pixels >> np.uint16(16 - self.bits)

    def bit_depth(self, pixels: Pixels) -> BitDepth:
        """By what the file says; `auto` where it says nothing, or nothing that its pixels agree with.

        A PNG with an sBIT chunk should be scaled to all 16 bits, but some writers leave the camera's numbers
        as they are: where they fit in so many bits and no scaling would give them, they are these bits.
        """
        if self.is_float:
            return "auto"
        if self.kind == "tiff":
            stated = self.significant if self.bits == 16 else self.bits
            fits = stated is not None and int(pixels.max()) < 2**stated
            return bits_for(2**stated - 1) if stated is not None and fits else "auto"
        if self.significant is None or self.significant > 14:
            return "auto" if self.significant is None else 16
        unscaled = (pixels % 2 ** (16 - self.significant) > 1).any()
        return bits_for(2**self.significant - 1) if unscaled and pixels.max() < 2**self.significant else 16


def deep(payload: bytes) -> Deep | None:
    """How a PNG or TIFF keeps more than 8 bits a value; None for any other file, and one that is unclear."""
    try:
        if payload.startswith(MAGIC["png"]):
            return _png(payload)
        return _tiff(payload) if payload[:2] in (b"II", b"MM") else None
    except (struct.error, OverflowError):  # the header ends early; whoever decodes the file says so
        return None


def _png(payload: bytes) -> Deep | None:
    if payload[12:16] != b"IHDR" or payload[24:25] != b"\x10":
        return None
    significant = None
    at = len(MAGIC["png"])
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", payload, at)
        if kind == b"sBIT" and 1 <= length <= 4:
            colours = length - (payload[25] in {4, 6})  # the last is alpha's
            found = max(payload[at + 8 : at + 8 + colours], default=0)
            significant = found if 8 <= found <= 16 else None
        if kind in {b"IDAT", b"IEND", b"sBIT"}:
            break
        at += 12 + length
    return Deep("png", 16, significant=significant)


def _tiff(payload: bytes) -> Deep | None:
    tags = dict(_tags(payload))
    bits, photometric, stored = tags.get(_BITS, 1), tags.get(_PHOTOMETRIC), tags.get(_FORMAT, 1)
    if photometric not in {
        0,
        1,
        2,
    }:  # grey, either way round, and RGB: nothing else is read deeper than 8 bits
        return None
    largest = tags.get(_LARGEST, 0)
    if stored == 3 and bits in {16, 32, 64}:
        return Deep("tiff", bits, is_float=True, inverted=photometric == 0)
    if stored == 1 and bits in {10, 12, 14, 16}:
        significant = int(bits_for(largest)) if 0 < largest < 2**16 else None  # type: ignore[arg-type]
        return Deep("tiff", bits, significant=significant, inverted=photometric == 0)
    return None


def _tags(payload: bytes) -> Iterator[tuple[int, int]]:
    """The wanted tags of the first image, each with its first number."""
    order = "<" if payload[:2] == b"II" else ">"
    (version,) = struct.unpack_from(f"{order}H", payload, 2)
    if version == 42:
        (at,) = struct.unpack_from(f"{order}I", payload, 4)
        counted, entry, inline = "H", "HHI", 4
    elif version == 43:  # BigTIFF
        (at,) = struct.unpack_from(f"{order}Q", payload, 8)
        counted, entry, inline = "Q", "HHQ", 8
    else:
        return
    (count,) = struct.unpack_from(f"{order}{counted}", payload, at)
    at += struct.calcsize(f"{order}{counted}")
    for _ in range(min(count, _MAX_TAGS)):
        tag, kind, length = struct.unpack_from(f"{order}{entry}", payload, at)
        at += struct.calcsize(f"{order}{entry}")
        number = f"{order}{_TYPES.get(kind, '')}"
        if tag in _WANTED and kind in _TYPES and length > 0:
            place = at
            if struct.calcsize(number) * length > inline:
                (place,) = struct.unpack_from(f"{order}{'I' if inline == 4 else 'Q'}", payload, at)
            yield tag, struct.unpack_from(number, payload, place)[0]
        at += inline
