"""The published recipe for mutual scoring, restated: what our speed is measured against.

Per stage and degree, the distances of one image's patches to all patches of all images by one float32
`cdist`, then the minimum over each image's patches; then the interval average. The recipe is given its
aggregated unit vectors for nothing; our own times include the aggregation.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from musc_online.lnamd import aggregate
from musc_online.msm import interval_average

Vectors = dict[tuple[int, int], torch.Tensor]
"""(stage, degree) to unit vectors `[N, P, C]`."""


def aggregated(patch_tokens: npt.NDArray[np.float32], degrees: Sequence[int]) -> Vectors:
    """Unit vectors of every stage and degree of `[S, N, P, C]` tokens."""
    return {
        (stage, degree): torch.from_numpy(np.ascontiguousarray(aggregate(tokens, degree)))
        for stage, tokens in enumerate(patch_tokens)
        for degree in degrees
    }


def nearest_to_all(vectors: torch.Tensor, references: torch.Tensor, image: int) -> torch.Tensor:
    """`[P, R]` distances of the image's patches to their nearest in each of `references [R, P, C]`."""
    n_references, n_patches, n_channels = references.shape
    distances = torch.cdist(vectors[image], references.reshape(n_references * n_patches, n_channels))
    return distances.reshape(-1, n_references, n_patches).amin(dim=2)


def patch_scores(nearest: npt.NDArray[np.float32], image: int) -> npt.NDArray[np.float64]:
    """`[P]` scores from `[stages * degrees, P, N]` distances, the image itself left out."""
    others = np.delete(nearest, image, axis=2)
    scores: npt.NDArray[np.float64] = np.asarray(interval_average(others)).mean(axis=0)
    return scores
