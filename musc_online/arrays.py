"""Arrays or tensors in, the same kind out."""

from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from musc_online.errors import FrameError

ArrayLike = TypeVar("ArrayLike")


def to_numpy(value: Any) -> npt.NDArray[Any]:
    """A NumPy view (or copy, from an accelerator) of an array, tensor or nested list."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point() and value.itemsize < 4:
            value = value.float()  # NumPy has no bfloat16, and half gains nothing by staying half
        return cast("npt.NDArray[Any]", value.numpy())
    return np.asarray(value)


def like(reference: ArrayLike, result: npt.NDArray[Any]) -> ArrayLike:
    """`result` as a tensor on the reference's device if the reference is a tensor, else as it is."""
    if hasattr(reference, "detach"):
        import torch  # noqa: PLC0415  (only a caller who already has a tensor gets here)

        return cast("ArrayLike", torch.from_numpy(np.ascontiguousarray(result)).to(reference.device))
    return cast("ArrayLike", result)


def grid_side(n_patches: int) -> int:
    """Side of the square patch grid.

    Raises:
        FrameError: `n_patches` is not a square number.
    """
    side = round(n_patches**0.5)
    if side * side != n_patches or n_patches < 1:
        raise FrameError(f"patch_tokens: got {n_patches} patches, expected a square number (grid x grid)")
    return side
