"""Pictures that cost far more to decode than to send, and damaged ones, of up to 64 MiB."""

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np

_PAYLOAD = 64 * 2**20
_SIDE = 8000
_PNG = b"\x89PNG\r\n\x1a\n"
_EOI = b"\xff\xd9"


def progressive(scans: int = 600) -> bytes:
    """A flat JPEG of 64 megapixels whose last scan comes again and again."""
    from PIL import Image  # noqa: PLC0415  (a camera host, which has none, can ask a command for help)

    buffer = io.BytesIO()
    Image.new("RGB", (_SIDE, _SIDE), (120, 110, 100)).save(buffer, "JPEG", progressive=True, quality=90)
    data = buffer.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + _EOI


def few_scans() -> bytes:
    """As many scans as a picture of this size may have, of noise: nothing is wrong with it but its cost."""
    from PIL import Image  # noqa: PLC0415  (a camera host, which has none, can ask a command for help)

    noise = np.random.default_rng(0).integers(0, 256, (_SIDE // 16, _SIDE // 16, 3), np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(noise).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    image.save(buffer, "JPEG", progressive=True, quality=98)
    return buffer.getvalue()


def markers() -> bytes:
    """Sixteen million empty segments before a small picture."""
    data = _jpeg(32)
    return data[:2] + b"\xff\xe5\x00\x02" * ((_PAYLOAD - len(data)) // 4) + data[2:]


def fill() -> bytes:
    """64 MiB of fill bytes before a marker."""
    data = _jpeg(32)
    return data[:2] + b"\xff" * (_PAYLOAD - len(data)) + data[2:]


def stuffed() -> bytes:
    """A scan of 64 MiB in which every second byte may be a marker and is none."""
    data = _jpeg(_SIDE)
    return data[:-2] + b"\xff\x00" * ((_PAYLOAD - len(data)) // 2) + _EOI


def restarts() -> bytes:
    """A scan of restart markers alone."""
    data = _jpeg(32)
    return data[:-2] + b"\xff\xd0" * ((_PAYLOAD - len(data)) // 2) + _EOI


def huge_jpeg() -> bytes:
    """64 megapixels with much to decode, as large as a payload may be."""
    rng = np.random.default_rng(0)
    frame = cv2.resize(rng.integers(0, 256, (2000, 2000, 3), np.uint8), (_SIDE, _SIDE))
    quality = 95
    while len(data := cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]) > _PAYLOAD:
        quality -= 10
    return data.tobytes()


def huge_png() -> bytes:
    """64 megapixels of 16-bit BGRA, interlaced: half a gigabyte from 2 MB."""
    n_bytes = 0
    for x, y, step_x, step_y in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
    ):  # fmt: skip
        width, height = -((x - _SIDE) // step_x), -((y - _SIDE) // step_y)
        n_bytes += height * (1 + width * 8)
    return _png(_SIDE, (b"IDAT", _zeros(n_bytes)), depth=16, colour=6, interlaced=1)


def text_png() -> bytes:
    """Nine hundred compressed texts of 8 MB each before a small picture."""
    text = b"a\0\0" + _zeros(8_000_000 - 16)
    return _png(32, *[(b"zTXt", text)] * 900, (b"IDAT", zlib.compress(bytes(32 * 97))))


def pixels_png() -> bytes:
    """A small picture whose pixels inflate to 60 GB."""
    compressor = zlib.compressobj(9)
    # Behind a full flush nothing is remembered: the same block may come again and again.
    first, block = (
        compressor.compress(bytes(1 << 24)) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return _png(32, (b"IDAT", first + block * ((_PAYLOAD - 2 * len(first)) // len(block))))


def chunks_png() -> bytes:
    """Five million empty chunks."""
    data = _png(32)
    empty = _chunk(b"IDAT", b"")
    return data[:-12] + empty * ((_PAYLOAD - len(data)) // len(empty)) + data[-12:]


def half_jpeg() -> bytes:
    """Half a picture with an end marker."""
    data = huge_jpeg()
    return data[: len(data) // 2] + _EOI


def flipped_png() -> bytes:
    """One byte of the pixels is another."""
    frame = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    data = bytearray(cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
    data[len(data) // 2] ^= 255
    return bytes(data)


PICTURES: dict[str, Callable[[], bytes]] = {
    made.__name__: made
    for made in (
        progressive, few_scans, markers, fill, stuffed, restarts, huge_jpeg, huge_png, text_png, pixels_png,
        chunks_png, half_jpeg, flipped_png,
    )
}  # fmt: skip
"""By name."""


def _jpeg(side: int) -> bytes:
    return cv2.imencode(".jpg", np.full((side, side, 3), 120, np.uint8))[1].tobytes()


def _zeros(n_bytes: int) -> bytes:
    compressor = zlib.compressobj(9)
    step = bytes(1 << 24)
    parts = [compressor.compress(step[: min(len(step), n_bytes - at)]) for at in range(0, n_bytes, len(step))]
    return b"".join(parts) + compressor.flush()


def _png(
    side: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2, interlaced: int = 0
) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, interlaced)
    return _PNG + b"".join(_chunk(*chunk) for chunk in ((b"IHDR", head), *chunks, (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
