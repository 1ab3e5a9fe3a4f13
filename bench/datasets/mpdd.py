"""MPDD: metal parts in the layout of MVTec AD."""

from pathlib import Path

from bench.datasets import mvtec
from bench.datasets.sample import Category


def read(root: Path, category: str) -> list[Category]:
    """Read the test images of MPDD (Jezek et al., ICUMT 2021).

    Raises:
        DataError: another layout, an empty category, a mask missing.
    """
    return mvtec.read(root, category, mask_rule="half")
