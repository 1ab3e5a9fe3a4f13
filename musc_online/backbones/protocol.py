"""What every backbone is: frames in, patch tokens per stage and a class token out."""

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Tokens = TypeVar("Tokens", "torch.Tensor", npt.NDArray[Any])
"""A torch tensor or a NumPy array: what goes in comes out."""


class Backbone(Protocol):
    """A frozen image network that gives patch tokens of chosen blocks (paper section 3.1).

    Both methods may be called from any thread, and from several at once.
    """

    name: str
    weights: str
    """Where the weights came from, for a person to read."""
    image_size: int
    """Side S in pixels of what `extract` takes; a multiple of `patch_size`."""
    stages: tuple[int, ...]
    """0-based block indices, in the order in which `extract` returns them."""
    patch_size: int
    grid: int
    """Side of the patch grid; `n_patches` is its square."""
    n_patches: int
    n_channels: int
    class_dim: int
    device: "torch.device"
    precision: str
    """`float32` or `bfloat16`: what `auto` became."""
    fingerprint: str
    """Short hex of name, weights, image size and stages: equal fingerprints give comparable tokens."""

    def prepare(self, frame: npt.NDArray[np.uint8] | Any) -> "torch.Tensor":
        """One `[H, W, 3]` uint8 BGR frame to the `[3, S, S]` float32 network input, on the CPU.

        Raises:
            FrameError: another type, dtype or shape, or an empty frame.
        """
        ...

    def extract(self, inputs: Tokens) -> tuple[Tokens, Tokens]:
        """Prepared frames `[N, 3, S, S]` to patch tokens `[stages, N, P, C]` and class tokens `[N, D]`.

        Float32 whatever the precision; for tensors they are tensors on `device`, for arrays arrays.

        Raises:
            FrameError: inputs of another type or shape.
        """
        ...
