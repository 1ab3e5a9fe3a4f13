"""Where frames come from: a folder, an image, a video file, a network stream or a camera, through OpenCV."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from streamer import images
from streamer.errors import StreamerError, WireError

Captured = Iterator[tuple[str | int | None, images.Frame | bytes]]
"""Frame id (None: by capture time) with pixels `[H, W, 3]` uint8 BGR or the bytes of a JPEG or PNG file."""

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))


def open_source(source: str, *, loop: bool = False, shuffle: int | None = None) -> Captured:
    """Frames of a source; whether it can be read at all is known before the first one.

    Args:
        source: a folder (with its subfolders), an image or video file, a URL, or `camera:INDEX`.
        shuffle: seed of a folder's order, None for sorted.
        loop: start a folder or a video again at its end; the ids of later rounds end in `#1`, `#2`...

    Raises:
        StreamerError: nothing there, nothing readable in it, or it cannot be opened.
    """
    if (camera := re.fullmatch(r"camera:(\d+)", source)) is not None:
        return _live(_capture(int(camera[1]), source), source)
    if "://" in source:
        return _live(_capture(source, source), source)
    path = Path(source)
    if path.is_dir():
        paths = images_in(path)
        if shuffle is not None:
            random.Random(shuffle).shuffle(paths)  # noqa: S311 - an order, no secret
        return _files(paths, path, loop=loop)
    if not path.is_file():
        raise StreamerError(
            f"source: {source} does not exist; expected a folder, a file, a URL (rtsp://...) or camera:0"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _files([path], path.parent, loop=loop)
    return _video(path, loop=loop)


def images_in(folder: Path) -> list[Path]:
    """Image files in a folder and its subfolders, sorted.

    Raises:
        StreamerError: there are none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        wanted = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise StreamerError(f"source: {folder} holds no images; expected files of {wanted}")
    return found


def _files(paths: list[Path], root: Path, *, loop: bool) -> Captured:
    for number in _rounds(loop=loop):
        for path in paths:
            yield f"{path.relative_to(root).as_posix()}{_mark(number)}", _read(path)


def _read(path: Path) -> images.Frame | bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StreamerError(f"source: {path} cannot be read ({error.strerror})") from None
    # Files the detector can decode travel as they are, damaged ones too: it says so on the wire.
    if images.sniff(content) is not None:
        return content
    try:
        return images.decode_file(content)
    except WireError:
        raise StreamerError(f"source: {path} is no image that OpenCV can read") from None


def _video(path: Path, *, loop: bool) -> Captured:
    capture = _capture(str(path), str(path))
    return _video_frames(capture, path, loop=loop)


def _video_frames(capture: cv2.VideoCapture, path: Path, *, loop: bool) -> Captured:
    for number in _rounds(loop=loop):
        index = 0
        for frame in _frames(capture):
            yield f"{path.stem}:{index:06d}{_mark(number)}", frame
            index += 1
        if index == 0:
            raise StreamerError(f"source: {path} holds no frame that OpenCV can read")
        if loop:
            capture = _capture(str(path), str(path))


def _live(capture: cv2.VideoCapture, source: str) -> Captured:
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
