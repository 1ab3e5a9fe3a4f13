"""A map as it travels: a PNG, numbers, or the patch grid that it is interpolated from.

Whoever shows maps reads them here, without the method, and a grid with NumPy alone: OpenCV is loaded where a
PNG is coded or decoded, and nowhere else.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from streamer.errors import WireError

MapEncoding = Literal["png16", "float32", "grid"]
Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Axis = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64], Mask]
View = tuple[float, float, float, float]
"""The frame's top, left, bottom and right edge on the grid, which reaches from 0 to 1 each way."""
WHOLE: View = (0.0, 0.0, 1.0, 1.0)

MAX_SIDE, MAX_GRID_SIDE, MAX_PIXELS = 16384, 4096, 64 * 2**20
SAMPLE = 64
"""Points a side that `grid_of_map` makes of a map that came without its grid."""
_FARTHEST = 1e6
# Of an edge of the view: a cropped frame one pixel high and 16384 wide reaches 8192 grids to either side.
_LARGEST = 1e30
# Of a map's values: what 32 bits hold.
_ROWS = 64
# Interpolated at once: what a large map takes beside itself stays small.
_PNG = b"\x89PNG\r\n\x1a\n"
_INFLATED = frozenset((b"zTXt", b"iTXt", b"iCCP"))
# Chunks that libpng inflates beside the pixels.


@dataclass(frozen=True, eq=False)
class PatchGrid:
    """What a map is interpolated from.

    Args:
        scores: `[rows, cols]`, finite, as they enter the map: 0 where the frame is ignored.
        view: which part of the grid shows the frame; None for the whole of it.
        ignored: `[H, W]`, pixels of the map that are 0 whatever the grid says; None for none.
    """

    scores: npt.NDArray[np.floating[Any]]
    view: View | None = None
    ignored: Mask | None = None


def encode_map(
    anomaly_map: Map, encoding: MapEncoding, grid: PatchGrid | None = None
) -> tuple[dict[str, Any], bytes]:
    """The header's `anomaly_map` entry and the part itself (docs/wire.md#anomaly-map).

    Args:
        anomaly_map: `[H, W]`, finite.
        encoding: see above; `grid` is `float32` where there is no grid.
        grid: what the map was made of.
    """
    low, high = float(anomaly_map.min()), float(anomaly_map.max())
    if encoding == "grid" and grid is None:
        encoding = "float32"
    entry: dict[str, Any] = {"encoding": encoding, "shape": list(anomaly_map.shape), "min": low, "max": high}
    if encoding == "grid" and grid is not None:
        packed = b"" if grid.ignored is None else zlib.compress(np.packbits(grid.ignored).tobytes())
        entry |= {
            "grid": list(grid.scores.shape),
            "view": None if grid.view is None else list(grid.view),
            "mask_bytes": len(packed),
        }
        return entry, grid.scores.astype("<f4").tobytes() + packed
    if encoding == "float32":
        return entry, anomaly_map.astype("<f4").tobytes()
    return entry, _png16(anomaly_map, low, high)


def decode_map(entry: Mapping[str, Any], payload: bytes) -> Map:
    """The map `[H, W]` float32 of a score message, in the units of `raw_score`.

    Raises:
        WireError: `undecodable`: the payload is not what the entry says, or is larger than any map is;
            `bad_encoding`.
    """
    encoding, shape = _checked(entry).get("encoding"), _shape(entry)
    if encoding == "grid":
        grid = _grid(entry, payload)
        made = interpolate(grid.scores, shape, grid.view)
        if grid.ignored is not None:
            made[grid.ignored] = 0.0
        return made
    if encoding == "float32":
        if len(payload) != 4 * math.prod(shape):
            raise _undecodable(f"got {len(payload)} bytes, expected {4 * math.prod(shape)}")
        return np.frombuffer(payload, "<f4").reshape(shape).astype(np.float32)
    if encoding == "png16":
        return _from_png16(entry, payload, shape)
    raise WireError("bad_encoding", f"anomaly_map: unknown encoding {str(encoding)[:80]!r}")


