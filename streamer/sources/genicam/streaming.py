"""The pictures of a camera that is set: its buffers, the newest of those that came, and what was lost."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from streamer.errors import StreamerError
from streamer.sources.device import Picture, SourceLost
from streamer.sources.genicam.aravis import Library
from streamer.sources.genicam.configure import Configured, asked
from streamer.sources.genicam.finding import controlled
from streamer.sources.genicam.pixels import FORMATS, format_of, to_pixels
from streamer.sources.genicam.settings import PREFIX
from streamer.wire.checks import BitDepth

_LARGEST = 1 << 30
# Bytes of one picture.
_BUFFER_BYTES, _FEWEST, _MOST = 1 << 28, 3, 16
_SLICE_S = 0.1
# Waited at a time: a camera that is gone does not wake who waits for its picture.
_AGAIN_S = 2.0
# After which a software trigger whose picture does not come is given again.
_HEARTBEAT_S = 2.0
# On top of what is silence: Aravis sees after some 6 s that a camera is gone, and one that is known to be
# gone is let go of in 5 s rather than 13.
_SUCCESS = 0
# Of ArvBufferStatus; the others say what is wrong.
_PICTURES = frozenset({0x1, 0x5, 0xA})
# Of ArvBufferPayloadType: a picture, one with chunks of data behind it, one in parts.

COUNTS = {
    "packets_lost": ("n_missing_packets",),
    "packets_resent": ("n_resent_packets",),
    "frames_missing": ("n_missing_frames",),
    "underruns": ("n_underruns",),
}
"""Facts, and which of Aravis's figures they are; GigE Vision counts more than USB3 Vision."""


