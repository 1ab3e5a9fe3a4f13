"""What the names of a data set's folders say: masks, which are no parts, normal parts, classes in order."""

from collections.abc import Sequence
from pathlib import Path

MASK_FOLDERS = frozenset({"ground_truth", "mask", "masks"})
"""Names of folders whose pictures say where a defect is, in whatever case."""

NORMAL_FOLDERS = frozenset({"good", "normal", "ok"})
"""Names of folders whose pictures show parts without a defect, in whatever case."""


def split_masks(paths: Sequence[Path], root: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The pictures of parts and those in mask folders below `root`, each in the order they came in."""
    masks = tuple(path for path in paths if _mask_folder(path, root) is not None)
    taken = frozenset(masks)
    return tuple(path for path in paths if path not in taken), masks


def masks_told(masks: Sequence[Path], root: Path) -> str:
    """How many files were left out as masks, where they lie, and how to send them, on one line; else ""."""
    if not masks:
        return ""
    places = _named([_mask_folder(path, root) or "" for path in masks])
    files = "1 file" if len(masks) == 1 else f"{len(masks)} files"
    return (
        f"{files} left out as ground-truth masks, no parts ({places}); "
        "to send them, make that folder the --source"
    )


def asked_told(root: Path) -> str:
    """What to be warned of where `root` itself, or the folder it lies in, has a mask folder's name; else "".

    A data set keeps the masks of each defect in a folder of their own, so the one it lies in counts.
    """
    named = [place.name for path in (root.absolute(), root.resolve()) for place in (path, path.parent)]
    asked = next((name for name in named if name.lower() in MASK_FOLDERS), "")
    return (
        f"its pictures are sent as parts, though '{asked}' is a name of ground-truth masks" if asked else ""
    )


def classes_told(paths: Sequence[Path], root: Path) -> str:
    """What to be warned of where pictures lie in more than one sub folder and go out in order; else ""."""
    places = [path.parent.relative_to(root).as_posix() for path in paths if path.parent != root]
    found = len(set(places))
    if found < 2:
        return ""
    return (
        f"the images of {found} sub folders ({_named(places)}) go out one folder after the other; "
        "a line mixes its parts: if these are classes of a data set, add --shuffle SEED"
    )


def _mask_folder(path: Path, root: Path) -> str | None:
    """The outermost mask folder that a file below `root` lies in, None if it lies in none."""
    folders = path.relative_to(root).parts[:-1]
    for depth, name in enumerate(folders, start=1):
        if name.lower() in MASK_FOLDERS:
            return "/".join(folders[:depth])
    return None


def _named(places: Sequence[str], limit: int = 4) -> str:
    distinct = list(dict.fromkeys(places))
    more = f" and {len(distinct) - limit} more" if len(distinct) > limit else ""
    return ", ".join(distinct[:limit]) + more
