"""imagezmq's messages as frames: JSON `{"msg", "dtype", "shape"}` and pixels, or `{"msg"}` and a JPEG."""

import itertools
import json
import time
from collections.abc import Sequence

from streamer.errors import WireError
from streamer.wire.frame import FrameMessage, Limits, pack, unpack_frame

_arrivals = itertools.count()


def unpack(parts: Sequence[bytes], limits: Limits) -> FrameMessage:
    """A frame from what imagezmq's `send_image` or `send_jpg` sent; `msg` is the stream.

    Arrays are grey or BGR, uint8, uint16 or float32, as those of `raw` frames. These senders number nothing:
    the time of arrival and a count make the frame id.

    Raises:
        WireError: as `streamer.wire.frame.unpack_frame`.
    """
    if len(parts) != 2:
        raise WireError("bad_parts", f"imagezmq: got {len(parts)} parts, expected 2 (header, image)")
    if len(parts[0]) > limits.header_bytes:
        raise WireError(
            "header_too_large",
            f"imagezmq: got a header of {len(parts[0])} bytes, expected {limits.header_bytes}",
        )
    try:
        header = json.loads(parts[0])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("msg"), str):
        raise WireError("bad_header", "imagezmq: the header is not a JSON map with a text 'msg'")
    now = time.time_ns()
    as_ours = {
        "v": 1,
        "kind": "frame",
        "stream": header["msg"],
        "frame_id": f"{now}-{next(_arrivals)}",
        "capture_ns": now,
        "encoding": "raw" if "shape" in header or "dtype" in header else "jpeg",
        "shape": header.get("shape"),
        "dtype": header.get("dtype"),
    }
    try:
        packed = pack(as_ours)
    except (ValueError, OverflowError, RecursionError):
        # JSON can say what no frame header can: half a character, numbers of any length, any depth.
        raise WireError(
            "bad_header", "imagezmq: the header holds text or numbers no frame can have"
        ) from None
    return unpack_frame([packed, parts[1]], limits)
