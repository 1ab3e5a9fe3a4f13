"""What both kinds of publisher are: a connection of their own to the detector, and frames of one stream."""

import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from streamer import images
from streamer.auth import ClientKeys
from streamer.errors import FrameId, WireError
from streamer.images import Frame
from streamer.sockets import Context, connect
from streamer.wire.checks import check_count
from streamer.wire.frame import FrameMessage, Limits, check_frame_id, check_stream, pack_frame, unpack_frame
from streamer.wire.meta import kind as kind_of
from streamer.wire.meta import plain_meta


class Sender:
    """Connects to a detector, and makes messages of frames. `with` closes it, and abandons it on an error.

    Args:
        kind: of socket, `zmq.PUSH` or `zmq.DEALER`.
        endpoint: the detector's.
        stream: its name.
        encoding: of arrays: `jpeg`, `png` or `raw`.
        keys: CURVE keys where the detector asks for them.
        wait_s: how long the detector may take to answer the connection.
        limits: the detector's `limits`: what is above them is refused here, before it is sent.
        options: of `streamer.sockets.connect`.

    Raises:
        StreamerError: nobody answers, or our key is refused.
        WireError: the stream's name cannot be used.
    """

    def __init__(
        self,
        kind: int,
        endpoint: str,
        stream: str,
        *,
        encoding: str,
        keys: ClientKeys | None,
        wait_s: float,
        limits: Limits,
        **options: Any,
    ) -> None:
        self.stream, self.encoding, self._limits = check_stream(stream), encoding, limits
        self._endpoint, self._seq = endpoint, 0
        self._context = Context()
        try:
            self._socket = connect(
                self._context, kind, endpoint, keys=keys, wait_ms=round(1000 * wait_s), **options
            )
        except BaseException:
            self._context.term()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close() if kind is None else self.abandon()

    def send(
        self,
        frame: Frame | bytes,
        frame_id: FrameId | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        capture_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> FrameId:
        """Send one frame; its id."""
        raise NotImplementedError

    def close(self) -> None:
        """Hand over what is still to be sent, then close."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Close at once."""
        self._socket.close(0)
        self._context.term()

    def _message(
        self,
        frame: Frame | bytes,
        frame_id: FrameId | None,
        meta: Mapping[str, Any] | None,
        capture_ns: int | None,
    ) -> tuple[FrameId, list[bytes]]:
        """Id and parts of the stream's next frame, held to the detector's own rules before they are sent.

        `_seq` is the caller's to count once the frame is taken.

        Raises:
            WireError: the detector would refuse it.
        """
        message = make_message(
            self.stream, self._seq, frame, frame_id, meta, capture_ns=capture_ns, encoding=self.encoding
        )
        parts = pack_frame(message)
        try:
            unpack_frame(parts, self._limits)
        except WireError as error:
            if error.code == "header_too_large":
                raise WireError(
                    error.code,
                    f"meta: makes a header of {len(parts[0])} bytes, expected at most "
                    f"{self._limits.header_bytes} (the detector's limits.header_bytes); send less",
                ) from None
            raise
        return message.frame_id, parts


def make_message(
    stream: str,
    seq: int,
    frame: images.Frame | bytes,
    frame_id: FrameId | None,
    meta: Mapping[str, Any] | None,
    *,
    capture_ns: int | None,
    encoding: str,
) -> FrameMessage:
    """A frame message from pixels or from the bytes of a JPEG or PNG file.

    Raises:
        WireError: neither, or an id, time or `meta` that cannot be sent; the text names which.
    """
    if isinstance(capture_ns, np.integer):
        capture_ns = int(capture_ns)
    capture_ns = check_count(time.time_ns() if capture_ns is None else capture_ns, "capture_ns")
    frame_id = check_frame_id(capture_ns if frame_id is None else frame_id)
    plain = plain_meta(meta)
    if isinstance(frame, bytes):
        found = images.sniff(frame)
        if found is None:
            raise WireError("bad_encoding", "frame: the bytes are neither a JPEG nor a PNG file")
        return FrameMessage(stream, frame_id, found, frame, seq, capture_ns, None, plain)
    if not isinstance(frame, np.ndarray):
        raise WireError(
            "bad_value",
            f"frame: got {kind_of(frame)}, expected [height, width, 3] uint8 BGR as a numpy array, or bytes "
            f"of a JPEG or PNG file",
        )
    payload = images.encode(frame, encoding)
    shape = (frame.shape[0], frame.shape[1], 3)
    return FrameMessage(stream, frame_id, encoding, payload, seq, capture_ns, shape, plain)
