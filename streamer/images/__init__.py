"""A frame's payload <-> pixels, and the one way an image file is decoded, wherever that happens.

Of a payload, dimensions are read from the file's header before any pixel is decoded.
"""

import cv2
import numpy as np
import numpy.typing as npt

from streamer.errors import WireError
from streamer.images import jpeg
from streamer.images.whole import declared_size, sniff, whole_file
from streamer.wire.frame import FrameMessage, Limits, check_size

__all__ = ["Frame", "decode", "decode_file", "encode", "sniff"]

Frame = npt.NDArray[np.uint8]


def decode(message: FrameMessage, limits: Limits) -> Frame:
    """Pixels of a checked frame: `[H, W, 3]` uint8, BGR.

    Raises:
        WireError: `bad_encoding`, `image_too_large`, `empty_image`, `bad_shape`, `undecodable`.
    """
    if message.encoding == "raw":
        assert message.shape is not None  # noqa: S101 - unpack_frame gives every raw frame a shape
        return np.frombuffer(message.payload, np.uint8).reshape(message.shape)
    height, width = _declared_size(message)
    check_size(height, width, limits)
    if message.shape is not None and message.shape[:2] != (height, width):
        raise WireError(
            "bad_shape", f"shape: got {list(message.shape)}, expected the image's own [{height}, {width}, 3]"
        )
    return decode_file(message.payload)


def decode_file(payload: bytes) -> Frame:
    """An image file of trusted size to pixels: by service, publisher and replay, and of every picture drawn.

    Grey becomes three equal channels, a palette is resolved, alpha is dropped, 16 bits a channel are cut to
    8. The EXIF orientation of a JPEG, PNG or WebP is not applied, as in the published readers.

    Returns:
        `[H, W, 3]` uint8, BGR.

    Raises:
        WireError: `undecodable`: no image that OpenCV reads; damaged or truncated, as libjpeg or zlib say.
    """
    encoding = sniff(payload) or "image"
    payload = whole_file(payload, encoding)
    if encoding == "jpeg":
        return jpeg.decode(payload)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        frame = cv2.imdecode(np.frombuffer(payload, np.uint8), flags)
    except cv2.error:
        frame = None
    if frame is None:
        what = "no image that OpenCV can read" if encoding == "image" else f"the {encoding} is damaged"
        raise WireError("undecodable", f"payload: {what}")
    return frame.astype(np.uint8, copy=False)


def encode(frame: Frame, encoding: str) -> bytes:
    """Pixels `[H, W, 3]` uint8 BGR as a payload; `jpeg` at quality 95, `png` lossless, `raw` as they are.

    Raises:
        WireError: `bad_dtype`, `bad_shape`, `empty_image` where the array is no frame.
    """
    if frame.dtype != np.uint8:
        raise WireError("bad_dtype", f"frame: got {frame.dtype}, expected uint8")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise WireError(
            "bad_shape", f"frame: got shape {list(frame.shape)}, expected [height, width, 3] (BGR)"
        )
    if frame.size == 0:
        raise WireError("empty_image", f"frame: got shape {list(frame.shape)}, expected at least one pixel")
    if encoding == "raw":
        return np.ascontiguousarray(frame).tobytes()
    # PNG level 1: a camera host has no time for better compression.
    suffix, flags = {
        "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
        "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 1]),
    }[encoding]
    done, buffer = cv2.imencode(suffix, frame, flags)
    if not done:
        raise WireError("bad_encoding", f"frame: OpenCV cannot write shape {list(frame.shape)} as {encoding}")
    return buffer.tobytes()


def _declared_size(message: FrameMessage) -> tuple[int, int]:
    found = sniff(message.payload)
    if found != message.encoding:
        raise WireError(
            "bad_encoding" if found else "undecodable",
            f"payload: got {found or 'neither JPEG nor PNG'}, expected {message.encoding}",
        )
    return declared_size(message.payload, message.encoding)
