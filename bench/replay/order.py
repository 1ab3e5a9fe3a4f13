"""In which order the frames of a category arrive: shuffled with a recorded seed, or as the folders stand."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from musc_online.errors import DataError

Order = Literal["shuffled", "sorted"]
Indices = npt.NDArray[np.intp]


def arrivals(n_images: int, order: Order = "shuffled", seed: int = 0) -> Indices:
    """Indices of the images in order of arrival, `[n_images]`.

    Test folders are ordered by class: `sorted` lets the ring fill with one kind of defect before it has seen
    a normal part, which no line does. `shuffled` with the same seed gives the same order everywhere.

    Raises:
        DataError: an unknown order.
    """
    if order == "sorted":
        return np.arange(n_images)
    if order != "shuffled":
        raise DataError(f"order: got '{order}', expected shuffled or sorted")
    return np.random.default_rng(seed).permutation(n_images)


def spread(n_images: int, limit: int | None) -> Indices:
    """At most `limit` indices, evenly over the sorted set, so that every folder keeps its share.

    Raises:
        DataError: a limit below 2; one image has nothing to be scored against.
    """
    if limit is None:
        return np.arange(n_images)
    if limit < 2:
        raise DataError(f"limit: got {limit}, expected 2 or more images")
    return np.unique(np.linspace(0, n_images - 1, min(limit, n_images)).round().astype(np.intp))
