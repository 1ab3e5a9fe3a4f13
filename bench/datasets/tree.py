"""What readers return, and what they share: folders in a fixed order, a mask found, what is wrong said."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Literal

from musc_online.errors import DataError
from streamer.dataset_folders import NORMAL_FOLDERS, split_masks
from streamer.printable import utf8
from streamer.sources import IMAGE_SUFFIXES, Listing, id_of, list_images, told
from streamer.wire.checks import BitDepth

MaskRule = Literal["whole", "touched", "half"]


@dataclass(frozen=True)
class Sample:
    """One test image on disk.

    `label` is 1 for an anomalous image, 0 for a normal one, None where nobody said. `defect` is the defect's
    name ("good" for label 0, "" where unknown). `mask_paths` are the masks whose union is the ground truth
    (none for a normal image). `frame_id` is the path below the category's folder, with forward slashes, as
    `streamer.sources.id_of` gives it.
    `mask_rule` says when a pixel of the resized mask is anomalous, see `read_mask`: `whole`, only if nothing
    normal was mixed into it (MVTec AD, BTAD: as published), `touched`, if anything anomalous was (VisA: as
    published), or `half`, if most of it was (all others: areas stay what they are, fine defects do not vanish
    as easily). `bit_depth` is that of the category, if its images have more than 8 bits.
    """

    path: Path
    label: int | None
    defect: str
    mask_paths: tuple[Path, ...]
    frame_id: str
    mask_rule: MaskRule = "whole"
    bit_depth: BitDepth = "auto"


@dataclass(frozen=True)
class Category:
    """The test images of one category, scored together.

    `left_out` names what lies among them and is not taken, as `streamer.sources.list_images` says. `notes`
    say how the images are taken.
    """

    name: str
    samples: tuple[Sample, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of the images before figures are made of them, a line each."""
        return ((told(self.left_out),) if self.left_out else ()) + self.notes

    @property
    def n_anomalous(self) -> int:
        """How many images are labelled anomalous."""
        return sum(sample.label == 1 for sample in self.samples)

    @property
    def counted(self) -> str:
        """`12 images, 8 normal, 4 anomalous`."""
        total = f"{len(self.samples)} image{'' if len(self.samples) == 1 else 's'}"
        if any(sample.label is None for sample in self.samples):
            return f"{total} without labels"
        return f"{total}, {len(self.samples) - self.n_anomalous} normal, {self.n_anomalous} anomalous"


def folders(parent: Path) -> list[Path]:
    """The visible folders of a folder, by name; none where it does not exist."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def images(parent: Path) -> Listing:
    """The images of a folder, as they are published to a detector; none where it does not exist.

    Sorted by name as the published code sorts them ("10.png" before "2.png"). What lies in a folder of masks
    below it is no part: it is among what is left out.
    """
    listing = mask_files(parent)
    parts, masks = split_masks(listing.paths, parent)
    as_masks = tuple(f"{id_of(path, parent)} (in a folder of masks)" for path in masks)
    return Listing(parts, (*as_masks, *listing.left_out), masks)


def mask_files(parent: Path) -> Listing:
    """The images of a folder of masks, whatever the folders in it are named; none where it does not exist."""
    return list_images(parent) if parent.is_dir() else Listing(())


def select(root: Path, found: Iterable[Path], wanted: str, expected: str) -> list[Path]:
    """The category folders asked for.

    Raises:
        DataError: none of the layout was found, or a name is not among them.
    """
    by_name = {path.name: path for path in found}
    if not by_name:
        raise DataError(f"{root}: expected {expected}; found {contents(root)}")
    if wanted.lower() == "all":
        return list(by_name.values())
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names or [wanted]:
        if name not in by_name:
            raise DataError(f"{root}: no category '{name}'; found {', '.join(by_name)}")
    return [by_name[name] for name in names]


def contents(folder: Path, limit: int = 8) -> str:
    """What a folder holds, in a few words, for an error message."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    if not names:
        return "an empty folder"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def finish(category: Path, samples: list[Sample], expected: str, left_out: Iterable[str] = ()) -> Category:
    """The category, once it is known to hold something.

    Raises:
        DataError: there are no samples.
    """
    named = tuple(left_out)
    if not samples:
        more = f"; {told(named)}" if named else ""
        raise DataError(f"{category}: expected {expected}; found no image{more}")
    return Category(utf8(category.name), tuple(samples), named)


