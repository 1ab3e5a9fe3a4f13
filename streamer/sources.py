"""Where frames come from: a folder, an image, a video file, a network stream or a camera, through OpenCV."""

import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from streamer import images
from streamer.dataset_folders import asked_told, classes_told, masks_told, split_masks
from streamer.errors import FrameId, StreamerError, WireError
from streamer.images.oddities import Oddities
from streamer.images.survey import survey
from streamer.printable import printable, utf8
from streamer.wire.checks import BitDepth

Frames = Iterator[tuple[FrameId | None, images.Frame | bytes]]
"""Frame id (None: by capture time) with pixels `[H, W, 3]` uint8 BGR or the bytes of a JPEG or PNG file."""

Skipped = Callable[[str, str], None]
"""Told of an image that is left out: its id, and why."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
_OF_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})
"""Files that a system puts into every folder it has shown: nobody misses them."""


@dataclass(frozen=True, eq=False)
class Captured:
    """The frames of a source, to be gone through once.

    `bit_depth` is what a PNG of more than 8 bits is to be sent with. `oddities` collects what is odd about
    the files that are decoded here; those that travel as they are the detector looks at.
    """

    frames: Frames
    bit_depth: BitDepth = "auto"
    oddities: Oddities = field(default_factory=Oddities)

    def __iter__(self) -> Frames:
        return self.frames

    def __next__(self) -> tuple[FrameId | None, images.Frame | bytes]:
        return next(self.frames)


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


def open_source(
    source: str,
    *,
    loop: bool = False,
    shuffle: int | None = None,
    bit_depth: BitDepth = "auto",
    tell: Callable[[str], None] = lambda line: None,
    skipped: Skipped | None = None,
) -> Captured:
    """Frames of a source; whether it can be read at all is known before the first one.

    Masks of a data set are no parts: see `images_in`.

    Args:
        source: a folder (with its subfolders), an image or video file, a URL, or `camera:INDEX`.
        shuffle: seed of a folder's order, which is the same everywhere; None for sorted.
        loop: start a folder or a video again at its end; the ids of later rounds end in `#1`, `#2`...
        bit_depth: of a file or folder's images of more than 8 bits; `auto` looks which they use.
        tell: told, a line each, what of a folder is left out, and what of it no line would send so.
        skipped: told of each image that cannot be read or is damaged, and the next one comes; None ends with
            an error at the first that cannot be read, and sends damaged files of JPEG and PNG for the
            detector to refuse.

    Raises:
        StreamerError: nothing there, nothing readable in it, it cannot be opened, or its order is its own
            and cannot be shuffled.
    """
    if (camera := re.fullmatch(r"camera:(\d+)", source)) is not None:
        _check_order(source, shuffle, "a camera")
        return Captured(_live(_capture(int(camera[1]), source), source))
    if "://" in source:
        _check_order(source, shuffle, "a URL")
        return Captured(_live(_capture(source, source), source))
    path = Path(source)
    if path.is_dir():
        return _of_files(_in_order(path, shuffle, tell), path, bit_depth, tell, loop=loop, skipped=skipped)
    if not path.is_file():
        raise StreamerError(
            f"source: {source} does not exist; expected a folder, a file, a URL (rtsp://...) or camera:0"
        )
    _check_order(source, shuffle, "a file")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _of_files([path], path.parent, bit_depth, tell, loop=loop, skipped=skipped)
    return Captured(_video(path, loop=loop))


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


def _in_order(folder: Path, shuffle: int | None, tell: Callable[[str], None]) -> list[Path]:
    """The images to send, in the order to send them; what is odd about the folder is told."""
    listing = images_in(folder)
    lines = [told(listing.left_out) if listing.left_out else ""]
    lines += [masks_told(listing.masks, folder), asked_told(folder)]
    lines.append("" if shuffle is not None else classes_told(listing.paths, folder))
    for line in filter(None, lines):
        tell(printable(f"source: {folder}: {line}"))
    # By names, not as this system compares paths: a seed's order is the same everywhere.
    paths = sorted(listing.paths, key=lambda path: path.relative_to(folder).parts)
    if shuffle is not None:
        random.Random(shuffle).shuffle(paths)  # noqa: S311 - an order, no secret
    return paths


def _check_order(source: str, shuffle: int | None, what: str) -> None:
    if shuffle is not None:
        raise StreamerError(
            f"--shuffle: got {shuffle} with the source {source}, expected a folder of images; "
            f"leave --shuffle out: {what} comes in its own order"
        )


def _of_files(
    paths: list[Path],
    root: Path,
    bit_depth: BitDepth,
    tell: Callable[[str], None],
    *,
    loop: bool,
    skipped: Skipped | None,
) -> Captured:
    try:
        found = survey(paths, bit_depth)
    except WireError as error:
        raise StreamerError(f"source: {error.text}") from None
    if found.line:
        tell(printable(f"source: {root}: {found.line}"))
    oddities = Oddities()
    frames = _files(paths, root, found.bit_depth, oddities, loop=loop, skipped=skipped)
    return Captured(frames, found.bit_depth, oddities)


class _BadImageError(StreamerError):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"source: {path} {why}")
        self.why = why


def _files(
    paths: list[Path],
    root: Path,
    bit_depth: BitDepth,
    oddities: Oddities,
    *,
    loop: bool,
    skipped: Skipped | None,
) -> Frames:
    for number in _rounds(loop=loop):
        n_read = 0
        for path in paths:
            frame_id = id_of(path, root)
            try:
                content = _read(path, frame_id, bit_depth, oddities, whole=skipped is not None)
            except _BadImageError as error:
                if skipped is None:
                    raise
                skipped(frame_id, error.why)
                continue
            n_read += 1
            yield f"{frame_id}{_mark(number)}", content
        if n_read == 0:
            raise StreamerError(f"source: {root}: none of {len(paths)} images can be read")


def _read(
    path: Path, name: str, bit_depth: BitDepth, oddities: Oddities, *, whole: bool
) -> images.Frame | bytes:
    """The bytes of a JPEG or PNG file as they are, of any other image its pixels.

    Args:
        path: of the file.
        name: its id, of what `oddities` is told of it.
        bit_depth: of images of more than 8 bits.
        oddities: what is odd about those that are decoded.
        whole: decode files of JPEG and PNG too, to see whether they are damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _BadImageError(path, f"cannot be read ({error.strerror})") from None
    # Files the detector can decode travel as they are, damaged ones too: it says so on the wire.
    as_it_is = images.sniff(content) is not None
    if as_it_is and not whole:
        return content
    try:
        decoded = images.read_file(content, bit_depth)
    except WireError as error:
        detail = error.text.removeprefix("payload: ")
        raise _BadImageError(path, f"is no image that can be used ({detail})") from None
    if as_it_is:
        return content
    oddities.add(name, decoded.warnings)
    return decoded.frame


