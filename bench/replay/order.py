"""Which images of a set are taken, in which order they arrive, and in which subsets a batch scores them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from musc_online.errors import DataError

PUBLISHED_SEED = 42  # of the division: what the authors' entry script passes
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


def stratified(paths: Sequence[Path], n_subsets: int, seed: int = PUBLISHED_SEED) -> list[list[int]]:
    """The published division: each folder's images are shuffled and dealt in turn, so subsets look alike.

    It looks at the folder an image lies in, that is at the ground truth: for parity with published figures.

    Args:
        paths: `[N]` image paths in the published order.
        n_subsets: how many subsets; 0 and 1 both mean the whole set, unshuffled, as published.
        seed: of Python's own generator; one generator serves all folders, in order of appearance.

    Returns:
        For each subset, the indices of its images: folder by folder, in the order they were dealt. The scores
        of the published code come in this order, one subset after the other.

    Raises:
        DataError: a subset would get fewer than two images, which cannot be scored against each other.
    """
    by_folder: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        by_folder.setdefault(path.parent.name, []).append(index)
    return _deal(list(by_folder.values()), len(paths), n_subsets, seed)


def label_free(n_images: int, n_subsets: int, seed: int = PUBLISHED_SEED) -> list[list[int]]:
    """The same dealing without a look at the folders: the whole set is shuffled and dealt in turn.

    Args, returns and raises as `stratified`; `n_images` is the size of the set.
    """
    return _deal([list(range(n_images))], n_images, n_subsets, seed)


def _deal(groups: list[list[int]], n_images: int, n_subsets: int, seed: int) -> list[list[int]]:
    if n_subsets < 0:
        raise DataError(f"divide_num: got {n_subsets}, expected 1 or more subsets")
    if n_subsets <= 1:
        return [list(range(n_images))]
    generator = random.Random(seed)  # noqa: S311  reproducibility, not secrecy
    subsets: list[list[int]] = [[] for _ in range(n_subsets)]
    for group in groups:
        generator.shuffle(group)
        for position, index in enumerate(group):
            subsets[position % n_subsets].append(index)
    smallest = min(map(len, subsets))
    if smallest < 2:
        raise DataError(
            f"divide_num: {n_subsets} subsets of {n_images} images leave one with {smallest}; "
            "expected at least two images in each, take fewer subsets"
        )
    return subsets
