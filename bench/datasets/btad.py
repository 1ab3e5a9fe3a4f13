"""BTAD: `{01,02,03}/test/{ok,ko}/` and masks in `{01,02,03}/ground_truth/ko/` (bmp or png, same stem)."""

from pathlib import Path

from bench.datasets.sample import Category
from bench.datasets.tree import folders, labelled, select

LAYOUT = "<category>/test/{ok,ko}/ and <category>/ground_truth/ko/"


def read(root: Path, category: str) -> list[Category]:
    """Read the test images of BTAD (Mishra et al., ISIE 2021).

    Raises:
        DataError: another layout, an empty category, a mask missing.
    """
    found = [
        path for path in folders(root) if (path / "test" / "ok").is_dir() or (path / "test" / "ko").is_dir()
    ]
    chosen = select(root, found, category, LAYOUT)
    return [labelled(path, path / "test", path / "ground_truth", normal="ok") for path in chosen]
