"""RsCIN: re-scoring image scores by class-token neighbours (paper section 3.4)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from musc_online.arrays import ArrayOrTensor, like, to_numpy
from musc_online.errors import FrameError

Array = npt.NDArray[np.float64]
UNIT_TOLERANCE = 1e-3


def rescore(
    image_scores: ArrayOrTensor,
    class_tokens: ArrayOrTensor,
    neighbour_counts: Sequence[int] = (1, 2, 3),
    normalise: bool = True,
) -> ArrayOrTensor:
    """Smooth image scores over their nearest neighbours in class-token space.

    Works on the scores and class tokens of any method, not only ours.

    Args:
        image_scores: `[N]` raw scores.
        class_tokens: `[N, D]`.
        neighbour_counts: for each k, a row keeps its k largest similarities (itself counts); at most N.
        normalise: L2-normalise the class tokens first, unless all are unit vectors to 1e-3 as CLIP's are.
            For DINO the authors' code does not, and False restores that.

    Returns:
        `[N]` float64 in 0..1 (min-max scale), the same kind as given; a constant vector returns itself.

    Raises:
        FrameError: lengths differ, an empty vector, or a value that is not finite.
    """
    scores, tokens = _checked(image_scores, class_tokens)
    spread = scores.max() - scores.min()
    if spread == 0.0:
        return like(image_scores, scores.copy())
    rows = np.arange(len(scores))
    return like(image_scores, _smooth(scores, tokens, tokens, rows, neighbour_counts, normalise))


def rescore_one(
    image_scores: Array,
    class_tokens: npt.NDArray[np.floating],
    row: int,
    neighbour_counts: Sequence[int],
    normalise: bool,
) -> float:
    """`rescore(...)[row]` without the other rows: what an arrival needs."""
    scores, tokens = _checked(image_scores, class_tokens)
    if scores.max() == scores.min():
        return float(scores[row])
    rows = np.array([row])
    return float(_smooth(scores, tokens[rows], tokens, rows, neighbour_counts, normalise)[0])


def _checked(image_scores: object, class_tokens: object) -> tuple[Array, Array]:
    scores = to_numpy(image_scores).astype(np.float64)
    tokens = to_numpy(class_tokens).astype(np.float64)
    if scores.ndim != 1 or not len(scores) or tokens.ndim != 2 or len(tokens) != len(scores):
        raise FrameError(
            f"rscin: got image_scores {scores.shape} and class_tokens {tokens.shape}, "
            "expected [N] and [N, D] with N >= 1"
        )
    if not (np.isfinite(scores).all() and np.isfinite(tokens).all()):
        raise FrameError("rscin: got NaN or infinity, expected finite image_scores and class_tokens")
    return scores, tokens


def _smooth(
    scores: Array,
    queries: Array,
    tokens: Array,
    rows: npt.NDArray[np.intp],
    counts: Sequence[int],
    normalise: bool,
) -> Array:
    if normalise:
        queries, tokens = _unit(queries), _unit(tokens)
    scaled = (scores - scores.min()) / (scores.max() - scores.min())
    similarity = _similarity(queries, tokens)
    most = min(max(counts), len(scores))
    kept = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
    weights = np.take_along_axis(similarity, kept, axis=1)
    neighbours = scaled[kept]
    result = np.zeros(len(queries))
    for count in counts:
        weight_sum = weights[:, :count].sum(axis=1)
        weighted = (weights[:, :count] * neighbours[:, :count]).sum(axis=1)
        # Weights that cancel (a class token of zeros) say nothing of the neighbours: the score stays.
        usable = np.abs(weight_sum) > 1e-12
        result += np.where(usable, weighted / np.where(usable, weight_sum, 1.0), scaled[rows])
    return result / len(counts)


def _similarity(queries: Array, tokens: Array) -> Array:
    if len(queries) > 1:
        return np.asarray(queries @ tokens.T)
    # An arrival's: BLAS would set threads to work on it that spin on for as long as a match takes.
    return np.asarray(np.einsum("qd,nd->qn", queries, tokens))


def _unit(tokens: Array) -> Array:
    norms = np.linalg.norm(tokens, axis=1, keepdims=True)
    if (np.abs(norms - 1.0) < UNIT_TOLERANCE).all():
        return (
            tokens  # normalised once (CLIP's, perhaps in half precision): twice would only reorder near ties
        )
    return np.asarray(tokens / np.maximum(norms, 1e-12))
