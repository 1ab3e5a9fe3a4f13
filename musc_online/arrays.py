"""Arrays or tensors in, the same kind out."""

import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from musc_online.errors import FrameError

ArrayOrTensor = Any
"""A NumPy array or a torch tensor; a function that takes one gives the same kind back."""


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


def checked_tokens(
    patch_tokens: Any, class_token: Any
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """One image's `[S, P, C]` and `[D]` tokens as float32 arrays.

    Raises:
        FrameError: another number of axes, an empty axis, or a value that is not finite.
    """
    tokens = np.ascontiguousarray(to_numpy(patch_tokens), dtype=np.float32)
    token = np.ascontiguousarray(to_numpy(class_token), dtype=np.float32)
    if tokens.ndim != 3 or token.ndim != 1 or not tokens.size or not token.size:
        raise FrameError(f"tokens: got {tokens.shape} and {token.shape}, expected [S, P, C] and [D]")
    if not (np.isfinite(tokens).all() and np.isfinite(token).all()):
        raise FrameError("tokens: got NaN or infinity, expected finite numbers")
    return tokens, token
