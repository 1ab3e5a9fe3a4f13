"""MVTec AD: `<category>/test/{good,<defect>}/` and masks in `<category>/ground_truth/<defect>/`."""

from pathlib import Path

from bench.datasets.sample import Category, MaskRule
from bench.datasets.tree import folders, labelled, select

LAYOUT = "<category>/test/{good,<defect>}/ and <category>/ground_truth/<defect>/"


def read(root: Path, category: str, mask_rule: MaskRule = "whole") -> list[Category]:
    """Read the test images of MVTec AD (Bergmann et al., CVPR 2019), or of any tree laid out like it.

    Args:
        root: the folder of the categories.
        category: names with commas between, or `all`.
        mask_rule: of the samples; the published one unless a reader of the same layout says otherwise.

    Raises:
        DataError: another layout, an empty category, a mask missing.
    """
    found = [path for path in folders(root) if (path / "test").is_dir()]
    hint = ""
    if not found and (root / "test").is_dir():
        hint = f" (this looks like one category: give {root.parent} and category '{root.name}')"
    chosen = select(root, found, category, LAYOUT + hint)
    return [labelled(path, path / "test", path / "ground_truth", mask_rule=mask_rule) for path in chosen]
