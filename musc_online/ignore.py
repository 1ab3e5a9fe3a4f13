"""Where frames are not looked at: PNG or polygons to patches and pixels (docs/method.md#ignored-patches)."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import PngImagePlugin

from musc_online import frames
from musc_online.arrays import Geometry
from musc_online.config import Config, Polygon
from musc_online.errors import ConfigError

Mask = npt.NDArray[np.bool_]

RASTER = 1024
"""Points a side at which polygons are looked up: 16 x 16 a patch where the frame has 64 x 64 patches."""


class Ignored:
    """A stream's mask over the frame, whatever it was given as.

    Args:
        mask: `[h, w]`, stretched over the frame, True where it is not looked at.
        name: what errors call it.
    """

    def __init__(self, mask: Mask, name: str) -> None:
        self.name = name
        self._shape = mask.shape
        self._packed = np.packbits(mask, axis=1)  # a camera's mask may have as many pixels as its frames
        self._known: dict[tuple[int, int], Mask] = {}  # asked for with every frame

    @property
    def digest(self) -> str:
        """The same for the same mask, wherever it was read from."""
        return hashlib.sha256(f"{self._shape}".encode() + self._packed.tobytes()).hexdigest()[:16]

    def cells(self, shape: tuple[int, int]) -> Mask:
        """`[height, width]`: the cells of a grid over the frame that are ignored for more than half.

        Raises:
            ConfigError: all of them.
        """
        if shape in self._known:
            return self._known[shape]
        covered: npt.NDArray[Any] = np.unpackbits(self._packed, axis=1, count=self._shape[1])
        for axis, n_cells in enumerate(shape):
            covered = _sums_along(covered, axis, n_cells)
        ignored: Mask = 2 * covered > self._shape[0] * self._shape[1]
        if ignored.all():
            raise ConfigError(
                f"ignore: {self.name} covers the frame, more than half of each of {shape[0]} x {shape[1]} "
                "cells; leave something to be scored"
            )
        ignored.flags.writeable = False
        self._known[shape] = ignored
        return ignored

    def patches(self, grid: tuple[int, int]) -> Mask:
        """`[height * width]`: which patches of a frame are ignored.

        Args:
            grid: (height, width) of the frame's patch scores.

        Raises:
            ConfigError: all of them.
        """
        return self.cells(grid).ravel()

    def maps(self, geometry: Geometry) -> Mask:
        """`[S, P]`: the same for each map that a matcher compares, for `nearest.create`.

        Of a tile that is ignored altogether one patch is matched for nothing: a matcher needs one. No score
        comes of it, since the frame's ignored patches are 0 whatever was matched.

        Args:
            geometry: of a frame's features.

        Raises:
            ConfigError: every patch of the frame is ignored.
        """
        tiling = geometry.tiling
        ignored = self.patches(geometry.frame_grid)
        if tiling is None:
            return np.tile(ignored, (geometry.n_stages, 1))
        whole = ignored.reshape(tiling.grid)
        step, side = tiling.side - tiling.overlap, tiling.side
        corners = [(step * row, step * col) for row in range(tiling.rows) for col in range(tiling.cols)]
        tiles = np.stack([whole[y : y + side, x : x + side].ravel() for y, x in corners])
        tiles[tiles.all(axis=1), 0] = False
        return np.repeat(tiles, geometry.n_stages // tiling.n_tiles, axis=0)


def load(config: Config) -> Ignored | None:
    """What a configuration says is ignored; None for nothing.

    Raises:
        ConfigError: a PNG that is missing, cannot be read or has more than `limits.pixels`, a mask that
            covers every patch, or tiles that cannot be.
    """
    wanted = config.ignore
    if wanted is None:
        return None
    if isinstance(wanted, Path):
        ignored = Ignored(_read(wanted, config.limits.pixels), _named(wanted))
    else:
        ignored = Ignored(_drawn(wanted), f"{len(wanted)} polygon{'s' * (len(wanted) > 1)}")
    ignored.patches(_frame_grid(config))
    return ignored


def ignored_maps(config: Config, geometry: Geometry) -> Mask | None:
    """`[S, P]`: what a matcher of this geometry passes over; None for nothing.

    Raises:
        ConfigError: see `load`.
    """
    ignored = load(config)
    return None if ignored is None else ignored.maps(geometry)


def _frame_grid(config: Config) -> tuple[int, int]:
    tiling = frames.tiling_of(config)
    if tiling is not None:
        return tiling.grid
    return (frames.tile_side(config),) * 2


def _read(path: Path, most: int) -> Mask:
    """A PNG that is not black where frames are ignored; what is transparent counts as black."""
    expected, name = "expected a PNG that is not black where frames are not looked at", _named(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for
            raise OSError("is no file")
        # The plugin's class reads the header only, so that the size is checked before a pixel is decoded.
        with PngImagePlugin.PngImageFile(path) as image:
            if image.width * image.height > most:
                raise ConfigError(
                    f"ignore: {name} has {image.width} x {image.height} pixels, expected at most {most} "
                    "(limits.pixels); a smaller one is stretched over the frame"
                )
            pixels = np.asarray(image if image.mode.startswith("I") else image.convert("RGBA"))
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError(f"ignore: {name}: no such file, {expected}") from None
    except Exception as error:  # PIL's plugins raise almost anything on damaged files
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        detail = " ".join(said.split())[:120]
        raise ConfigError(
            f"ignore: {name}: cannot be read ({detail or type(error).__name__}), {expected}"
        ) from None
    if pixels.ndim == 2:  # grey with 16 bits
        return pixels > 0
    painted: Mask = (pixels[..., :3].max(axis=2) > 0) & (pixels[..., 3] > 0)
    return painted


def _named(path: Path) -> str:
    """A path in one line."""
    return " ".join(str(path).split())


@lru_cache(maxsize=16)
def _drawn(polygons: tuple[Polygon, ...]) -> Mask:
    """Polygons of (x, y) in 0..1 at the centres of `RASTER` x `RASTER` cells; each even-odd, all together."""
    centres = (np.arange(RASTER) + 0.5) / RASTER
    mask = np.zeros((RASTER, RASTER), np.bool_)
    for polygon in polygons:
        inside = np.zeros_like(mask)
        for (x1, y1), (x2, y2) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
            rows = np.flatnonzero((y1 > centres) != (y2 > centres))
            if len(rows):
                crossing = x1 + (centres[rows] - y1) * ((x2 - x1) / (y2 - y1))
                inside[rows] ^= centres < crossing[:, None]
        mask |= inside
    mask.flags.writeable = False  # shared by all who draw the same
    return mask


def _sums_along(values: npt.NDArray[Any], axis: int, n_cells: int) -> npt.NDArray[np.int64]:
    """What lies of `values` in each of `n_cells` equal parts of an axis, a value being worth `n_cells`.

    In whole numbers: half a cell is half a cell on every machine.
    """
    values = np.moveaxis(values, axis, 0)
    whole, rest = np.divmod(np.arange(n_cells + 1) * len(values), n_cells)
    # What lies before each edge: a sum between edges that differ, not one at every pixel of a camera's mask.
    edges, of_edge = np.unique(whole, return_inverse=True)
    between = np.add.reduceat(values, edges[:-1], axis=0, dtype=np.int64)
    before = np.concatenate([np.zeros((1, *between.shape[1:]), np.int64), np.cumsum(between, axis=0)])[
        of_edge
    ]
    cut = values[np.minimum(whole, len(values) - 1)].astype(np.int64)
    before = before * n_cells + cut * rest.reshape(-1, *[1] * (values.ndim - 1))
    return np.moveaxis(np.diff(before, axis=0), 0, axis)
