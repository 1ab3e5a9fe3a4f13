"""From pixels, or an image file, to a frame message."""

import time
from collections.abc import Mapping
from typing import Any

from streamer import images
from streamer.errors import WireError
from streamer.wire.frame import FrameMessage, check_frame_id


def make_message(
    stream: str,
    seq: int,
    frame: images.Frame | bytes,
    frame_id: str | int | None,
    meta: Mapping[str, Any] | None,
    *,
    capture_ns: int | None,
    encoding: str,
) -> FrameMessage:
    """A frame message from pixels or from the bytes of a JPEG or PNG file.

    Raises:
        WireError: neither, or an id that cannot be used.
    """
    capture_ns = time.time_ns() if capture_ns is None else capture_ns
    frame_id = check_frame_id(capture_ns if frame_id is None else frame_id)
    if isinstance(frame, bytes):
        found = images.sniff(frame)
        if found is None:
            raise WireError("bad_encoding", "frame: the bytes are neither a JPEG nor a PNG file")
        return FrameMessage(stream, frame_id, found, frame, seq, capture_ns, None, dict(meta or {}))
    payload = images.encode(frame, encoding)
    shape = (frame.shape[0], frame.shape[1], 3)
    return FrameMessage(stream, frame_id, encoding, payload, seq, capture_ns, shape, dict(meta or {}))