def _video(path: Path, *, loop: bool) -> Frames:
    capture = _capture(str(path), str(path))
    return _video_frames(capture, path, loop=loop)


def _video_frames(capture: cv2.VideoCapture, path: Path, *, loop: bool) -> Frames:
    for number in _rounds(loop=loop):
        index = 0
        for frame in _frames(capture):
            yield f"{path.stem}:{index:06d}{_mark(number)}", frame
            index += 1
        if index == 0:
            raise StreamerError(f"source: {path} holds no frame that OpenCV can read")
        if loop:
            capture = _capture(str(path), str(path))


def _live(capture: cv2.VideoCapture, source: str) -> Frames:
    for frame in _frames(capture):
        yield None, frame
    raise StreamerError(f"source: {source} gives no more frames")


def _capture(what: int | str, source: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(what)
    if not capture.isOpened():
        raise StreamerError(
            f"source: {source} cannot be opened by OpenCV; expected a video, a camera or a stream"
        )
    return capture


def _frames(capture: cv2.VideoCapture) -> Iterator[images.Frame]:
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield np.asarray(frame, np.uint8)
    finally:
        capture.release()


def _rounds(*, loop: bool) -> Iterator[int]:
    yield 0
    number = 1
    while loop:
        yield number
        number += 1


def _mark(number: int) -> str:
    return f"#{number}" if number else ""
