"""A frame's payload <-> pixels, and the one way an image file is decoded, wherever that happens.

Of a payload, dimensions are read from the file's header before any pixel is decoded.
"""

import cv2
import numpy as np

from streamer.errors import WireError
from streamer.images import jpeg
from streamer.images.depth import Decoded, Frame, Pixels, Warned, to_frame, without_alpha
from streamer.images.tags import Deep, deep
from streamer.images.whole import declared_size, sniff, whole_file
from streamer.wire.checks import DTYPES, EXPECTED_SHAPE, BitDepth, is_shape
from streamer.wire.frame import FrameMessage, Limits, check_size

__all__ = [
    "Decoded",
    "Frame",
    "Pixels",
    "Warned",
    "as_sent",
    "decode",
    "decode_file",
    "deep_pixels",
    "encode",
    "is_deep",
    "read",
    "read_file",
    "sniff",
]


def is_deep(payload: bytes) -> bool:
    """Whether a file is a PNG or TIFF of more than 8 bits a value: `bit_depth` says something of it."""
    return deep(payload) is not None


def decode(message: FrameMessage, limits: Limits, bit_depth: BitDepth = "auto") -> Frame:
    """`read` without what is odd about the frame: `[H, W, 3]` uint8, BGR."""
    return read(message, limits, bit_depth).frame


def read(message: FrameMessage, limits: Limits, bit_depth: BitDepth = "auto") -> Decoded:
    """Pixels of a checked frame, `[H, W, 3]` uint8, BGR, with what is odd about them.

    Args:
        message: as `unpack_frame` gives it.
        limits: of an encoded image's size.
        bit_depth: of frames whose header does not say it.

    Raises:
        WireError: `bad_encoding`, `image_too_large`, `empty_image`, `bad_shape`, `undecodable`, `bad_value`,
            `not_finite`.
    """
    if message.bit_depth not in {None, "auto"}:
        bit_depth = message.bit_depth or bit_depth
    if message.encoding == "raw":
        assert message.shape is not None  # noqa: S101 - unpack_frame gives every raw frame a shape
        little = np.dtype(message.dtype).newbyteorder("<")
        return to_frame(np.frombuffer(message.payload, little).reshape(message.shape), bit_depth)
    height, width = _declared_size(message)
    check_size(height, width, limits)
    if message.shape is not None and message.shape[:2] != (height, width):
        raise WireError(
            "bad_shape", f"shape: got {list(message.shape)}, expected the image's own [{height}, {width}, 3]"
        )
    return read_file(message.payload, bit_depth)


def decode_file(payload: bytes, bit_depth: BitDepth = "auto") -> Frame:
    """`read_file` without what is odd about the picture: `[H, W, 3]` uint8, BGR."""
    return read_file(payload, bit_depth).frame


def read_file(payload: bytes, bit_depth: BitDepth = "auto") -> Decoded:
    """An image file of trusted size to pixels: by service, publisher and replay, and of every picture drawn.

    Grey becomes three equal channels, a palette is resolved, alpha is dropped, more than 8 bits are cut to 8
    as `to_frame` says. The EXIF orientation of a JPEG, PNG or WebP is not applied, as in the published
    readers.

    Args:
        payload: the file.
        bit_depth: of a PNG or TIFF of more than 8 bits a value; `auto` is what its header says, else all of
            them.

    Returns:
        `[H, W, 3]` uint8, BGR, with what is odd about it.

    Raises:
        WireError: `undecodable`: no image that OpenCV reads; damaged or truncated, as libjpeg or zlib say;
            `bad_value`, `not_finite`: pixels that `bit_depth` does not fit.
    """
    encoding = sniff(payload) or "image"
    payload = whole_file(payload, encoding)
    if encoding == "jpeg":
        return to_frame(jpeg.decode(payload))
    kept = deep(payload)
    if kept is None:
        return to_frame(_imdecode(payload, encoding, cv2.IMREAD_COLOR).astype(np.uint8, copy=False))
    pixels = deep_pixels(payload, kept)
    if bit_depth == "auto":
        bit_depth = kept.bit_depth(pixels)
    return to_frame(pixels, bit_depth, inverted=kept.inverted)


def deep_pixels(payload: bytes, kept: Deep) -> Pixels:
    """The values of a file of more than 8 bits as they are, without alpha: uint16 or floating-point.

    Raises:
        WireError: `undecodable`.
    """
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    pixels = without_alpha(_imdecode(payload, sniff(payload) or "image", flags))
    if not (np.issubdtype(pixels.dtype, np.floating) if kept.is_float else pixels.dtype == np.uint16):
        raise WireError("undecodable", f"payload: OpenCV reads its {kept.bits} bits as {pixels.dtype}")
    return kept.unpacked(pixels)


def _imdecode(payload: bytes, encoding: str, flags: int) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(payload, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        pixels = None
    if pixels is None:
        what = "no image that OpenCV can read" if encoding == "image" else f"the {encoding} is damaged"
        raise WireError("undecodable", f"payload: {what}")
    return pixels


def as_sent(frame: Pixels) -> Pixels:
    """An array as it travels: uint8, uint16 or float32, little-endian, without alpha.

    Raises:
        WireError: `bad_dtype`, `bad_shape`, `empty_image`, `not_finite` where the array is no frame.
    """
    if not is_shape(list(frame.shape)):
        raise WireError("bad_shape", f"frame: got shape {list(frame.shape)}, expected {EXPECTED_SHAPE}")
    if frame.dtype.kind == "f":  # eight bits are made of it: no precision is lost that counts
        frame = frame.astype("<f4", copy=False)
    if frame.dtype.name not in DTYPES:
        raise WireError("bad_dtype", f"frame: got {frame.dtype}, expected one of {', '.join(DTYPES)}")
    if frame.size == 0:
        raise WireError("empty_image", f"frame: got shape {list(frame.shape)}, expected at least one pixel")
    frame = without_alpha(frame)
    if frame.dtype.kind == "f" and not np.isfinite(frame).all():
        raise WireError("not_finite", "frame: a pixel is NaN or infinite, expected finite numbers")
    return frame.astype(frame.dtype.newbyteorder("<"), copy=False)


def encode(frame: Pixels, encoding: str) -> bytes:
    """Pixels of a frame as a payload; `jpeg` at quality 95, `png` lossless, `raw` as they are.

    Args:
        frame: grey or BGR, alpha is dropped. A PNG holds uint8 or uint16, a JPEG uint8.
        encoding: `jpeg`, `png` or `raw`.

    Raises:
        WireError: `bad_dtype`, `bad_shape`, `empty_image` where the array is no frame, or not one for this
            encoding.
    """
    frame = as_sent(frame)
    if encoding == "raw":
        return np.ascontiguousarray(frame).tobytes()
    if frame.dtype.kind == "f" or (encoding == "jpeg" and frame.dtype != np.uint8):
        raise WireError(
            "bad_dtype", f"frame: got {frame.dtype} with encoding {encoding}, expected uint8, or encoding raw"
        )
    frame = np.ascontiguousarray(frame)
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
