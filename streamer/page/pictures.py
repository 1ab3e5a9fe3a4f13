"""Pictures and grids: files named by row numbers, small copies to compare, numbers to draw."""

import json
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamer.errors import WireError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_JPEG = 4 * 1024 * 1024
_MAX_SIDE = 16384
_MAX_POINTS = 65536
# Of a grid as it is kept: 256 KiB. A larger one is sampled.
_THUMB = 16
_NEWEST, _NEWEST_BYTES = 64, 8 * 2**20
_DAY, _FILE = re.compile(r"\d{4}-\d\d-\d\d"), re.compile(r"\d+\.(jpg|part)")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Height and width as a JPEG's header says them; nothing is decoded.

    Raises:
        WireError: it is no JPEG, or larger than any picture is.
    """
    if len(jpeg) > MAX_JPEG:
        raise WireError("payload_too_large", f"picture: got {len(jpeg)} bytes, expected at most {MAX_JPEG}")
    at = 2 if jpeg[:2] == b"\xff\xd8" else len(jpeg)
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _START_OF_FRAME:
            height, width = int.from_bytes(jpeg[at + 5 : at + 7]), int.from_bytes(jpeg[at + 7 : at + 9])
            if 0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE:
                return height, width
            break
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    raise WireError("undecodable", "picture: is no JPEG")


def thumb_of(jpeg: bytes) -> bytes | None:
    """16 x 16 grey values that pictures are compared by, or None where it cannot be decoded."""
    import simplejpeg  # noqa: PLC0415 - not loaded where nobody sends pictures

    height, width = jpeg_size(jpeg)
    if height * width > 16 * 2**20:
        return None
    try:  # at the smallest scale that has so many pixels: a tenth of the work
        grey = simplejpeg.decode_jpeg(
            jpeg, "GRAY", fastdct=True, min_height=_THUMB, min_width=_THUMB, strict=False
        )
    except Exception:  # whatever a decoder makes of a damaged file: it is one picture without likeness
        return None
    return _means(grey[..., 0]).tobytes()


def _means(grey: "npt.NDArray[np.uint8]") -> "npt.NDArray[np.uint8]":
    """`[H, W]` to the means of 16 x 16 fields; of fewer pixels, each stands for several fields."""
    import numpy as np  # noqa: PLC0415

    sums, counts = grey.astype(np.uint32), 1
    for axis, side in enumerate(grey.shape):
        edges = np.arange(_THUMB + 1) * side // _THUMB
        sums = np.add.reduceat(sums, edges[:-1], axis=axis)
        counts = counts * np.maximum(np.diff(edges), 1).reshape([-1, 1] if axis == 0 else [1, -1])
    return (sums // counts).astype(np.uint8)


def grid_row(entry: Mapping[str, Any], part: bytes) -> tuple[int, int, float, float, str | None, bool, bytes]:
    """What is kept of a map: rows, cols, min, max, view as JSON, whether parts are ignored, the values.

    Raises:
        WireError: the map is damaged, or larger than any map is.
    """
    import numpy as np  # noqa: PLC0415

    from streamer.maps import grid_of_map  # noqa: PLC0415

    grid, view = grid_of_map(entry, part)
    if grid.size > _MAX_POINTS:
        rows, cols = (np.linspace(0, side - 1, min(side, 256)).round().astype(int) for side in grid.shape)
        grid = grid[np.ix_(rows, cols)]
    low, high = (entry.get(key) for key in ("min", "max"))
    if not all(isinstance(edge, int | float) and abs(edge) < 1e30 for edge in (low, high)):
        low, high = float(grid.min()), float(grid.max())
    ignored = bool(entry.get("mask_bytes"))
    values = np.ascontiguousarray(grid, "<f4").tobytes()
    return *grid.shape, low, high, None if view is None else json.dumps(list(view)), ignored, values


class Newest:
    """The pictures that came last: every page that is open asks for them in the same moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def put(self, pictures: Mapping[tuple[str, str], bytes]) -> None:
        """Pictures by stream and key; what came before them makes room."""
        with self._lock:
            for frame, jpeg in pictures.items():
                self._bytes += len(jpeg) - len(self._pictures.pop(frame, b""))
                self._pictures[frame] = jpeg
            while len(self._pictures) > _NEWEST or self._bytes > _NEWEST_BYTES:
                self._bytes -= len(self._pictures.popitem(last=False)[1])

    def get(self, stream: str, key: str) -> bytes | None:
        """One of them, None if it is older, or never came."""
        with self._lock:
            return self._pictures.get((stream, key))


class Pictures:
    """Files `<day>/<row number>.jpg` in a folder; a name never holds anything that came over the wire."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, number: int, jpeg: bytes, day: str | None = None) -> str:
        """Write a picture, whole or not at all; returns where, `<day>/<number>.jpg`.

        Raises:
            OSError: the disk is full or gone.
        """
        name = f"{day or time.strftime('%Y-%m-%d', time.gmtime())}/{number}.jpg"
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        beside = path.with_suffix(".part")
        try:
            beside.write_bytes(jpeg)
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        return name

    def path(self, name: str) -> Path | None:
        """The file of a picture, or None where it is gone."""
        path = self.folder / name
        return path if path.is_file() else None

    def delete(self, names: Iterable[str]) -> None:
        """Delete pictures whose rows are gone, and the folders of days that are empty then."""
        days = set()
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
            days.add((self.folder / name).parent)
        for day in days:
            _remove_if_empty(day)

    def sweep(self, known: Callable[[str], set[str]]) -> int:
        """Delete what no row knows, left by a process that was killed in between; returns how many.

        What is not named as ours is somebody's who put it there, and stays.

        Args:
            known: given a day, the names of its pictures that rows have.
        """
        swept = 0
        for day in [entry for entry in os.scandir(self.folder) if entry.is_dir(follow_symlinks=False)]:
            if not _DAY.fullmatch(day.name):
                continue
            names = [f"{day.name}/{entry.name}" for entry in os.scandir(day.path) if _is_ours(entry)]
            strays = set(names) - known(day.name)
            self.delete(strays)
            _remove_if_empty(Path(day.path))
            swept += len(strays)
        return swept


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return bool(_FILE.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
