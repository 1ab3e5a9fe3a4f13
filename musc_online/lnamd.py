"""LNAMD: aggregation of patch tokens over r x r neighbourhoods (paper section 3.2)."""

import torch
import torch.nn.functional as F

from musc_online.arrays import ArrayOrTensor, grid_side
from musc_online.errors import FrameError


def aggregate(patch_tokens: ArrayOrTensor, degree: int) -> ArrayOrTensor:
    """Standardise each image's token map, average r x r neighbourhoods, L2-normalise.

    The map is standardised as one (mean and variance over all P*C values, eps 1e-5, no affine), the
    average divides by r*r at the border too (zero padding), as the authors' code does.

    Args:
        patch_tokens: `[N, P, C]` floating, P a square number; array or tensor.
        degree: r, odd.

    Returns:
        `[N, P, C]` float32 unit vectors (a patch of all zeros stays zero), the same kind as given.

    Raises:
        FrameError: not three axes, P not square, or an even degree.
    """
    tokens = torch.as_tensor(patch_tokens)
    if tokens.ndim != 3:
        raise FrameError(f"patch_tokens: got shape {tuple(tokens.shape)}, expected [N, P, C]")
    if degree < 1 or degree % 2 == 0:
        raise FrameError(f"degree: got {degree}, expected an odd number >= 1")
    n_images, n_patches, n_channels = tokens.shape
    side = grid_side(n_patches)
    standardised = F.layer_norm(tokens.float(), (n_patches, n_channels), eps=1e-5)
    if degree > 1:
        grid = standardised.reshape(n_images, side, side, n_channels).permute(0, 3, 1, 2)
        # A neighbourhood wider than the grid still divides by r*r: padding reaches that far.
        grid = F.pad(grid, (degree // 2,) * 4)
        standardised = F.avg_pool2d(grid, degree, stride=1).permute(0, 2, 3, 1).reshape(tokens.shape)
    unit = F.normalize(standardised, dim=-1)
    return unit if isinstance(patch_tokens, torch.Tensor) else unit.numpy()
