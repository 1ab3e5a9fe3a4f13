"""Division of a set into subsets that are scored each by itself (`divide_num`)."""

import random
from collections.abc import Sequence
from pathlib import Path

from musc_online.errors import DataError

PUBLISHED_SEED = 42  # what the authors' entry script passes


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
