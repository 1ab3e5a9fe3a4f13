"""A JPEG file walked segment by segment, and decoded by libjpeg-turbo so that nothing is filled in.

OpenCV's libjpeg replaces what it cannot read by grey, prints a warning and calls the picture decoded.
TurboJPEG gives the same pixels to the last bit, and says what it warned of.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamer.errors import WireError

MAGIC = b"\xff\xd8\xff"

_EOI, _SOS, _TEM = 0xD9, 0xDA, 0x01
_RESTARTS = range(0xD0, 0xD8)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF: the markers of the segment that says the picture's size."""
_FILL = re.compile(rb"\xff{1,65536}")
_WINDOW = 1 << 16

_MAX_SEGMENTS = 4096
"""A segment holds up to 64 KiB, so a payload of 64 MiB is 1,024 full ones."""
_SCANS = 20
"""Encoders write 1 scan, or up to 4 of one component each; progressive files have about 10."""
_SCAN_PIXELS = 100_000_000
"""A picture may have more scans than `_SCANS` while scans times pixels stay within this: each scan costs a
pass over all pixels, however few bytes it has."""

_HARMLESS = ("Warning: unknown JFIF revision", "Unknown Adobe color transform", "Invalid SOS parameters")
"""What libjpeg warns of beside damage."""
_UNKNOWN = ("Could not determine subsampling", "Unsupported JPEG process", "arithmetic coding")
"""What TurboJPEG says of what it does not do, CMYK and odd sampling factors above all: OpenCV reads them."""


@dataclass(frozen=True)
class _Segment:
    """`start` is behind marker and length; `end` behind the segment, of a scan behind its data."""

    marker: int
    start: int
    end: int


def declared_size(payload: bytes) -> tuple[int, int]:
    """(height, width) as the file says.

    Raises:
        WireError: `undecodable`: damaged before it says so.
    """
    for segment in _segments(payload):
        if segment.marker in _FRAMES:
            return _size(payload, segment)
    raise _damaged("it says no size")


def whole(payload: bytes) -> bytes:
    """The picture without what lies behind its end marker, such as a camera's raw data.

    Raises:
        WireError: `undecodable`: it has no end, or more segments or scans than any encoder writes.
    """
    pixels, scans, end = 0, 0, 0
    for segment in _segments(payload):
        end = segment.end
        if segment.marker in _FRAMES:
            height, width = _size(payload, segment)
            pixels = height * width
        scans += segment.marker == _SOS
        if scans > _SCANS and scans * pixels > _SCAN_PIXELS:
            raise WireError(
                "undecodable",
                f"payload: the jpeg of {pixels} pixels has more than {scans - 1} scans, expected at most "
                f"{max(_SCANS, _SCAN_PIXELS // pixels)}",
            )
    if not pixels or not scans:
        raise _damaged("it holds no picture")
    return payload if end == len(payload) else payload[:end]


def decode(payload: bytes) -> npt.NDArray[np.uint8]:
    """Pixels `[H, W, 3]` uint8, BGR, of a file that is whole; EXIF's orientation is not applied.

    Raises:
        WireError: `undecodable`: libjpeg calls it damaged.
    """
    import simplejpeg  # noqa: PLC0415 - only where pictures are decoded, not where they are sent

    try:
        frame: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            payload, "BGR", fastdct=False, fastupsample=False
        )
    except ValueError as error:
        said = " ".join(str(error).split())
    else:
        return frame
    if not (said.startswith(_HARMLESS) or any(words in said for words in _UNKNOWN)):
        raise _damaged(said)
    return _by_opencv(payload, said)


def _by_opencv(payload: bytes, said: str) -> npt.NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        frame = cv2.imdecode(np.frombuffer(payload, np.uint8), flags)
    except cv2.error:
        frame = None
    if frame is None:
        raise _damaged(said)
    return frame.astype(np.uint8, copy=False)


def _segments(payload: bytes) -> Iterator[_Segment]:
    """Segments up to the end marker, which must be there."""
    values = np.frombuffer(payload, np.uint8)
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker, start = _marker(payload, at)
        if marker == _EOI:
            yield _Segment(marker, start, start)
            return
        if marker == _TEM or marker in _RESTARTS:
            at = start
            continue
        length = int.from_bytes(payload[start : start + 2], "big")
        at = start + length
        if length < 2 or at > len(payload):
            raise _damaged("it ends within a segment")
        if marker == _SOS:
            at = _end_of_scan(values, at)
        yield _Segment(marker, start + 2, at)
    raise WireError("undecodable", f"payload: the jpeg has more than {_MAX_SEGMENTS} segments")


def _marker(payload: bytes, at: int) -> tuple[int, int]:
    """The marker that must be here, behind up to 64 KiB of fill bytes, and where what follows it starts."""
    if at >= len(payload):
        raise _damaged("it has no end")
    fill = _FILL.match(payload, at)
    marker = b"" if fill is None else payload[fill.end() : fill.end() + 1]
    if fill is None or marker in {b"", b"\0", b"\xff", b"\xd8"}:
        raise _damaged("there is no marker where a segment should be")
    return marker[0], fill.end() + 1


def _end_of_scan(values: npt.NDArray[np.uint8], at: int) -> int:
    """Where the marker behind a scan's data starts; zeros and restarts behind 0xFF are part of the data."""
    for start in range(at, len(values) - 1, _WINDOW):
        part = values[start : start + _WINDOW + 1]
        found = np.flatnonzero(part[:-1] == 0xFF)
        behind = part[1:][found]
        ends = found[(behind != 0) & (behind != 0xFF) & (behind & 0xF8 != 0xD0)]
        if ends.size:
            return start + int(ends[0])
    raise _damaged("it has no end")


def _size(payload: bytes, segment: _Segment) -> tuple[int, int]:
    if segment.end - segment.start < 6:
        raise _damaged("its frame header is too short")
    return tuple(  # type: ignore[return-value]
        int.from_bytes(payload[at : at + 2], "big") for at in (segment.start + 1, segment.start + 3)
    )


def _damaged(why: str) -> WireError:
    return WireError("undecodable", f"payload: the jpeg is truncated or damaged ({why[:120]})")
