"""A PNG file walked chunk by chunk: lengths, checksums, and as many bytes of pixels as its header says."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from streamer.errors import WireError

MAGIC = b"\x89PNG\r\n\x1a\n"

_MAX_CHUNKS = 1 << 16
"""Encoders write 8 to 64 KiB in each, so a payload of 64 MiB has 8,192 at most."""
_INFLATED = frozenset((b"zTXt", b"iTXt", b"iCCP"))
"""Compressed text and colour profiles: libpng inflates up to 8 MB of each, and no pixel depends on them."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""x, y, step in x, step in y of an interlaced picture's passes."""
_SPARE = 1 << 20
"""Bytes behind the last row that libpng passes over."""
_FED, _TAKEN = 1 << 16, 1 << 20


@dataclass(frozen=True)
class _Chunk:
    """`start` and `end` of the data; length and kind are the 8 bytes before, the checksum the 4 behind."""

    kind: bytes
    start: int
    end: int


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    depth: int
    channels: int
    interlaced: bool

    def n_bytes(self) -> int:
        """Bytes of the rows, filter bytes and all."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        total = 0
        for x, y, step_x, step_y in passes:
            width, height = -((x - self.width) // step_x), -((y - self.height) // step_y)
            if width > 0 and height > 0:
                total += height * (1 + (width * self.depth * self.channels + 7) // 8)
        return total


def declared_size(payload: bytes) -> tuple[int, int]:
    """(height, width) as the file says.

    Raises:
        WireError: `undecodable`: it does not begin as a PNG does.
    """
    header = _header(payload)
    return header.height, header.width


def whole(payload: bytes) -> bytes:
    """The picture without what lies behind its end, and without what is compressed in it beside pixels.

    Lengths are held to the file before anything is decoded: OpenCV clears as much memory as a chunk says that
    it is long, up to 4 GB for a few bytes, before it looks whether they are there.

    Raises:
        WireError: `undecodable`: a chunk is cut or its checksum wrong; zlib calls the pixels damaged, or they
            are more or fewer than the header says.
    """
    header, view = _header(payload), memoryview(payload)
    chunks = list(_chunks(payload))
    for chunk in chunks:
        checksum = int.from_bytes(payload[chunk.end : chunk.end + 4], "big")
        if zlib.crc32(view[chunk.start - 4 : chunk.end]) != checksum:
            raise _damaged(f"checksum of {ascii(chunk.kind)[2:-1]}")
    _check_pixels([view[chunk.start : chunk.end] for chunk in chunks if chunk.kind == b"IDAT"], header)
    end = chunks[-1].end + 4
    if any(chunk.kind in _INFLATED for chunk in chunks):
        kept = (view[c.start - 8 : c.end + 4] for c in chunks if c.kind not in _INFLATED)
        return b"".join((MAGIC, *kept))
    return payload if end == len(payload) else payload[:end]


def _header(payload: bytes) -> _Header:
    start = len(MAGIC)
    if len(payload) < start + 25 or payload[start : start + 8] != b"\0\0\0\x0dIHDR":
        raise _damaged("no header")
    width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", payload, start + 8)
    return _Header(width, height, depth, _CHANNELS.get(colour, 1), interlace == 1)


def _chunks(payload: bytes) -> Iterator[_Chunk]:
    """Chunks up to IEND, which must be there."""
    at = len(MAGIC)
    for _ in range(_MAX_CHUNKS):
        start = at + 8
        length = int.from_bytes(payload[at : at + 4], "big")
        at = start + length + 4
        if at > len(payload):
            raise _damaged("it ends within a chunk")
        chunk = _Chunk(payload[start - 4 : start], start, start + length)
        yield chunk
        if chunk.kind == b"IEND":
            return
    raise WireError("undecodable", f"payload: the png has more than {_MAX_CHUNKS} chunks")


def _check_pixels(parts: list[memoryview], header: _Header) -> None:
    expected, found = header.n_bytes(), 0
    inflater = zlib.decompressobj()
    fed = (part[at : at + _FED] for part in parts for at in range(0, len(part), _FED))
    try:
        for piece in fed:
            data: bytes | memoryview = piece
            while len(data) and not inflater.eof:
                found += len(inflater.decompress(data, _TAKEN))
                data = inflater.unconsumed_tail
                if found > expected + _SPARE:
                    raise _damaged(f"its pixels are more than the {expected} bytes its header says")
        while not inflater.eof and (more := inflater.decompress(b"", _TAKEN)):
            found += len(more)
    except zlib.error as error:
        raise _damaged(str(error)) from None
    if found < expected or not inflater.eof:
        raise _damaged(f"its pixels are {found} bytes, expected {expected}")


def _damaged(why: str) -> WireError:
    return WireError("undecodable", f"payload: the png is truncated or damaged ({why[:120]})")
