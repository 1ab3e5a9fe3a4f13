"""A plain folder of images, nested or not, without labels: scores and overlays, no metrics."""

from pathlib import Path

from bench.datasets.sample import Category, Sample
from bench.datasets.tree import contents, images
from musc_online.errors import DataError
from streamer.sources import IMAGE_SUFFIXES, told


def read(root: Path, category: str) -> list[Category]:
    """All images below `root` as one category named after it; `category` narrows to a folder below.

    Raises:
        DataError: no image, or no such folder.
    """
    chosen = root if category.lower() == "all" else root / category
    if not chosen.is_dir():
        raise DataError(f"{root}: no folder '{category}' there; found {contents(root)}")
    listing = images(chosen)
    if not listing.paths:
        more = f"; {told(listing.left_out)}" if listing.left_out else ""
        raise DataError(
            f"{chosen}: expected images ({', '.join(IMAGE_SUFFIXES)}); found {contents(chosen)}{more}"
        )
    samples = tuple(Sample(path, None, "", (), path.relative_to(chosen).as_posix()) for path in listing.paths)
    return [Category(chosen.resolve().name, samples, listing.left_out)]
