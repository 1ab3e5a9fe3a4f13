"""A camera on the network, `rtsp://` or `http://`, through libav (PyAV), with nothing buffered on the way."""

import errno
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av
import av.container
import numpy as np
from av.codec.context import Flags, Flags2
from av.error import HTTPForbiddenError, HTTPUnauthorizedError

from streamer.errors import StreamerError
from streamer.images.jpeg import whole
from streamer.sources.address import host_of, shown, without_secrets
from streamer.sources.clock import DeviceClock
from streamer.sources.device import Device, Picture, SourceLost

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "srt", "tcp")
_ENCRYPTED = ("rtsps", "https")
_REFUSED_S = 60.0
"""Cameras shut out who comes with a wrong password again and again."""
_WAITED_S, _CATCH_UP_S = 0.005, 2.0
"""A packet that had to be waited for so long is fresh; after so long they are taken for fresh anyway."""
_WHOLE = frozenset({("rtsp", "h264"), ("rtsp", "mjpeg"), ("mpjpeg", "mjpeg")})
"""Containers and codecs whose packets need not be put together: libav's parser waits for the next one."""
_COUNTS_NOTHING = frozenset({"mpjpeg"})
"""Containers that have no time: libav numbers the pictures."""


@dataclass(eq=False)
class _Opened:
    container: av.container.InputContainer
    packets: "Iterator[av.Packet[av.VideoStream]]"
    decoder: av.VideoCodecContext
    opened: float = field(default_factory=time.monotonic)
    is_fresh: bool = False
    taken: dict[int, tuple[int, bool]] = field(default_factory=dict)


