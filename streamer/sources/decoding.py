"""The pictures of a stream's packets, each with the time of its capture."""

import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import av
import numpy as np
from av.codec.context import Flags, Flags2

from streamer.errors import StreamerError, WireError
from streamer.images import Pixels
from streamer.images.jpeg import whole
from streamer.sources.clock import Arrival, DeviceClock
from streamer.sources.device import Picture
from streamer.sources.slices import Slices
from streamer.sources.units import Units

_COUNTS_NOTHING = frozenset({"mpjpeg", "mjpeg", "image2", "image2pipe"})
"""Containers that have no time, as all that libav calls a pipe: it numbers the pictures, 25 a second."""
_HELD = 64
"""Times of pictures that the decoder may hold back; H.264 and H.265 hold 16."""
_NO_PICTURE = b"\0\0\0\1\x09\xf0"
"""H.264's unit that says that a picture of any kind follows."""
_COMPONENT_BITS = 16
"""Of wider components swscale makes nothing, or ends the process (grey floats with alpha)."""


class Decoding:
    """Turns packets of one connection into pictures.

    Args:
        decoder: of the video; it is told to hold nothing back.
        container: libav's name of it.
        device_clock: of the camera; `connected` was called for this connection.
        is_cut: whether a packet may be part of a picture, or of a NAL unit.
        incomplete: told of each picture that is damaged.
    """

    def __init__(
        self,
        decoder: av.VideoCodecContext,
        container: str,
        device_clock: DeviceClock,
        is_cut: bool,
        incomplete: Callable[[], None],
    ) -> None:
        decoder.flags |= Flags.low_delay
        decoder.thread_type = "SLICE"  # threads that take a frame each hold as many back
        if is_cut:
            decoder.flags2 |= Flags2.chunks
        self.clock, self.size = "", (0, 0)
        self._decoder, self._incomplete = decoder, incomplete
        self._counts_time = container not in _COUNTS_NOTHING and not container.endswith("_pipe")
        self._device_clock = device_clock
        self._units = Units() if is_cut and decoder.name == "h264" else None
        self._taken: dict[int, tuple[int, bool] | None] = {}
        """By the stream's time; None of what is damaged."""
        self._slices = Slices()
        self._counted: int | None = None

    def picture(self, packet: "av.Packet[Any]", arrival: Arrival) -> Picture | None:
        """The last picture that a packet ends; its pixels are made when they are looked at.

        Returns:
            None where it ends none, or one that is damaged, which is counted.
        """
        if packet.size == 0:  # the end: libav asks for what the decoder still holds
            return None
        taken = self._when(packet, arrival)
        return self._jpeg(packet, taken) if self._decoder.name == "mjpeg" else self._decoded(packet, taken)

    def _decoded(self, packet: "av.Packet[Any]", taken: tuple[int, bool]) -> Picture | None:
        # The container knows of pieces that are missing; the decoder fills them in and says nothing.
        whole_taken = None if packet.is_corrupt else taken
        if packet.pts is not None:
            self._taken[packet.pts] = whole_taken if self._taken.get(packet.pts, taken) else None
            if len(self._taken) > _HELD:
                del self._taken[min(self._taken)]
        if self._units is None:
            return self._of(packet, whole_taken)
        picture = None
        for unit in self._units.of(bytes(packet), packet.pts):
            if self._slices.begin(unit):
                self._give_up()
            if unit.data:
                part = av.Packet(unit.data)
                part.pts, part.time_base = unit.pts, packet.time_base
                picture = self._of(part, whole_taken) or picture
        return picture

    def _of(self, packet: "av.Packet[Any]", taken: tuple[int, bool] | None) -> Picture | None:
        """The last sound picture that the decoder makes of what it is given."""
        try:
            frames = self._decoder.decode(packet)
        except (av.FFmpegError, ValueError, MemoryError):
            self._damaged(packet.pts)
            return None
        picture = None
        for frame in frames:
            frame_taken = taken
            if frame.pts is not None:
                frame_taken = self._taken.get(frame.pts, taken)
                self._taken = {pts: when for pts, when in self._taken.items() if pts > frame.pts}
                is_whole, never = self._slices.end(frame.pts, frame.interlaced_frame)
                for older in never:
                    self._damaged(older)
                frame_taken = frame_taken if is_whole else None
            if frame.is_corrupt or frame_taken is None:
                self._damaged(frame.pts)
                continue
            self.size = (frame.width, frame.height)
            picture = Picture(partial(pixels, frame), *frame_taken)
        return picture

    def _give_up(self) -> None:
        """Let the decoder drop a picture that is not whole: no more comes of it."""
        self._decoder.flags2 &= ~Flags2.chunks
        with suppress(av.FFmpegError):  # "no frame", of course
            self._decoder.decode(av.Packet(_NO_PICTURE))
        self._decoder.flags2 |= Flags2.chunks

    def _damaged(self, pts: int | None) -> None:
        """Count a picture as incomplete, once, in however many parts it comes."""
        if pts is None or pts != self._counted:
            self._incomplete()
        self._counted = pts
        if pts in self._taken:
            self._taken[pts] = None

    def _jpeg(self, packet: "av.Packet[Any]", taken: tuple[int, bool]) -> Picture | None:
        try:
            if not packet.is_corrupt:
                return Picture(whole(bytes(packet)), *taken)
        except StreamerError:
            pass
        self._incomplete()
        return None

    def _when(self, packet: "av.Packet[Any]", arrival: Arrival) -> tuple[int, bool]:
        """When what a packet belongs to was taken, and whether the camera says so."""
        if packet.pts is None or not packet.time_base or not self._counts_time:
            self.clock = "arrival"
            return arrival.since_1970_ns, False
        said_ns = None
        if packet.has_sidedata("prft"):  # by the camera's reports (RTCP); microseconds, then flags
            said_ns = 1000 * struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))[0]
        stream_ns = round(packet.pts * packet.time_base * 1_000_000_000)
        taken = self._device_clock.capture(stream_ns, arrival, said_ns)
        self.clock = "camera" if taken[1] else "stream" if self._device_clock.keeps_pace else "arrival"
        return taken


def pixels(frame: av.VideoFrame) -> Pixels:
    """`[H, W, 3]` uint8 BGR of what a decoder made.

    Raises:
        WireError: `undecodable`: of such a format, or so large, that nothing can be made of it.
    """
    try:
        if any(part.bits > _COMPONENT_BITS for part in frame.format.components):
            raise ValueError("its values are too wide")
        return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise WireError(
            "undecodable",
            f"frame: a picture of {frame.width} x {frame.height} pixels ({frame.format.name}) cannot be "
            f"turned into BGR ({error or type(error).__name__}); set the camera to H.264 or JPEG",
        ) from None
