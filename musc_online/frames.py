"""From a frame to backbone inputs, one a tile, and which part of the patch grid shows the frame again."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from musc_online.arrays import ArrayOrTensor, like, to_numpy
from musc_online.backbones import Backbone, spec
from musc_online.config import Config, TilesConfig
from musc_online.errors import ConfigError
from musc_online.tiles import Tiling

if TYPE_CHECKING:
    import torch

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels."""
View = tuple[float, float, float, float]
"""The frame's top, left, bottom and right edge on the patch grid, which reaches from 0 to 1 each way."""
WHOLE: View = (0.0, 0.0, 1.0, 1.0)
"""The grid shows the frame, and nothing but the frame."""


def tile_side(config: Config) -> int:
    """Patches along a side of a backbone input; too small a size is told by the backbone.

    Raises:
        ConfigError: an unknown backbone.
    """
    return max(1, config.backbone.image_size // spec(config.backbone.name).patch_size)


def tiling_of(config: Config) -> Tiling | None:
    """The tiles of a frame; None where one backbone input is the frame.

    Raises:
        ConfigError: an unknown backbone, or tiles that share more than half of a tile.
    """
    wanted = config.tiles
    if wanted.count == 1:
        return None
    side = tile_side(config)
    if 2 * wanted.overlap > side:
        raise ConfigError(
            f"tiles.overlap: got {wanted.overlap}, expected at most {side // 2} patches: half a tile of "
            f"{side} ({config.backbone.image_size} pixels of {config.backbone.name}); set it lower, or "
            "backbone.image_size higher"
        )
    return Tiling(wanted.rows, wanted.cols, side, wanted.overlap)


def canvas(config: Config) -> tuple[int, int]:
    """(height, width) in pixels of what all tiles of a frame show together.

    Raises:
        ConfigError: see `tiling_of`; or they are more than `limits.pixels`.
    """
    tiling, size, wanted = tiling_of(config), config.backbone.image_size, config.tiles
    height, width = (size, size) if tiling is None else _pixels(tiling, size // tiling.side)
    if height * width > config.limits.pixels:
        raise ConfigError(
            f"tiles: got {wanted.rows} x {wanted.cols} of {size} x {size} pixels, together {height} x "
            f"{width}, expected at most {config.limits.pixels} pixels (limits.pixels); set fewer, a smaller "
            "backbone.image_size, or a higher limit"
        )
    return height, width


def map_shape(config: Config) -> tuple[int, int]:
    """(height, width) of a frame's anomaly map: of its tiles' pixels, or `output.map_size` the larger side.

    Raises:
        ConfigError: see `tiling_of`.
    """
    shape, largest = canvas(config), config.output.map_size
    if largest is None:
        return shape
    height, width = (max(1, (2 * side * largest + max(shape)) // (2 * max(shape))) for side in shape)
    return height, width


@dataclass(frozen=True)
class Placement:
    """What is taken of a frame, and where that is drawn on the pixels of its tiles (docs/method.md#tiles).

    `frame` and `canvas` are (height, width) in pixels, `taken` is a part of the one, `drawn` of the other.
    """

    frame: tuple[int, int]
    canvas: tuple[int, int]
    taken: Box
    drawn: Box

    @property
    def view(self) -> View:
        """Where the whole frame's edges lie on the grid: inside of it if padded, outside if cropped."""
        edges: list[float] = []
        for axis in range(2):
            scale = (self.drawn[axis + 2] - self.drawn[axis]) / (self.taken[axis + 2] - self.taken[axis])
            start = self.drawn[axis] - self.taken[axis] * scale
            stop = self.drawn[axis + 2] + (self.frame[axis] - self.taken[axis + 2]) * scale
            edges += [start / self.canvas[axis], stop / self.canvas[axis]]
        return edges[0], edges[2], edges[1], edges[3]


@lru_cache(maxsize=64)
def place(frame: tuple[int, int], canvas: tuple[int, int], fit: str) -> Placement:
    """Where a frame is drawn, in whole pixels.

    Args:
        frame: (height, width).
        canvas: (height, width) of all tiles together.
        fit: of `TilesConfig`.
    """
    taken, drawn = [*frame], [*canvas]
    # Which of the two is the higher for its width; products of integers are exact.
    higher = frame[0] * canvas[1] - frame[1] * canvas[0]
    if higher and fit != "stretch":
        frame_is_larger = 0 if higher > 0 else 1  # along this axis
        if fit == "pad":
            across = 1 - frame_is_larger
            drawn[across] = _scaled(frame[across], canvas[frame_is_larger], frame[frame_is_larger])
        else:
            along, across = frame_is_larger, 1 - frame_is_larger
            taken[along] = _scaled(canvas[along], frame[across], canvas[across])
    return Placement(frame, canvas, _centred(frame, taken), _centred(canvas, drawn))


def view_of(config: Config, frame_shape: tuple[int, int] | None) -> View:
    """Which part of the patch grid shows a frame; the whole of it for a frame of unknown shape."""
    if frame_shape is None or config.tiles.fit == "stretch":
        return WHOLE
    return place((frame_shape[0], frame_shape[1]), canvas(config), config.tiles.fit).view


def three_channels(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey `[H, W]` or `[H, W, 1]` as three equal channels; of `[H, W, 2]` and `[H, W, 4]` alpha is dropped.

    Anything else is given back as it is, for whoever checks it.
    """
    if not isinstance(frame, np.ndarray) or frame.ndim not in {2, 3}:
        return frame
    channels = frame[..., None] if frame.ndim == 2 else frame
    if channels.shape[2] in {1, 2}:
        return np.repeat(channels[..., :1], 3, axis=2)
    return channels[..., :3] if channels.shape[2] == 4 else frame


def inputs(backbone: Backbone, frame: npt.NDArray[np.uint8], tiles: TilesConfig) -> "torch.Tensor":
    """A frame as prepared backbone inputs, one a tile.

    The frame is resized once, to the pixels of all tiles together, and then cut: what two tiles share is the
    same in both.

    Args:
        backbone: whose way of resizing and preparing is used.
        frame: `[H, W, 3]` uint8 BGR.
        tiles: of the stream.

    Returns:
        `[T, 3, S, S]` float32, row by row; for one tile of a stretched frame `backbone.prepare(frame)[None]`.

    Raises:
        FrameError: a frame that cannot be used.
    """
    import torch  # noqa: PLC0415  (seconds to import; the command lines that only read a configuration need none)

    from musc_online.backbones.preprocess import check_frame  # noqa: PLC0415

    if tiles.count == 1 and tiles.fit == "stretch":
        return backbone.prepare(frame)[None]
    check_frame(frame)
    size, tiling = backbone.image_size, Tiling(tiles.rows, tiles.cols, backbone.grid, tiles.overlap)
    placed = place((frame.shape[0], frame.shape[1]), _pixels(tiling, backbone.patch_size), tiles.fit)
    top, left, bottom, right = placed.taken
    drawn = placed.drawn
    resized = backbone.resize(frame[top:bottom, left:right], (drawn[2] - drawn[0], drawn[3] - drawn[1]))
    rest = [(drawn[axis], placed.canvas[axis] - drawn[axis + 2]) for axis in range(2)]
    whole = np.pad(resized, [*rest, (0, 0)], mode="edge")
    step = size - tiles.overlap * backbone.patch_size
    corners = [(step * row, step * col) for row in range(tiles.rows) for col in range(tiles.cols)]
    # A tile has the backbone's own size: it is not resized again.
    return torch.stack([backbone.prepare(whole[y : y + size, x : x + size]) for y, x in corners])


def extract(
    backbone: Backbone, prepared: "torch.Tensor", at_once: int
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """`backbone.extract`, so many inputs at a time: its working memory does not grow with a frame's tiles."""
    import torch  # noqa: PLC0415

    firsts = range(0, len(prepared), at_once)
    parts = [backbone.extract(prepared[first : first + at_once]) for first in firsts]
    if len(parts) == 1:
        return parts[0]
    return torch.cat([tokens for tokens, _ in parts], dim=1), torch.cat([token for _, token in parts])


def join_class_tokens(class_tokens: ArrayOrTensor) -> ArrayOrTensor:
    """The class token of a frame: those of its tiles, each of length 1, side by side, in all of length 1.

    So the similarity of two frames is the mean of their tiles' similarities.

    Args:
        class_tokens: `[T, D]`, array or tensor; one of a single tile is given back as it is.

    Returns:
        `[T * D]` float32, the same kind as given.
    """
    if len(class_tokens) == 1:
        return class_tokens[0]
    tokens = to_numpy(class_tokens).astype(np.float64)
    lengths = np.maximum(np.sqrt((tokens**2).sum(axis=1)), 1e-12)
    joined = tokens / (lengths * math.sqrt(len(tokens)))[:, None]
    return like(class_tokens, joined.astype(np.float32).ravel())


def _pixels(tiling: Tiling, patch_size: int) -> tuple[int, int]:
    height, width = tiling.grid
    return height * patch_size, width * patch_size


def _scaled(length: int, numerator: int, denominator: int) -> int:
    """`length * numerator / denominator`, rounded to a whole pixel, at least one."""
    return max(1, (2 * length * numerator + denominator) // (2 * denominator))


def _centred(outer: tuple[int, int], inner: list[int]) -> Box:
    top, left = ((whole - part) // 2 for whole, part in zip(outer, inner, strict=True))
    return top, left, top + inner[0], left + inner[1]
