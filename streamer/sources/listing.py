"""Which files below a folder are images, and which of those are parts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamer.dataset_folders import masks_told, split_masks
from streamer.errors import StreamerError
from streamer.printable import printable, utf8

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
_OF_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})
"""Files that a system puts into every folder it has shown: nobody misses them."""


@dataclass(frozen=True)
class Listing:
    """The image files below a folder.

    `paths` are sorted as paths are: part by part, by code points ("10.png" before "2.png", "b/1.png" after
    "a.png"). `left_out` is what is not taken: the path below the folder, with why in brackets, first what is
    named like an image or might hold some, then the other files. `masks` are those that `images_in` does not
    take for parts.
    """

    paths: tuple[Path, ...]
    left_out: tuple[str, ...] = ()
    masks: tuple[Path, ...] = ()


def list_images(folder: Path) -> Listing:
    """Image files of a folder and its subfolders: the one rule, for publishers, the demo and every data set.

    An image is a file whose name ends as `IMAGE_SUFFIXES` say, in whatever case. Left out, and named, are
    what is hidden (a name with a dot before it, `._x.png` of macOS among them), links to folders and links
    to nothing, files of no bytes, and files of other names but those that systems leave behind. A folder may
    be named like an image: it is a folder.
    """
    found: list[Path] = []
    odd: list[tuple[Path, str]] = []
    others: list[tuple[Path, str]] = []

    def unreadable(error: OSError) -> None:
        odd.append((Path(error.filename), str(error.strerror)))

    for place, folders, files in os.walk(folder, onerror=unreadable):
        if not folders and not files and Path(place).suffix.lower() in IMAGE_SUFFIXES:
            odd.append((Path(place), "an empty folder"))
        for name in list(folders):
            why = _why_not_entered(Path(place, name))
            if why:
                odd.append((Path(place, name), why))
                folders.remove(name)
        for path in (Path(place, name) for name in files):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                if not path.name.startswith(".") and path.name.lower() not in _OF_SYSTEMS:
                    others.append((path, "not named as an image"))
            elif why := _why_not_taken(path):
                odd.append((path, why))
            else:
                found.append(path)
    named = (f"{id_of(path, folder)} ({why})" for some in (odd, others) for path, why in sorted(some))
    return Listing(tuple(sorted(found)), tuple(named))


def id_of(path: Path, folder: Path) -> str:
    """The frame id of an image below a folder: its path from there, slashes forward, as UTF-8 holds it."""
    return utf8(path.relative_to(folder).as_posix())


def told(left_out: Sequence[str], limit: int = 8) -> str:
    """What a listing left out, counted and named, on one line that a terminal may show."""
    more = f" and {len(left_out) - limit} more" if len(left_out) > limit else ""
    return printable(f"{len(left_out)} left out: {', '.join(left_out[:limit])}{more}")


def _why_not_entered(folder: Path) -> str:
    if folder.name.startswith("."):
        return "a hidden folder"
    return "a link to a folder" if folder.is_symlink() else ""


def _why_not_taken(path: Path) -> str:
    if path.name.startswith("."):
        return "hidden"
    try:
        if not path.is_file():
            return "a link to nothing" if path.is_symlink() else "no file"
        return "" if path.stat().st_size else "no bytes"
    except OSError as error:
        return str(error.strerror)


def images_in(folder: Path) -> Listing:
    """`list_images` of a folder that holds some, without masks: the parts that a publisher sends.

    What lies in a folder `ground_truth`, `mask` or `masks` below it is a mask, in `Listing.masks`. `folder`
    itself may have such a name: somebody asked for it.

    Raises:
        StreamerError: there are none.
    """
    listing = list_images(folder)
    parts, masks = split_masks(listing.paths, folder)
    listing = Listing(parts, listing.left_out, masks)
    if not listing.paths:
        wanted = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        more = f"; {told(listing.left_out)}" if listing.left_out else ""
        more += f"; {masks_told(masks, folder)}" if masks else ""
        raise StreamerError(f"source: {folder} holds no images; expected files of {wanted}{more}")
    return listing
