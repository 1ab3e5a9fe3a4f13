"""TIFF files as no encoder at hand writes them: packed bits, cameras' tags, 0 for white, both byte orders."""

import struct

import numpy as np


def tiff(pixels: np.ndarray, bits: int, *, order: str = "<", **tags: int) -> bytes:
    """An uncompressed grey TIFF.

    Args:
        pixels: `[H, W]`; integers are packed to `bits`, floating-point ones kept as they are.
        bits: a value's.
        order: of bytes, `<` or `>`.
        tags: `photometric` (1: 0 is black), `largest` (MaxSampleValue).
    """
    height, width = pixels.shape
    is_float = pixels.dtype.kind == "f"
    data = _whole(pixels, order) if is_float or bits % 8 == 0 else _packed(pixels, bits)
    entries = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1)]
    entries += [(262, 3, tags.get("photometric", 1)), (273, 4, 8), (277, 3, 1), (278, 3, height)]
    entries += [(279, 4, len(data))]
    if "largest" in tags:
        entries.append((281, 3, tags["largest"]))
    if is_float:
        entries.append((339, 3, 3))
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        number = struct.pack(f"{order}{'H' if kind == 3 else 'I'}", value)
        directory += struct.pack(f"{order}HHI", tag, kind, 1) + number.ljust(4, b"\0")
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data))
    return start + data + directory + bytes(4)


def _whole(pixels: np.ndarray, order: str) -> bytes:
    return pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()


def _packed(pixels: np.ndarray, bits: int) -> bytes:
    """Rows of values without gaps, the highest bit first, each row from a new byte."""
    shifts = np.arange(bits - 1, -1, -1)
    return b"".join(
        np.packbits(((row[:, None] >> shifts) & 1).astype(np.uint8).ravel()).tobytes() for row in pixels
    )
