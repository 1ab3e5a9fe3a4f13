"""Readers of dataset layouts: a root folder in, categories of samples out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.datasets import layouts, real_iad, visa
from bench.datasets.images import read_frame, read_image, read_mask
from bench.datasets.tree import Category, Sample
from musc_online.errors import DataError
from streamer.errors import WireError
from streamer.images.survey import survey
from streamer.wire.checks import BitDepth

__all__ = ["DATASETS", "Category", "Sample", "read", "read_frame", "read_image", "read_mask"]

_READERS: dict[str, Callable[[Path, str], list[Category]]] = {
    "mvtec": layouts.mvtec,
    "visa": visa.read,
    "btad": layouts.btad,
    "folder": layouts.folder,
    "mvtec_ad2": layouts.mvtec_ad2,
    "mvtec_loco": layouts.mvtec_loco,
    "mpdd": layouts.mpdd,
    "real_iad": real_iad.read,
}
DATASETS = tuple(_READERS)


def read(
    dataset: str, root: str | Path, category: str = "all", bit_depth: BitDepth = "auto"
) -> list[Category]:
    """List the test images of a dataset, with labels and the paths of their masks.

    Args:
        dataset: one of `DATASETS`: the layout below `root`.
        root: the folder that holds the categories (for `folder`, the images).
        category: one name, several with commas between, or `all`.
        bit_depth: of images of more than 8 bits; `auto` looks, for each category, which they use.

    Returns:
        The categories by name, each with its samples in the published order: by folder, then by file name.

    Raises:
        DataError: an unknown dataset or category, a root of another layout, an empty folder, a defective
            image without its mask, floating-point images that are not of 0 to 1; one line that names the
            path, what was expected and what was found.
    """
    if dataset not in DATASETS:
        raise DataError(f"dataset: got '{dataset}', expected one of {', '.join(DATASETS)}")
    folder = Path(root)
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "nothing"
        raise DataError(f"{folder}: expected the folder of the dataset ({dataset}), found {found} there")
    try:
        categories = _READERS[dataset](folder, category)
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be read ({error.strerror})") from None
    return [_of_one_depth(each, bit_depth) for each in categories]


def _of_one_depth(category: Category, bit_depth: BitDepth) -> Category:
    try:
        found = survey([sample.path for sample in category.samples], bit_depth)
    except WireError as error:
        raise DataError(f"{category.name}: {error.text}") from None
    samples = tuple(replace(sample, bit_depth=found.bit_depth) for sample in category.samples)
    return replace(category, samples=samples, notes=(found.line,) if found.line else ())