def grid_of_map(entry: Mapping[str, Any], payload: bytes) -> tuple[Map, View | None]:
    """The grid `[rows, cols]` float32 that a map is interpolated from, and its view, for who draws it.

    Of a map that came without its grid a sample of at most 64 x 64 of its pixels, corners aligned.

    Raises:
        WireError: see `decode_map`.
    """
    if _checked(entry).get("encoding") == "grid":
        _shape(entry)
        found = _grid(entry, payload)
        return found.scores.astype(np.float32), found.view
    whole = decode_map(entry, payload)
    rows, cols = (np.linspace(0, side - 1, min(side, SAMPLE)).round().astype(np.intp) for side in whole.shape)
    return whole[np.ix_(rows, cols)], None


def interpolate(grid: npt.NDArray[np.floating[Any]], shape: tuple[int, int], view: View | None = None) -> Map:
    """Bilinear interpolation of a grid, corners aligned: the map that the detector makes of it, within 1e-6.

    Args:
        grid: `[rows, cols]`.
        shape: (height, width) of the map.
        view: which part of the grid the map shows; 0 where it reaches beyond it. None shows all of it.

    Returns:
        `[height, width]` float32.
    """
    top, left, bottom, right = WHOLE if view is None else view
    values = grid.astype(np.float64)
    above, below, down, beside = _axis(grid.shape[0], shape[0], top, bottom)
    before, after, across, outside = _axis(grid.shape[1], shape[1], left, right)
    made = np.empty(shape, np.float32)
    for first in range(0, shape[0], _ROWS):
        part = slice(first, first + _ROWS)
        upper, lower = values[above[part]], values[below[part]]
        lines = upper + down[part, None] * (lower - upper)
        start = lines[:, before]
        made[part] = start + across * (lines[:, after] - start)
    made[beside] = 0.0
    made[:, outside] = 0.0
    return made


def _axis(side: int, size: int, start: float, stop: float) -> Axis:
    """Of each pixel along one axis: the grid points around it, how far it is from one to the other, and
    whether it lies outside of the grid.
    """
    last = side - 1.0
    position = (
        np.linspace(start * last, stop * last, size) if size > 1 else np.array([max(start, 0.0) * last])
    )
    outside = (position < -1e-9) | (position > last + 1e-9)
    lower = np.clip(position.astype(np.intp), 0, max(side - 2, 0))
    fraction = np.clip(position - lower, 0.0, 1.0)
    return lower, np.minimum(lower + 1, side - 1), fraction, outside


def _grid(entry: Mapping[str, Any], payload: bytes) -> PatchGrid:
    """The grid, view and mask of a `grid` map whose shape has been checked."""
    rows, cols = _sides(entry, "grid", MAX_GRID_SIDE)
    n_bytes = 4 * rows * cols
    mask_bytes: Any = entry.get("mask_bytes")
    if not _is_int(mask_bytes) or mask_bytes < 0 or len(payload) != n_bytes + mask_bytes:
        got = f"{len(payload)} bytes with mask_bytes {str(mask_bytes)[:20]}"
        raise _undecodable(f"got {got}, expected {n_bytes} bytes of the grid and those of its mask")
    scores = np.frombuffer(payload[:n_bytes], "<f4").reshape(rows, cols)
    if not np.isfinite(scores).all():
        raise _undecodable("a patch score is NaN or infinite")
    ignored = _mask(payload[n_bytes:], _shape(entry)) if mask_bytes else None
    return PatchGrid(scores, _view(entry), ignored)


def _mask(packed: bytes, shape: tuple[int, int]) -> Mask:
    expected = -(-math.prod(shape) // 8)
    inflater = zlib.decompressobj()
    try:
        bits = inflater.decompress(packed, expected + 1)
    except zlib.error as error:
        raise _undecodable(f"its mask is damaged ({error})") from None
    if len(bits) != expected or not inflater.eof or inflater.unused_data:
        raise _undecodable(f"its mask is not the {expected} bytes of {shape[0]} x {shape[1]} bits")
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=math.prod(shape))
    return flat.reshape(shape).astype(np.bool_)