def one_mask(folder: Path) -> Callable[[Path], tuple[Path, ...]]:
    """A function from an image to its mask in `folder`: `<stem>_mask` or `<stem>`, whatever the image type.

    The published readers pair the n-th image with the n-th mask; by name, one missing file is noticed. An
    image in a subfolder has its mask in the same subfolder.
    """
    listing = mask_files(folder)
    by_stem = {_stem(path.relative_to(folder)): path for path in listing.paths}

    def find(image: Path) -> tuple[Path, ...]:
        stem = _stem(image)
        mask = by_stem.get(f"{stem}_mask") or by_stem.get(stem)
        if mask is None:
            found = "no such file" if by_stem else "no mask there"
            more = f"; {told(listing.left_out)}" if listing.left_out else ""
            raise DataError(
                f"{image}: a defective image needs its mask; expected "
                f"{folder / image.with_name(image.stem + '_mask.png')} (or {image.stem}.png there), "
                f"found {found}{more}"
            )
        return (mask,)

    return find


def _stem(path: Path) -> str:
    return path.with_suffix("").as_posix().lower()


def labelled(
    category: Path,
    test: Path,
    masks: Path,
    *,
    normal: str = "good",
    find: Callable[[Path], Callable[[Path], tuple[Path, ...]]] = one_mask,
    mask_rule: MaskRule = "whole",
) -> Category:
    """The category of the common layout: one folder a defect below `test`, its masks below `masks/<defect>`.

    Args:
        category: the category's folder.
        test: the folder that holds `normal` and the defects.
        masks: the folder that holds the masks, one folder a defect. Where it does not exist at all, nobody
            drew any: the samples have labels and no masks, so that images can still be measured.
        normal: the name of the folder of normal images, where that is none of `good`, `normal` and `ok`; in
            whatever case.
        find: given a defect's mask folder, a function from an image to its masks; the image's path is the one
            below the defect's folder.
        mask_rule: of the samples.

    Raises:
        DataError: a defective image without a mask, or no image at all.
    """
    samples: list[Sample] = []
    left_out: list[str] = []
    has_masks = masks.is_dir()
    for folder in folders(test):
        if folder == masks:  # MVTec AD 2 keeps them beside the images
            continue
        is_normal = folder.name.lower() in NORMAL_FOLDERS | {normal}
        masks_of = find(masks / folder.name) if has_masks and not is_normal else None
        listing = images(folder)
        left_out += [f"{id_of(folder, category)}/{name}" for name in listing.left_out]
        samples += [
            Sample(
                path=path,
                label=int(not is_normal),
                defect="good" if is_normal else utf8(folder.name),
                mask_paths=masks_of(path.relative_to(folder)) if masks_of else (),
                frame_id=id_of(path, category),
                mask_rule=mask_rule,
            )
            for path in listing.paths
        ]
    left_out += [f"{id_of(path, category)} (in no folder of a class)" for path in _beside_the_classes(test)]
    expected = f"images in {test.name}/{normal}/ and {test.name}/<defect>/"
    return finish(category, samples, expected, left_out)


def _beside_the_classes(test: Path) -> list[Path]:
    """Images that lie beside the folders of the classes, so that nobody knows what they show."""
    beside = (path for path in test.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir())
    return sorted(beside)


def named(folder: Path, text: str) -> Path:
    """A file as a split file names it, which may have been written on Windows: `Data\\Images\\0001.JPG`."""
    path = folder / text
    return path if "\\" not in text or path.exists() else folder / PureWindowsPath(text).as_posix()
