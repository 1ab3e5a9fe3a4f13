"""A JPEG file walked segment by segment, and decoded by libjpeg-turbo so that nothing is filled in.

OpenCV's libjpeg replaces what it cannot read by grey, prints a warning and calls the picture decoded.
TurboJPEG gives the same pixels to the last bit, and says what it warned of.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamer.errors import WireError

MAGIC = b"\xff\xd8\xff"

_EOI, _SOS, _TEM = 0xD9, 0xDA, 0x01
_APP0, _APP14 = 0xE0, 0xEE
_RESTARTS = range(0xD0, 0xD8)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF: the markers of the segment that says the picture's size."""
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
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


_COMPLAINTS = (
    "Corrupt JPEG data",
    "Premature end of JPEG",
    "Inconsistent progression",
    "Invalid",
    "Unsupported",
)
"""How lines of libjpeg begin that say a picture is damaged."""

_TURN = threading.Lock()


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
    frame, said = _by_turbojpeg(payload)
    if said.startswith(_HARMLESS):  # libjpeg tells the first thing that it minds: what of the others?
        payload = _without_oddities(payload)
        frame, said = _by_turbojpeg(payload)
    if frame is not None:
        return frame
    if not (said.startswith(_HARMLESS) or any(words in said for words in _UNKNOWN)):
        raise _damaged(said)
    return _by_opencv(payload, said)


def _by_turbojpeg(payload: bytes) -> tuple[npt.NDArray[np.uint8] | None, str]:
    """The pixels, or None and what it said."""
    import simplejpeg  # noqa: PLC0415 - only where pictures are decoded, not where they are sent

    try:
        return simplejpeg.decode_jpeg(payload, "BGR", fastdct=False, fastupsample=False), ""
    except ValueError as error:
        return None, " ".join(str(error).split())


def _without_oddities(payload: bytes) -> bytes:
    """The same picture, with the values that libjpeg assumes in place of those it only remarks on."""
    found, n_components, adobe = bytearray(payload), 3, None
    progressive = False
    for segment in _segments(payload):
        body = payload[segment.start : segment.start + 12]
        if segment.marker in _FRAMES:
            progressive = segment.marker in _PROGRESSIVE
            n_components = payload[segment.start + 5]
        elif segment.marker == _APP0 and body.startswith(b"JFIF\0"):
            found[segment.start + 5] = 1
        elif segment.marker == _APP14 and body.startswith(b"Adobe") and len(body) == 12 and body[11] > 2:
            adobe = segment.start + 11
        elif segment.marker == _SOS and not progressive:
            at = segment.start + 1 + 2 * payload[segment.start]
            found[at : at + 3] = b"\0\x3f\0"
    if adobe is not None:
        found[adobe] = 2 if n_components == 4 else 1
    return bytes(found)


def _by_opencv(payload: bytes, said: str) -> npt.NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    with _standard_error() as lines:
        try:
            frame = cv2.imdecode(np.frombuffer(payload, np.uint8), flags)
        except cv2.error:
            frame = None
    complaint = next((line for line in lines if line.startswith(_COMPLAINTS)), "")
    if frame is None or complaint:
        raise _damaged(complaint or said)
    return frame.astype(np.uint8, copy=False)


@contextlib.contextmanager
def _standard_error() -> Iterator[list[str]]:
    """Lines written to standard error meanwhile: OpenCV tells nobody else what libjpeg minds.

    They are there once the block was left, and passed on but for libjpeg's own. Few pictures come here, and
    one at a time.
    """
    lines: list[str] = []
    with _TURN:
        try:
            before = os.dup(2)
        except OSError:  # it is closed, and nothing is heard
            yield lines
            return
        reader, writer = os.pipe()
        try:
            for end in (reader, writer):
                os.set_blocking(end, False)  # what does not fit is lost, and holds nobody up
            os.dup2(writer, 2)
            yield lines
        finally:
            os.dup2(before, 2)
            with contextlib.suppress(OSError):
                lines += os.read(reader, _WINDOW).decode("utf-8", "replace").splitlines()
                others = [f"{line}\n" for line in lines if not line.startswith(_COMPLAINTS)]
                os.write(before, "".join(others).encode())
            for end in (before, reader, writer):
                os.close(end)


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
