"""Arrays or tensors in, the same kind out; ids of frames and shapes of features."""

import math
import operator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from musc_online.errors import FrameError
from musc_online.tiles import Tiling

ArrayOrTensor = Any
"""A NumPy array or a torch tensor; a function that takes one gives the same kind back."""

FrameId = str | int
"""The publisher's name of a frame, unique within its stream."""


def to_numpy(value: Any) -> npt.NDArray[Any]:
    """A NumPy view (or copy, from an accelerator) of an array, tensor or nested list."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point() and value.itemsize < 4:
            value = value.float()  # NumPy has no bfloat16, and half gains nothing by staying half
        return cast("npt.NDArray[Any]", value.numpy())
    return np.asarray(value)


def like(reference: Any, result: npt.NDArray[Any]) -> Any:
    """`result` as a tensor on the reference's device if the reference is a tensor, else as it is."""
    if hasattr(reference, "detach"):
        import torch  # noqa: PLC0415  (only a caller who already has a tensor gets here)

        return torch.from_numpy(np.ascontiguousarray(result)).to(reference.device)
    return result


def grid_side(n_patches: int) -> int:
    """Side of the square patch grid.

    Raises:
        FrameError: `n_patches` is not a square number.
    """
    side = math.isqrt(max(n_patches, 0))
    if side * side != n_patches or n_patches < 1:
        raise FrameError(f"patch_tokens: got {n_patches} patches, expected a square number (grid x grid)")
    return side


@dataclass(frozen=True)
class Geometry:
    """Shape of one image's features: what a matcher and a ring are made for.

    An image is `n_stages` maps of patch tokens. With `tiling` these are those of its tiles, tile by tile,
    each tile matched with the same tile of other images; without, one map covers the image.

    Args:
        n_stages: S; with a tiling T * S.
        degrees: LNAMD's.
        n_patches: P of one map.
        n_channels: C.
        grid: (height, width) of one map in patches; None for a square.
        position: patches are compared with those at most so many grid steps away; None for all.
        tiling: of the frame; None for one map.

    Raises:
        FrameError: an empty axis, a number of patches that is not the grid's, or degrees that are not
            distinct odd numbers.
    """

    n_stages: int
    degrees: tuple[int, ...]
    n_patches: int
    n_channels: int
    grid: tuple[int, int] | None = None
    position: int | None = None
    tiling: Tiling | None = None

    def __post_init__(self) -> None:
        if self.grid is None:
            grid_side(self.n_patches)
        elif min(self.grid) < 1 or self.grid[0] * self.grid[1] != self.n_patches:
            raise FrameError(f"patch_tokens: got {self.n_patches} patches, expected a grid of {self.grid}")
        if min(self.n_stages, self.n_channels) < 1:
            raise FrameError(
                f"tokens: got {self.n_stages} stages of {self.n_channels} channels, expected some"
            )
        given = list(self.degrees)
        try:
            degrees = tuple(operator.index(degree) for degree in given)  # nothing is cut off: 3.9 is not 3
        except TypeError:
            degrees = ()
        if not degrees or len(set(degrees)) != len(degrees) or any(d < 1 or d % 2 == 0 for d in degrees):
            raise FrameError(f"degrees: got {given}, expected an odd number >= 1 each, no two alike")
        object.__setattr__(self, "degrees", degrees)  # Python's integers, whatever kind was given

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) of one map in patches."""
        return self.grid or (grid_side(self.n_patches),) * 2

    @property
    def frame_grid(self) -> tuple[int, int]:
        """(height, width) of the patch scores of an image."""
        return self.sides if self.tiling is None else self.tiling.grid

    @property
    def n_degrees(self) -> int:
        """D."""
        return len(self.degrees)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(S, D, P): one image's distances to one other image."""
        return self.n_stages, self.n_degrees, self.n_patches

    def per_patch(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """`[S * D * P]` values of an image to `[H * W]` of its patches: the means of stages and degrees."""
        means: npt.NDArray[np.float64] = self.each_per_patch(values[None])[0]
        return means

    def each_per_patch(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """`[n, S * D * P]` values of n images to `[n, H * W]`."""
        n_tiles = 1 if self.tiling is None else self.tiling.n_tiles
        shape = (len(values), n_tiles, self.n_stages // n_tiles, self.n_degrees, self.n_patches)
        means: npt.NDArray[np.float64] = values.reshape(shape).mean(axis=(2, 3)).reshape(len(values), -1)
        return means if self.tiling is None else means[:, self.tiling.source]

    @property
    def width(self) -> int:
        """S * D * P."""
        return self.n_stages * self.n_degrees * self.n_patches


def checked_tokens(
    patch_tokens: Any, class_token: Any, n_tiles: int = 1
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """One image's `[S, P, C]` (`[T, S, P, C]` of T tiles) and `[D]` tokens as float32 arrays.

    Returns:
        `[T * S, P, C]` and `[D]`.

    Raises:
        FrameError: another number of axes, an empty axis, another number of tiles, or a value that is not
            finite.
    """
    tokens = np.ascontiguousarray(as_float32(to_numpy(patch_tokens)))
    token = np.ascontiguousarray(as_float32(to_numpy(class_token)))
    shape = tokens.shape
    if tokens.ndim == 4 and len(tokens) == n_tiles:
        tokens = tokens.reshape(-1, *shape[2:])
    elif tokens.ndim == 3 and n_tiles > 1:
        tokens = tokens[:0]
    if tokens.ndim != 3 or token.ndim != 1 or not tokens.size or not token.size:
        expected = "[S, P, C]" if n_tiles == 1 else f"[{n_tiles}, S, P, C] of as many tiles"
        raise FrameError(f"tokens: got {shape} and {token.shape}, expected {expected} and [D]")
    if not (np.isfinite(tokens).all() and np.isfinite(token).all()):
        raise FrameError("tokens: got NaN or infinity, expected finite float32 numbers")
    return tokens, token


def as_float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The same in float32, what is too large for it infinite; no copy where it is float32 already."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def overwrite(kept: dict[str, npt.NDArray[Any]], state: dict[str, npt.NDArray[Any]]) -> None:
    """Copy `state` into the kept arrays, all or nothing.

    Raises:
        ValueError: an array is missing or too much, or has another shape or type.
    """
    check_alike(kept, state)
    for name, array in kept.items():
        array[...] = state[name]


def check_alike(kept: dict[str, npt.NDArray[Any]], state: dict[str, npt.NDArray[Any]]) -> None:
    """Whether `state` has arrays of the names, shapes and types of those that are kept.

    Raises:
        ValueError: an array is missing or too much, or has another shape or type.
    """
    if kept.keys() != state.keys():
        raise ValueError(f"features: got {sorted(state)}, expected {sorted(kept)}")
    for name, array in kept.items():
        theirs = state[name]
        if array.shape != theirs.shape or array.dtype != theirs.dtype:
            raise ValueError(
                f"features: {name}: got {theirs.dtype} {theirs.shape}, expected {array.dtype} {array.shape}"
            )