class NetworkStream(Device):
    """The video of a URL. A JPEG is handed on as the camera made it; all else is decoded.

    The time of capture is the camera's, by its RTCP sender reports, where it sends them and its clock is
    right (`DeviceClock`); else it is told by the stream's own time and the quickest arrival; of JPEG over
    HTTP, which has no time, it is the moment of arrival.

    Args:
        url: with user and password where the camera asks for them.
        silent_s: a peer that is silent for so long is lost.
        ca: certificates (PEM) that an encrypted camera's must be signed by; None takes any.

    Raises:
        StreamerError: no such address, or no such certificates.
    """

    def __init__(self, url: str, silent_s: float = 5.0, ca: Path | None = None) -> None:
        self.name, self._url, self._silent_s, self._ca = shown(url), url, silent_s, ca
        scheme = url.partition("://")[0].lower()
        self._host = host_of(url)
        if scheme not in SCHEMES or not self._host.name:
            raise StreamerError(
                f"source: {self.name} is no address of a camera; expected rtsp://HOST/PATH or "
                f"http://HOST/PATH ({', '.join(SCHEMES)})"
            )
        if ca is not None and not ca.is_file():
            raise StreamerError(f"--camera-ca: {ca} is not there; expected a file of certificates (PEM)")
        if ca is not None and scheme not in _ENCRYPTED:
            raise StreamerError(
                f"--camera-ca: got {ca} with {self.name}, which is not encrypted; expected "
                f"{' or '.join(f'{name}://...' for name in _ENCRYPTED)}, or leave --camera-ca out"
            )
        self._is_rtsp = scheme in {"rtsp", "rtsps"}
        self._parsed = False
        self._now: _Opened | None = None
        self._facts: dict[str, int | float | str] = {"frames_incomplete": 0}
        self._by_reports, self._by_stream = DeviceClock(), DeviceClock()

    def open(self) -> None:
        """See `Device.open`."""
        try:
            opened = self._opened()
            if not self._parsed and self._kind(opened) not in _WHOLE:
                opened.container.close()
                self._parsed = True
                opened = self._opened()
        except av.FFmpegError as error:
            raise self._lost("cannot be opened", error, self._hint(error)) from None
        self._now = opened
        self._by_reports, self._by_stream = DeviceClock(), DeviceClock()

    def read(self, timeout_s: float) -> Picture | None:
        """See `Device.read`; returns after `silent_s` at the latest."""
        assert self._now is not None  # noqa: S101 - open comes first
        now, end = self._now, time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            try:
                packet = next(now.packets)
            except StopIteration:
                raise SourceLost(f"source: {self.name} has ended") from None
            except av.FFmpegError as error:
                raise self._lost("gives no more pictures", error) from None
            arrived_ns, arrived = time.time_ns(), time.monotonic()
            picture = self._picture(now, packet, arrived_ns)
            # What was buffered while the stream was looked at has long arrived.
            now.is_fresh |= arrived - asked >= _WAITED_S or arrived - now.opened >= _CATCH_UP_S
            if picture is not None and now.is_fresh:
                return picture
            if time.monotonic() >= end:
                return None

    def close(self) -> None:
        """See `Device.close`."""
        opened, self._now = self._now, None
        if opened is not None:
            opened.container.close()

    def facts(self) -> Mapping[str, int | float | str]:
        """See `Device.facts`; `clock` says what the time of capture is by: camera, stream or arrival."""
        return dict(self._facts)

    def _opened(self) -> _Opened:
        # Of what is needed to decode, RTSP tells beforehand, and the stream itself by and by.
        options = {"probesize": "32", "fpsprobesize": "0"}
        if not self._parsed:
            options["fflags"] = "noparse"
        patience = str(round(1e6 * self._silent_s))
        if self._is_rtsp:
            options |= {"rtsp_transport": "tcp", "allowed_media_types": "video", "timeout": patience}
        else:
            options |= {"rw_timeout": patience}
        if self._ca is not None:
            options |= {"tls_verify": "1", "ca_file": str(self._ca)}
        container = av.open(self._url, options=options, timeout=self._silent_s)
        try:
            if not container.streams.video:
                raise SourceLost(f"source: {self.name} has no video")
            stream = container.streams.video[0]
            decoder = stream.codec_context
            decoder.flags |= Flags.low_delay
            decoder.thread_type = "SLICE"  # threads that take a frame each hold as many back
            if not self._parsed:
                decoder.flags2 |= Flags2.chunks
            return _Opened(container, container.demux(stream), decoder)
        except BaseException:
            container.close()
            raise

    def _kind(self, opened: _Opened) -> tuple[str, str]:
        return opened.container.format.name, opened.decoder.name

    def _picture(self, now: _Opened, packet: "av.Packet[av.VideoStream]", arrived_ns: int) -> Picture | None:
        if packet.size == 0:  # the end: libav asks for what the decoder still holds
            return None
        capture_ns, exact = self._taken(now, packet, arrived_ns)
        if now.decoder.name == "mjpeg":
            return self._jpeg(packet, capture_ns, exact)
        if packet.pts is not None:
            now.taken[packet.pts] = (capture_ns, exact)
        try:
            frames = now.decoder.decode(packet)
        except av.FFmpegError:
            self._count("frames_incomplete")
            return None
        picture = None
        for frame in frames:
            if frame.is_corrupt:
                self._count("frames_incomplete")
                continue
            if frame.pts is not None:
                capture_ns, exact = now.taken.get(frame.pts, (capture_ns, exact))
                now.taken = {pts: taken for pts, taken in now.taken.items() if pts > frame.pts}
            pixels = frame.to_ndarray(format="bgr24")
            self._facts |= {"width": frame.width, "height": frame.height}
            picture = Picture(np.asarray(pixels, np.uint8), capture_ns, exact)
        return picture

    def _jpeg(self, packet: "av.Packet[av.VideoStream]", capture_ns: int, exact: bool) -> Picture | None:
        content = bytes(packet)
        try:
            content = whole(content)
        except StreamerError:
            self._count("frames_incomplete")
            return None
        return Picture(content, capture_ns, exact)

    def _taken(self, now: _Opened, packet: "av.Packet[av.VideoStream]", arrived_ns: int) -> tuple[int, bool]:
        if packet.has_sidedata("prft"):
            since_1970_us = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))[0]
            taken = self._by_reports.capture(1000 * since_1970_us, arrived_ns, since_1970=True)
            self._facts["clock"] = "camera" if taken[1] else "stream"
            return taken
        if packet.pts is None or now.container.format.name in _COUNTS_NOTHING:
            self._facts["clock"] = "arrival"
            return arrived_ns, False
        self._facts["clock"] = "stream"
        stream_ns = round(packet.pts * packet.time_base * 1_000_000_000)
        return self._by_stream.capture(stream_ns, arrived_ns, since_1970=False)

    def _count(self, name: str) -> None:
        self._facts[name] = int(self._facts.get(name, 0)) + 1

    def _hint(self, error: av.FFmpegError) -> str:
        """What libav means by an error of input or output, which it says to its log alone."""
        if error.errno != errno.EIO:
            return ""
        try:
            if self._host.may_be_asked:
                socket.getaddrinfo(self._host.name, None)
        except OSError as why:
            return f"; the name {self._host.name} is not found: {why.strerror}"
        return "" if self._ca is None else f"; is its certificate signed by one of {self._ca}?"

    def _lost(self, what: str, error: av.FFmpegError, hint: str = "") -> SourceLost:
        if isinstance(error, HTTPUnauthorizedError | HTTPForbiddenError):
            why, wait_s = "it refuses our user or password", _REFUSED_S
        elif isinstance(error, av.error.ExitError | av.error.TimeoutError):
            why, wait_s = f"silent for {self._silent_s:g} s", 0.0
        else:
            why, wait_s = without_secrets(error.strerror or type(error).__name__, self._url) + hint, 0.0
        return SourceLost(f"source: {self.name} {what} ({why})", wait_s)
