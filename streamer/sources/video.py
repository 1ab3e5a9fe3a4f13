"""Frames of a video file, through OpenCV."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from streamer import images
from streamer.errors import StreamerError
from streamer.sources.captured import Frames, mark, rounds


def video_frames(path: Path, *, loop: bool) -> Frames:
    """The frames of a video file, opened at once.

    Raises:
        StreamerError: OpenCV cannot open it, or (later) finds no frame in it.
    """
    return _video_frames(_capture(path), path, loop=loop)


def _video_frames(capture: cv2.VideoCapture, path: Path, *, loop: bool) -> Frames:
    for number in rounds(loop=loop):
        index = 0
        for frame in _frames(capture):
            yield f"{path.stem}:{index:06d}{mark(number)}", frame
            index += 1
        if index == 0:
            raise StreamerError(f"source: {path} holds no frame that OpenCV can read")
        if loop:
            capture = _capture(path)


def _capture(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise StreamerError(f"source: {path} cannot be opened by OpenCV; expected a video")
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
