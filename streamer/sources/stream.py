"""A camera on the network, `rtsp://` or `http://`, through libav (PyAV), with nothing buffered on the way."""

import errno
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.container
from av.error import HTTPForbiddenError, HTTPUnauthorizedError, ProtocolNotFoundError

from streamer.errors import StreamerError
from streamer.sources.address import host_of, shown, without_secrets
from streamer.sources.clock import Arrival, DeviceClock
from streamer.sources.decoding import Decoding
from streamer.sources.device import Device, Picture, SourceLost

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp")
_ENCRYPTED = ("rtsps", "https")
_REFUSED_S = 60.0
"""Cameras shut out who comes with a wrong password again and again."""
_ONE_PICTURE_S = 60.0
"""An address that gives one picture will not give more soon."""
_WAITED_S, _CATCH_UP_S = 0.005, 2.0
"""A packet that had to be waited for so long is fresh; after so long they are taken for fresh anyway."""
_PICTURE_FILES = frozenset({"jpeg_pipe", "png_pipe", "mjpeg", "image2", "webp_pipe", "bmp_pipe"})
"""libav's names of pictures, one or one behind the other."""
_WHOLE = frozenset({("rtsp", "h264"), ("rtsp", "mjpeg"), ("mpjpeg", "mjpeg")})
"""Containers and codecs whose packets need not be put together: libav's parser waits for the next one."""


@dataclass(eq=False)
class _Opened:
    container: av.container.InputContainer
    packets: "Iterator[av.Packet[Any]]"
    index: int
    decoding: Decoding
    kind: tuple[str, str]
    opened: float = field(default_factory=time.monotonic)
    is_fresh: bool = False
    packets_read: int = 0


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
        self._parsed = self._was_open = False
        self._clock = DeviceClock()
        self._now: _Opened | None = None
        self._last: Decoding | None = None
        self._counts = {"frames_incomplete": 0, "times_exact": 0}

    def open(self) -> None:
        """See `Device.open`."""
        self._find()
        try:
            opened = self._opened()
            is_parsed = opened.kind not in _WHOLE  # whoever sets a camera to another codec may do so any time
            if self._parsed != is_parsed:
                opened.container.close()
                self._parsed = is_parsed
                opened = self._opened()
        except ProtocolNotFoundError as error:
            if self._was_open:
                raise self._lost("cannot be opened", error) from None
            raise StreamerError(
                f"source: {self.name} cannot be read by this PyAV, whose libav has no such protocol; "
                "take the camera's rtsp:// or http:// address"
            ) from None
        except (av.FFmpegError, ValueError, MemoryError) as error:
            raise self._lost("cannot be opened", error) from None
        self._now, self._last, self._was_open = opened, opened.decoding, True

    def read(self, timeout_s: float) -> Picture | None:
        """See `Device.read`; returns after `silent_s` at the latest."""
        assert self._now is not None  # noqa: S101 - open comes first
        now, end = self._now, time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            try:
                packet = next(now.packets)
            except StopIteration:
                raise self._ended(now) from None
            except (av.FFmpegError, ValueError, MemoryError) as error:
                raise self._lost("gives no more pictures", error) from None
            arrival, arrived = Arrival.now(), time.monotonic()
            now.packets_read += packet.size > 0
            # Sound goes on where the video has stopped: libav waits for a packet of any kind.
            picture = now.decoding.picture(packet, arrival) if packet.stream_index == now.index else None
            # What was buffered while the stream was looked at has long arrived.
            now.is_fresh |= arrived - asked >= _WAITED_S or arrived - now.opened >= _CATCH_UP_S
            if picture is not None and now.is_fresh:
                self._counts["times_exact"] += picture.exact
                return picture
            if time.monotonic() >= end:
                return None

    def close(self) -> None:
        """See `Device.close`."""
        opened, self._now = self._now, None
        if opened is not None:
            opened.container.close()

    def facts(self) -> Mapping[str, int | float | str]:
        """See `Device.facts`.

        `clock` says what the time of capture is by now: `camera`, `stream` or `arrival`; `times_exact` counts
        the pictures whose time was the camera's word.
        """
        facts: dict[str, int | float | str] = {**self._counts}
        if (last := self._last) is not None:
            width, height = last.size
            facts |= {"width": width, "height": height} if width else {}
            facts |= {"clock": last.clock} if last.clock else {}
        return facts

    def _find(self) -> None:
        """Look for the camera's name, since libav does not say that it is this which is wrong."""
        if not self._host.may_be_asked:
            return
        try:
            socket.getaddrinfo(self._host.name, None)
        except (OSError, UnicodeError) as why:
            reason = why.strerror if isinstance(why, OSError) else "it is no name"
            raise SourceLost(
                f"source: {self.name} cannot be opened (the name {self._host.name} is not found: {reason})"
            ) from None

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
        # Titles are in whatever letters the camera's maker has.
        container = av.open(self._url, options=options, timeout=self._silent_s, metadata_errors="replace")
        try:
            if not container.streams.video:
                raise SourceLost(f"source: {self.name} has no video")
            stream = container.streams.video[0]
            decoder = stream.codec_context
            if decoder is None:
                raise SourceLost(
                    f"source: {self.name} has video of a kind that libav cannot decode; set the camera to "
                    "H.264 or JPEG"
                )
            name = container.format.name
            self._clock.connected()
            decoding = Decoding(decoder, name, self._clock, not self._parsed, self._incomplete)
            return _Opened(container, container.demux(), stream.index, decoding, (name, decoder.name))
        except BaseException:
            container.close()
            raise

    def _incomplete(self) -> None:
        self._counts["frames_incomplete"] += 1

    def _ended(self, now: _Opened) -> SourceLost:
        if now.kind[0] in _PICTURE_FILES and now.packets_read <= 1:
            return SourceLost(
                f"source: {self.name} is one picture, not a video; take the camera's rtsp:// address, or "
                "that of its JPEG stream (multipart/x-mixed-replace)",
                _ONE_PICTURE_S,
            )
        return SourceLost(f"source: {self.name} has ended")

    def _lost(self, what: str, error: Exception) -> SourceLost:
        if isinstance(error, HTTPUnauthorizedError | HTTPForbiddenError):
            return SourceLost(f"source: {self.name} {what} (it refuses our user or password)", _REFUSED_S)
        if isinstance(error, av.error.ExitError | av.error.TimeoutError):
            why = f"silent for {self._silent_s:g} s"
        else:
            why = without_secrets(getattr(error, "strerror", "") or type(error).__name__, self._url)
        # libav says to its log alone what an error of input or output is.
        if self._ca is not None and getattr(error, "errno", None) == errno.EIO:
            why += f"; is its certificate signed by one of {self._ca}?"
        return SourceLost(f"source: {self.name} {what} ({why})")
