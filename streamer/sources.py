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
from streamer.wire.checks import BitDepth

Frames = Iterator[tuple[FrameId | None, images.Frame | bytes]]
"""Frame id (None: by capture time) with pixels `[H, W, 3]` uint8 BGR or the bytes of a JPEG or PNG file."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


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
    "a.png"). `left_out` is what is named like an image, or might hold some, and is not taken: the path below
    the folder, with why in brackets. `masks` are those that `images_in` does not take for parts.
    """

    paths: tuple[Path, ...]
    left_out: tuple[str, ...] = ()
    masks: tuple[Path, ...] = ()


def list_images(folder: Path) -> Listing:
    """Image files of a folder and its subfolders: the one rule, for publishers, the demo and every data set.

    An image is a file whose name ends as `IMAGE_SUFFIXES` say, in whatever case. Left out, and named, are
    what is hidden (a name with a dot before it, `._x.png` of macOS among them), links to folders and links
    to nothing, and files of no bytes. A folder may be named like an image: it is a folder.
    """
    found: list[Path] = []
    left_out: list[tuple[Path, str]] = []

    def unreadable(error: OSError) -> None:
        left_out.append((Path(error.filename), str(error.strerror)))

    for place, folders, files in os.walk(folder, onerror=unreadable):
        for name in list(folders):
            why = _why_not_entered(Path(place, name))
            if why:
                left_out.append((Path(place, name), why))
                folders.remove(name)
        for path in (Path(place, name) for name in files):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                why = _why_not_taken(path)
                if why:
                    left_out.append((path, why))
                else:
                    found.append(path)
    named = (f"{path.relative_to(folder).as_posix()} ({why})" for path, why in sorted(left_out))
    return Listing(tuple(sorted(found)), tuple(named))


def told(left_out: Sequence[str], limit: int = 8) -> str:
    """What a listing left out, counted and named, on one line."""
    more = f" and {len(left_out) - limit} more" if len(left_out) > limit else ""
    return f"{len(left_out)} left out: {', '.join(left_out[:limit])}{more}"


def _why_not_entered(folder: Path) -> str:
    if folder.name.startswith("."):
        return "a hidden folder"
    return "a link to a folder" if folder.is_symlink() else ""


def _why_not_taken(path: Path) -> str:
    if path.name.startswith("."):
        return "hidden"
    if not path.is_file():
        return "a link to nothing" if path.is_symlink() else "no file"
    return "" if path.stat().st_size else "no bytes"


def open_source(
    source: str,
    *,
    loop: bool = False,
    shuffle: int | None = None,
    bit_depth: BitDepth = "auto",
    tell: Callable[[str], None] = lambda line: None,
) -> Captured:
    """Frames of a source; whether it can be read at all is known before the first one.

    Masks of a data set are no parts: see `images_in`.

    Args:
        source: a folder (with its subfolders), an image or video file, a URL, or `camera:INDEX`.
        shuffle: seed of a folder's order, which is the same everywhere; None for sorted.
        loop: start a folder or a video again at its end; the ids of later rounds end in `#1`, `#2`...
        bit_depth: of a file or folder's images of more than 8 bits; `auto` looks which they use.
        tell: told, a line each, what of a folder is left out, and what of it no line would send so.

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
        return _of_files(_in_order(path, shuffle, tell), path, bit_depth, tell, loop=loop)
    if not path.is_file():
        raise StreamerError(
            f"source: {source} does not exist; expected a folder, a file, a URL (rtsp://...) or camera:0"
        )
    _check_order(source, shuffle, "a file")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _of_files([path], path.parent, bit_depth, tell, loop=loop)
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
        tell(f"source: {folder}: {line}")
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
    paths: list[Path], root: Path, bit_depth: BitDepth, tell: Callable[[str], None], *, loop: bool
) -> Captured:
    try:
        found = survey(paths, bit_depth)
    except WireError as error:
        raise StreamerError(f"source: {error.text}") from None
    if found.line:
        tell(f"source: {root}: {found.line}")
    oddities = Oddities()
    return Captured(_files(paths, root, found.bit_depth, oddities, loop=loop), found.bit_depth, oddities)


def _files(paths: list[Path], root: Path, bit_depth: BitDepth, oddities: Oddities, *, loop: bool) -> Frames:
    for number in _rounds(loop=loop):
        for path in paths:
            name = f"{path.relative_to(root).as_posix()}{_mark(number)}"
            yield name, _read(path, name, bit_depth, oddities)


def _read(path: Path, name: str, bit_depth: BitDepth, oddities: Oddities) -> images.Frame | bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StreamerError(f"source: {path} cannot be read ({error.strerror})") from None
    # Files the detector can decode travel as they are, damaged ones too: it says so on the wire.
    if images.sniff(content) is not None:
        return content
    try:
        decoded = images.read_file(content, bit_depth)
    except WireError as error:
        if error.code != "undecodable":
            raise StreamerError(f"source: {path}: {error.text}") from None
        raise StreamerError(f"source: {path} is no image that OpenCV can read") from None
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
