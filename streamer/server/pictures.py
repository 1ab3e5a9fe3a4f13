"""A small JPEG of a frame, for whoever watches: made where the frame is decoded, sent behind its score.

It is made before anybody knows the score, also where only alarms are sent: while its frame waits, a JPEG is a
tenth of its pixels and less, and the threads that match and publish are every stream's.
"""

from dataclasses import dataclass

import cv2

from musc_online.config import PictureConfig
from streamer.errors import WireError
from streamer.images import Frame


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame as a JPEG; `size` is its (height, width)."""

    jpeg: bytes
    size: tuple[int, int]


def make(frame: Frame, wanted: PictureConfig) -> Picture:
    """The picture of a frame.

    Args:
        frame: `[H, W, 3]` uint8, BGR.
        wanted: `side` bounds the longer side, a smaller frame is left as it is.

    Raises:
        WireError: `picture_failed`.
    """
    size = small_size(frame.shape[0], frame.shape[1], wanted.side)
    try:
        whole = size == frame.shape[:2]
        small = frame if whole else cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, wanted.quality])
    except Exception as error:  # whatever it is, the frame has its score
        raise _failed(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
    if not done:
        raise _failed("OpenCV makes no JPEG of it")
    return Picture(data.tobytes(), size)


def small_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) of a frame whose longer side is at most `side`; never larger than it is."""
    longer = max(height, width)
    if longer <= side:
        return height, width
    # Of the shorter side at least a pixel is left.
    small = [max(1, (2 * length * side + longer) // (2 * longer)) for length in (height, width)]
    return small[0], small[1]


def _failed(why: str) -> WireError:
    return WireError(
        "picture_failed", f"output.picture: none of this frame ({why}); it is scored all the same"
    )
