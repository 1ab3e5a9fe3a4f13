"""Which images of a category can be read at all: what `--skip-bad` goes on past, and says so."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from bench.datasets.images import read_frame, read_mask
from bench.datasets.tree import Category, Sample
from musc_online.errors import DataError

_SIDE = 8
# Of the masks that are read only to see whether they can be.


def usable(category: Category, workers: int = 4) -> Category:
    """The category without the images that cannot be decoded, or whose masks cannot; they are in `left_out`.

    Every image is decoded once more for this, so that all that follows is of one and the same set.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="usable") as pool:
        found = list(zip(category.samples, pool.map(_why_not, category.samples), strict=True))
    bad = tuple(f"{sample.frame_id} ({why})" for sample, why in found if why)
    return replace(
        category,
        samples=tuple(sample for sample, why in found if not why),
        left_out=(*bad, *category.left_out),
    )


def _why_not(sample: Sample) -> str:
    """Why an image cannot be used; empty where it can."""
    try:
        read_frame(sample.path, sample.bit_depth)
        if sample.mask_paths:
            read_mask(sample, _SIDE)
    except DataError as error:
        return str(error.args[0]).removeprefix(f"{sample.path}: ")
    return ""
