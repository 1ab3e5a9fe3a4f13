"""Layouts told by their folders alone: MVTec AD and its like, BTAD, and a folder without labels."""

from collections.abc import Callable
from pathlib import Path

from bench.datasets.tree import (
    Category,
    MaskRule,
    Sample,
    contents,
    folders,
    images,
    labelled,
    mask_files,
    select,
)
from musc_online.errors import DataError
from streamer.printable import utf8
from streamer.sources import IMAGE_SUFFIXES, id_of, told

_MVTEC = "<category>/test/{good,<defect>}/ and <category>/ground_truth/<defect>/"
_BTAD = "<category>/test/{ok,ko}/ and <category>/ground_truth/ko/"
_MVTEC_AD2 = "<category>/test_public/{good,bad}/ and <category>/test_public/ground_truth/bad/"
_LOCO_KINDS = "good,logical_anomalies,structural_anomalies"
_MVTEC_LOCO = f"<category>/test/{{{_LOCO_KINDS}}}/ and <category>/ground_truth/<kind>/<stem>/"


def mvtec(root: Path, category: str, mask_rule: MaskRule = "whole") -> list[Category]:
    """Read the test images of MVTec AD (Bergmann et al., CVPR 2019), or of any tree laid out like it.

    `<category>/test/{good,<defect>}/`, and masks in `<category>/ground_truth/<defect>/`.

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
    chosen = select(root, found, category, _MVTEC + hint)
    return [labelled(path, path / "test", path / "ground_truth", mask_rule=mask_rule) for path in chosen]


def mpdd(root: Path, category: str) -> list[Category]:
    """Read the test images of MPDD (Jezek et al., ICUMT 2021): metal parts, laid out as MVTec AD.

    Raises:
        DataError: another layout, an empty category, a mask missing.
    """
    return mvtec(root, category, mask_rule="half")


def btad(root: Path, category: str) -> list[Category]:
    """Read the test images of BTAD (Mishra et al., ISIE 2021).

    `{01,02,03}/test/{ok,ko}/`, and masks in `{01,02,03}/ground_truth/ko/` (bmp or png, same stem).

    Raises:
        DataError: another layout, an empty category, a mask missing.
    """
    classes = {"ok", "ko"}
    found = [path for path in folders(root) if classes & {one.name.lower() for one in folders(path / "test")}]
    chosen = select(root, found, category, _BTAD)
    return [labelled(path, path / "test", path / "ground_truth", normal="ok") for path in chosen]


def mvtec_ad2(root: Path, category: str) -> list[Category]:
    """Read the public test images of MVTec AD 2 (Heckler-Kram et al., 2025); the private ones have no labels.

    `<category>/test_public/{good,bad}/`, and masks in `<category>/test_public/ground_truth/bad/`.

    Raises:
        DataError: another layout, an empty category, a mask missing.
    """
    found = [path for path in folders(root) if (path / "test_public").is_dir()]
    chosen = select(root, found, category, _MVTEC_AD2)
    return [
        labelled(path, path / "test_public", path / "test_public" / "ground_truth", mask_rule="half")
        for path in chosen
    ]


def mvtec_loco(root: Path, category: str) -> list[Category]:
    """Read the test images of MVTec LOCO AD (Bergmann et al., IJCV 2022).

    `<category>/test/{good,<kind>}/`, and masks in `<category>/ground_truth/<kind>/<stem>/`: an image has a
    folder of masks, one for each defect in it; the ground truth is their union. The saturation of single
    defects that the authors' own sPRO uses is not read.

    Raises:
        DataError: another layout, an empty category, an image without masks.
    """
    found = [path for path in folders(root) if (path / "test").is_dir()]
    chosen = select(root, found, category, _MVTEC_LOCO)
    return [
        labelled(path, path / "test", path / "ground_truth", find=_all_masks, mask_rule="half")
        for path in chosen
    ]


def folder(root: Path, category: str) -> list[Category]:
    """All images below `root` as one category named after it, without labels: scores, overlays, no metrics.

    `category` narrows to a folder below.

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
    samples = tuple(Sample(path, None, "", (), id_of(path, chosen)) for path in listing.paths)
    return [Category(utf8(chosen.resolve().name), samples, listing.left_out)]


def _all_masks(place: Path) -> Callable[[Path], tuple[Path, ...]]:
    def find(image: Path) -> tuple[Path, ...]:
        own = place / image.with_suffix("")
        masks = mask_files(own).paths
        if not masks:
            raise DataError(f"{image}: a defective image needs masks; expected {own}/000.png")
        return masks

    return find
