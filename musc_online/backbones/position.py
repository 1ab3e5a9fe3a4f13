"""Position embeddings at another grid than the pretrained one, as each family's authors interpolate them."""

import math

import torch
from torch.nn import functional

from musc_online.errors import WeightsError


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
