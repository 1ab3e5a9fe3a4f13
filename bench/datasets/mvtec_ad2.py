"""MVTec AD 2: `<category>/test_public/{good,bad}/`, masks in `<category>/test_public/ground_truth/bad/`."""

from pathlib import Path

from bench.datasets.sample import Category
from bench.datasets.tree import folders, labelled, select

LAYOUT = "<category>/test_public/{good,bad}/ and <category>/test_public/ground_truth/bad/"


def read(root: Path, category: str) -> list[Category]:
    """Read the public test images of MVTec AD 2 (Heckler-Kram et al., 2025); the private ones have no labels.

    Raises:
        DataError: another layout, an empty category, a mask missing.
    """
    found = [path for path in folders(root) if (path / "test_public").is_dir()]
    chosen = select(root, found, category, LAYOUT)
    return [
        labelled(path, path / "test_public", path / "test_public" / "ground_truth", mask_rule="half")
        for path in chosen
    ]
