"""What both kinds of publisher are: a connection of their own to the detector, and frames of one stream."""

import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import zmq

from streamer import images
from streamer.auth import ClientKeys
from streamer.errors import FrameId, WireError
from streamer.images import Pixels
from streamer.sockets import Context, connect
from streamer.source_port import SourcePort
from streamer.wire.checks import BitDepth, check_bit_depth, check_count
from streamer.wire.frame import FrameMessage, Limits, check_frame_id, check_stream, pack_frame, unpack_frame
from streamer.wire.meta import kind as kind_of
from streamer.wire.meta import plain_meta
from streamer.wire.source import SourceMessage, pack_source, told, unpack_source


class Sender:
    """Connects to a detector, and makes messages of frames. `with` closes it, and abandons it on an error.

    Args:
        kind: of socket, `zmq.PUSH` or `zmq.DEALER`.
        endpoint: the detector's.
        stream: its name.
        encoding: of arrays: `jpeg`, `png` or `raw`.
        keys: CURVE keys where the detector asks for them.
        wait_s: how long the detector may take to answer the connection.
        bit_depth: of frames of more than 8 bits: the bits that the camera uses, or `float` for 0 to 1; `auto`
            leaves it to the detector's configuration.
        limits: the detector's `limits`: what is above them is refused here, before it is sent.
        options: of `streamer.sockets.connect`.

    Raises:
        StreamerError: nobody answers, or our key is refused.
        WireError: the stream's name or `bit_depth` cannot be used.
    """

    given_up = 0
    """Frames that went out, and are neither waited for any more nor known to be scored."""

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
        bit_depth: BitDepth = "auto",
        **options: Any,
    ) -> None:
        self.stream, self.encoding, self._limits = check_stream(stream), encoding, limits
        self.bit_depth = check_bit_depth(bit_depth)
        self._endpoint, self._seq = endpoint, 0
        self._context = Context()
        self._source = SourcePort(self._context, kind, endpoint, keys)
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
        frame: Pixels | bytes,
        frame_id: FrameId | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        capture_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> FrameId:
        """Send one frame; its id.

        Raises:
            WireError: the detector would refuse it.
            NoRoom: not within `timeout_s`; it was not taken.
        """
        raise NotImplementedError

    def has_room(self, timeout_s: float) -> bool:
        """Whether a frame can be sent without waiting, within `timeout_s`; answers are taken meanwhile."""
        return bool(self._socket.poll(round(1000 * timeout_s), zmq.POLLOUT))

    def keep_all(self) -> None:
        """Frames of a live camera are of parts from now on: as wanted late as soon, where they are kept."""

    def close(self) -> None:
        """Hand over what is still to be sent, then close."""
        raise NotImplementedError

    def tell_source(
        self,
        state: str,
        *,
        since_ns: int | None = None,
        source: str = "",
        age_ms: float | None = None,
        fps: float | None = None,
        counts: Mapping[str, int] | None = None,
        text: str = "",
        timeout_s: float = 1.0,
    ) -> bool:
        """Say how the camera is, beside its frames; from any thread, also while `send` waits.

        Say it at every change and every 5 s: after 15 s of silence the detector calls the source `unknown`.

        Args:
            state: `waiting` (not there yet), `live`, `lost` or `ended`.
            since_ns: when that began, since 1970; None is now.
            source: its address; passwords in it are left out.
            age_ms: how old the last frame was when it was handed over.
            fps: frames a second, as measured.
            counts: up to 32 counts by name.
            text: the last error; one line of 400 characters at most is sent, without passwords.
            timeout_s: how long to wait for the detector to take it.

        Returns:
            Whether it went out: nothing is kept for a detector that is down, or closed to.

        Raises:
            WireError: the detector would refuse it; the text names which field.
        """
        now = time.time_ns()
        message = told(
            SourceMessage(
                self.stream, state, since_ns or now, now, source, age_ms, fps, dict(counts or {}), text
            )
        )
        unpack_source(pack_source(message))  # held to the detector's own rules
        return self._source.tell(message, timeout_s)

    def abandon(self) -> None:
        """Close at once."""
        self._source.close()
        self._socket.close(0)
        self._context.term()

    def _message(
        self,
        frame: Pixels | bytes,
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
            self.stream,
            self._seq,
            frame,
            frame_id,
            meta,
            capture_ns=capture_ns,
            encoding=self.encoding,
            bit_depth=self.bit_depth,
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
    frame: Pixels | bytes,
    frame_id: FrameId | None,
    meta: Mapping[str, Any] | None,
    *,
    capture_ns: int | None,
    encoding: str,
    bit_depth: BitDepth = "auto",
) -> FrameMessage:
    """A frame message from pixels or from the bytes of a JPEG or PNG file.

    Args:
        stream, seq, frame_id, meta, capture_ns: of the header.
        frame: the file, or an array as `streamer.images.as_sent` takes it.
        encoding: of arrays; floating-point ones travel `raw` whatever it says.
        bit_depth: said of what has more than 8 bits, and is not `auto`.

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
        said = bit_depth if bit_depth != "auto" and images.is_deep(frame) else None
        return FrameMessage(stream, frame_id, found, frame, seq, capture_ns, None, plain, bit_depth=said)
    if not isinstance(frame, np.ndarray):
        raise WireError(
            "bad_value",
            f"frame: got {kind_of(frame)}, expected [height, width] or [height, width, 3] BGR as a numpy "
            f"array, or bytes of a JPEG or PNG file",
        )
    pixels = images.as_sent(frame)
    dtype = pixels.dtype.name
    if dtype == "uint16" and bit_depth == "float":
        raise WireError(
            "bad_value", "bit_depth: got float, but the frame is uint16; expected 8 to 16, or auto"
        )
    encoding = "raw" if dtype == "float32" else encoding
    payload = images.encode(pixels, encoding)
    said = bit_depth if bit_depth != "auto" and dtype != "uint8" else None
    return FrameMessage(
        stream, frame_id, encoding, payload, seq, capture_ns, pixels.shape, plain, dtype, said
    )