class Streaming:
    """A camera that has been started; `close` stops it.

    Args:
        aravis: the library.
        camera: opened and set; it is closed with this.
        configured: how it is set.
        name: of the source, for its errors.
        lost_after_s: a camera that no line triggers and that gives no whole picture for so long, beyond its
            own interval, is lost.

    Raises:
        SourceLost: it does not answer any more.
        StreamerError: it cannot give pictures.
    """

    def __init__(
        self, aravis: Library, camera: Any, configured: Configured, name: str, lost_after_s: float
    ) -> None:
        self.configured, self.incomplete, self.overtaken = configured, 0, 0
        self._silent_s = lost_after_s + configured.interval_s + _HEARTBEAT_S
        self._aravis, self._camera, self._name = aravis, camera, name
        self._lost = threading.Event()
        self._asked_at, self._due, self._last = -1.0, 0.0, time.monotonic()
        self._device = aravis.lib.arv_camera_get_device(camera)
        self._handler = aravis.handler(self._lost.set)
        self._signal = aravis.lib.g_signal_connect_data(
            self._device, b"control-lost", self._handler, aravis.ffi.NULL, aravis.ffi.NULL, 0
        )
        self._stream: Any = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        aravis, null = self._aravis, self._aravis.ffi.NULL
        with asked(self._name, "its stream"):
            n_bytes = aravis.call("arv_camera_get_payload", self._camera)
            if not 0 < n_bytes <= _LARGEST:
                raise StreamerError(
                    f"source: {PREFIX}{self._name}: a picture has {n_bytes} bytes, expected 1 to {_LARGEST}; "
                    "choose a smaller region"
                )
            stream = aravis.call("arv_camera_create_stream", self._camera, null, null)
            self._stream = aravis.owned(stream)
            for _ in range(max(_FEWEST, min(_MOST, _BUFFER_BYTES // n_bytes))):
                # The stream owns it from now on.
                aravis.lib.arv_stream_push_buffer(stream, aravis.lib.arv_buffer_new_allocate(n_bytes))
            aravis.call("arv_camera_start_acquisition", self._camera)
        if not controlled(aravis, self._camera):  # lost before there was somebody to tell
            raise SourceLost(f"source: {PREFIX}{self._name}: the camera was lost while it was set")

    def read(self, timeout_s: float) -> Picture | None:
        """The newest picture that has come; None where none comes in time.

        Raises:
            SourceLost: the camera is gone, or belongs to another program.
            StreamerError: its pictures cannot be used.
        """
        end = time.monotonic() + timeout_s
        while True:
            if self._lost.is_set():
                raise SourceLost(f"source: {PREFIX}{self._name}: the camera does not answer any more")
            self._trigger()
            left_s = max(0.0, min(_SLICE_S, end - time.monotonic()))
            buffer = self._aravis.lib.arv_stream_timeout_pop_buffer(self._stream, int(1e6 * left_s))
            if buffer != self._aravis.ffi.NULL and (picture := self._used(buffer)) is not None:
                self._last = time.monotonic()
                return picture
            if (now := time.monotonic()) - self._last >= self._silent_s:
                raise SourceLost(
                    f"source: {PREFIX}{self._name}: gives no whole picture for {self._silent_s:.1f} s "
                    f"({self.incomplete} incomplete so far)"
                )
            if now >= end:
                return None

    def _trigger(self) -> None:
        """Ask for the next picture, where software does: one at a time, at the rate that was asked for."""
        now = time.monotonic()
        if self.configured.trigger != "Software" or now < self._due:
            return
        if self._asked_at >= 0 and now < self._asked_at + _AGAIN_S + self.configured.exposure_s:
            return
        with asked(self._name, "software trigger"):
            self._aravis.call("arv_camera_software_trigger", self._camera)
        self._asked_at = now
        pause_s = self.configured.interval_s - self.configured.exposure_s
        self._due = max(self._due, now - pause_s) + pause_s

    def _used(self, buffer: Any) -> Picture | None:
        """The newest of the pictures that wait, of which the first is given; None: all are incomplete."""
        lib, newest = self._aravis.lib, None
        while buffer != self._aravis.ffi.NULL:
            self._asked_at = -1.0
            if lib.arv_buffer_get_status(buffer) == _SUCCESS:
                if newest is not None:
                    self.overtaken += 1
                    lib.arv_stream_push_buffer(self._stream, newest)
                newest = buffer
            else:
                self.incomplete += 1
                lib.arv_stream_push_buffer(self._stream, buffer)
            buffer = lib.arv_stream_try_pop_buffer(self._stream)
        if newest is None:
            return None
        try:
            return self._picture(newest)
        finally:
            lib.arv_stream_push_buffer(self._stream, newest)

    def _picture(self, buffer: Any) -> Picture | None:
        lib, ffi = self._aravis.lib, self._aravis.ffi
        kind = lib.arv_buffer_get_payload_type(buffer)
        if kind not in _PICTURES:
            raise StreamerError(f"source: {PREFIX}{self._name}: sends payload type {kind}, expected pictures")
        code = lib.arv_buffer_get_image_pixel_format(buffer) & 0xFFFFFFFF
        width, height = lib.arv_buffer_get_image_width(buffer), lib.arv_buffer_get_image_height(buffer)
        if code not in FORMATS or width < 1 or height < 1:
            self.incomplete += 1  # what a packet says that came damaged: how it is set was looked at
            return None
        size = ffi.new("size_t *")
        data = lib.arv_buffer_get_data(buffer, size)
        # What the leader's packet says of the size is checked against what came.
        pixels = np.frombuffer(ffi.buffer(data, size[0]), np.uint8)
        wanted = format_of(code)
        try:
            frame = to_pixels(pixels, wanted, width, height, self._padding(buffer))
        except StreamerError as error:
            raise StreamerError(f"source: {PREFIX}{self._name}: {error}") from None
        taken_ns = int(lib.arv_buffer_get_system_timestamp(buffer)) or time.time_ns()
        bits: BitDepth = "auto"
        if frame.dtype == np.uint16:
            bits = wanted.bits  # type: ignore[assignment]
        return Picture(frame, taken_ns, False, bits, triggered=self.configured.is_by_line)

    def _padding(self, buffer: Any) -> int:
        if not self._aravis.has("arv_buffer_get_image_padding"):
            return 0
        x, y = self._aravis.ffi.new("int *"), self._aravis.ffi.new("int *")
        self._aravis.lib.arv_buffer_get_image_padding(buffer, x, y)
        return max(0, int(x[0]))

    def counts(self) -> Mapping[str, int]:
        """What Aravis counts of this stream, by the names of `COUNTS`, and what is counted here."""
        lib, figures = self._aravis.lib, {}
        for i in range(lib.arv_stream_get_n_infos(self._stream)):
            figures[self._aravis.text(lib.arv_stream_get_info_name(self._stream, i))] = i
        told = {
            fact: sum(
                lib.arv_stream_get_info_uint64(self._stream, figures[one]) for one in of if one in figures
            )
            for fact, of in COUNTS.items()
        }
        return {**told, "frames_incomplete": self.incomplete, "frames_overtaken": self.overtaken}

    def close(self) -> None:
        """Stop the camera, as far as it still answers, and let go of it."""
        aravis = self._aravis
        if self._stream is not None:
            if not self._lost.is_set():
                with suppress(StreamerError):  # it is gone
                    aravis.call("arv_camera_stop_acquisition", self._camera)
            aravis.release(self._stream)
            self._stream = None
        aravis.lib.g_signal_handler_disconnect(self._device, self._signal)
        aravis.release(self._camera)