def _view(entry: Mapping[str, Any]) -> View | None:
    view: Any = entry.get("view")
    if view is None:
        return None
    is_view = isinstance(view, list | tuple) and len(view) == 4
    if not is_view or not all(_is_number(edge, _FARTHEST) for edge in view):
        raise _undecodable(f"view: got {str(view)[:80]}, expected null or [top, left, bottom, right]")
    top, left, bottom, right = map(float, view)
    return top, left, bottom, right


def _is_number(value: Any, most: float) -> bool:
    # Compared, not made a float: an integer may have any number of digits.
    return isinstance(value, int | float) and not isinstance(value, bool) and -most <= value <= most


def _checked(entry: Any) -> Mapping[str, Any]:
    """An entry that came over the wire may be anything."""
    if not isinstance(entry, Mapping):
        raise _undecodable(f"got a {type(entry).__name__}, expected a map")
    return entry


def _shape(entry: Mapping[str, Any]) -> tuple[int, int]:
    return _sides(entry, "shape", MAX_SIDE)


def _sides(entry: Mapping[str, Any], key: str, most: int) -> tuple[int, int]:
    sides: Any = entry.get(key)
    fits = isinstance(sides, list | tuple) and len(sides) == 2
    if not fits or not all(_is_int(side) and 1 <= side <= most for side in sides):
        raise _undecodable(f"{key}: got {str(sides)[:80]}, expected [height, width], each from 1 to {most}")
    if sides[0] * sides[1] > MAX_PIXELS:
        raise _undecodable(f"{key}: got {sides[0]} x {sides[1]}, expected at most {MAX_PIXELS} together")
    return sides[0], sides[1]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _png16(anomaly_map: Map, low: float, high: float) -> bytes:
    import cv2  # noqa: PLC0415

    scale = 65535.0 / (high - low) if high > low else 0.0
    levels = np.rint((anomaly_map.astype(np.float64) - low) * scale).astype(np.uint16)
    _, buffer = cv2.imencode(".png", levels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return bytes(buffer.tobytes())


def _from_png16(entry: Mapping[str, Any], payload: bytes, shape: tuple[int, int]) -> Map:
    low: Any = entry.get("min")
    high: Any = entry.get("max")
    if not _is_number(low, _LARGEST) or not _is_number(high, _LARGEST):
        raise _undecodable(f"min and max: got {str(low)[:40]} and {str(high)[:40]}, expected numbers")
    _check_png16(payload, shape)
    import cv2  # noqa: PLC0415

    try:
        levels = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _undecodable(" ".join(str(error).split())) from None
    if levels is None or levels.dtype != np.uint16 or levels.shape != shape:
        raise _undecodable(f"the PNG is not {shape[0]} x {shape[1]}, 16 bit")
    return np.asarray(low + levels.astype(np.float64) / 65535.0 * (high - low), np.float32)


def _check_png16(payload: bytes, shape: tuple[int, int]) -> None:
    """What the file says of itself, before anything is decoded: OpenCV would make room for what it claims."""
    chunks = _chunks(payload) if payload.startswith(_PNG) else iter(())
    kind, start, length = next(chunks, (b"", 0, 0))
    if kind != b"IHDR" or length != 13:
        raise _undecodable("the PNG is damaged: it has no header")
    width, height, depth = struct.unpack_from(">IIB", payload, start)
    if (height, width) != shape or depth != 16:
        raise _undecodable(f"the PNG is not {shape[0]} x {shape[1]}, 16 bit")
    if any(kind in _INFLATED for kind, _, _ in chunks):
        raise _undecodable("the PNG holds more than pixels")


def _chunks(payload: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of each chunk's data; lengths are held to the file."""
    at = len(_PNG)
    while at < len(payload):
        length = int.from_bytes(payload[at : at + 4], "big")
        kind, start = payload[at + 4 : at + 8], at + 8
        at = start + length + 4
        if at > len(payload):
            raise _undecodable("the PNG is damaged: it ends within a chunk")
        yield kind, start, length
        if kind == b"IEND":
            return
    raise _undecodable("the PNG is damaged: it ends before its end")


def _undecodable(why: str) -> WireError:
    return WireError("undecodable", f"anomaly_map: {why}")
