"""A plain folder of images, nested or not, without labels: scores and overlays, no metrics."""

from pathlib import Path

from bench.datasets.sample import Category, Sample
from bench.datasets.tree import SUFFIXES, contents
from musc_online.errors import DataError


def read(root: Path, category: str) -> list[Category]:
    """All images below `root` as one category named after it; `category` narrows to a folder below.

    Raises:
        DataError: no image, or no such folder.
    """
    chosen = root if category.lower() == "all" else root / category
    if not chosen.is_dir():
        raise DataError(f"{root}: no folder '{category}' there; found {contents(root)}")
    paths = sorted(path for path in chosen.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    visible = [path for path in paths if not any(p.startswith(".") for p in path.relative_to(chosen).parts)]
    if not visible:
        raise DataError(f"{chosen}: expected images ({', '.join(SUFFIXES)}); found {contents(chosen)}")
    samples = tuple(Sample(path, None, "", (), path.relative_to(chosen).as_posix()) for path in visible)
    return [Category(chosen.resolve().name, samples)]
