"""Putting a checkpoint's tensors into a network built without memory, its position embedding at any grid.

Each family's authors interpolate the position embedding in their own way.
"""

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from musc_online.errors import WeightsError

_ALIGNMENT = 64


def fill(network: nn.Module, state: Mapping[str, torch.Tensor], name: str, source: str) -> None:
    """Give a network on the `meta` device its weights (float32), frozen and in evaluation mode.

    Args:
        network: filled in place.
        state: tensors under the network's own names.
        name: the backbone's, for messages.
        source: the file they came from, for messages.

    Raises:
        WeightsError: a tensor is missing, has another shape, or has no place in it.
    """
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    missing = [key for key in wanted if key not in state]
    foreign = [key for key in state if key not in wanted]
    wrong = [key for key in wanted if key in state and tuple(state[key].shape) != wanted[key]]
    if wrong:
        raise WeightsError(
            f"{source}: the weights are of another network than {name}: {wrong[0]} has shape "
            f"{list(state[wrong[0]].shape)}, expected {list(wanted[wrong[0]])}"
        )
    if missing or foreign:
        found = [f"{len(missing)} tensors missing (first: {missing[0]})"] if missing else []
        found += [f"{len(foreign)} that do not belong (first: {foreign[0]})"] if foreign else []
        raise WeightsError(f"{source}: the weights are of another network than {name}: {' and '.join(found)}")
    network.load_state_dict({key: _usable(state[key]) for key in wanted}, assign=True)
    network.requires_grad_(False).eval()


def _usable(tensor: torch.Tensor) -> torch.Tensor:
    """Float32 at an address as torch would choose it.

    A tensor mapped from a file may start anywhere, and BLAS may sum in another order there: the same weights
    would give other tokens out of another format.
    """
    tensor = tensor.to(torch.float32).contiguous()
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tensor.clone()


def pretrained_grid(embedding: torch.Tensor) -> int:
    """Side of the patch grid that a position embedding `[1 + g * g, C]`, class token first, was trained on.

    Raises:
        WeightsError: it has another shape.
    """
    n_tokens = embedding.shape[0] if embedding.ndim == 2 else 0
    side = math.isqrt(max(n_tokens - 1, 0))
    if not side or side * side != n_tokens - 1:
        raise WeightsError(
            f"position embedding: got shape {list(embedding.shape)}, expected [tokens, channels], one class "
            "token and a square grid"
        )
    return side


def resample(embedding: torch.Tensor, grid: int, offset: float = 0.0) -> torch.Tensor:
    """Bicubic interpolation, without antialias, of the patches' part of a position embedding.

    Args:
        embedding: `[1 + g * g, C]`, class token first.
        grid: side of the patch grid asked for.
        offset: 0 interpolates to the size asked for (CLIP). DINO's and DINOv2's published code adds 0.1 to
            the grid before it works out the scale factor, and the factor, not the size, places the
            samples; scores differ by up to 0.007 between the two.

    Returns:
        `[1 + grid * grid, C]`; the embedding itself when it has that size.
    """
    side = pretrained_grid(embedding)
    if side == grid:
        return embedding
    patches = embedding[1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if offset:
        factor = (grid + offset) / side
        resized = functional.interpolate(
            patches, scale_factor=(factor, factor), mode="bicubic", antialias=False
        )
    else:
        resized = functional.interpolate(patches, size=(grid, grid), mode="bicubic", antialias=False)
    return torch.cat([embedding[:1].float(), resized.permute(0, 2, 3, 1).reshape(grid * grid, -1)])
