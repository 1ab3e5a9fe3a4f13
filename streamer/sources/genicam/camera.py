"""`GenicamCamera`: a camera of GigE Vision or USB3 Vision as a `Device`: opened, read, lost and found."""

import threading
from collections import Counter
from collections.abc import Mapping

from streamer.sources.device import Picture, SourceLost
from streamer.sources.genicam.aravis import library
from streamer.sources.genicam.configure import configure
from streamer.sources.genicam.finding import open_camera
from streamer.sources.genicam.settings import PREFIX, parse
from streamer.sources.genicam.streaming import Streaming


class GenicamCamera:
    """A `Device` of `genicam:NAME?KEY=VALUE`.

    A picture's time is when its first packet reached this machine: exposure and read-out lie before it.

    Args:
        source: the address, see `settings.parse`.
        lost_after_s: a camera that gives no picture for so long, beyond its own interval, is lost.

    Raises:
        StreamerError: the address cannot be used, or Aravis is not installed.
    """

    may_be_silent = True
    """It says itself when silence is a loss: it knows its interval, and whether a line triggers it."""

    def __init__(self, source: str, lost_after_s: float = 5.0) -> None:
        self._settings, self._lost_after_s = parse(source), lost_after_s
        self._aravis = library()
        self.name = f"{PREFIX}{self._settings.name}"
        self._streaming: Streaming | None = None
        self._id = ""
        self._lock = threading.Lock()  # of who asks for facts, and who closes
        self._before: Counter[str] = Counter()
        self._facts: dict[str, int | float | str] = {}

    def open(self) -> None:
        """Find, set and start the camera.

        Raises:
            SourceLost: it does not answer, or another program has it.
            StreamerError: several are meant, or it cannot be set so.
        """
        # The only camera there was when it was first found stays the one that is meant.
        camera, self._id = open_camera(self._aravis, self._settings.name or self._id)
        try:
            configured = configure(self._aravis, camera, self._settings)
        except BaseException:
            self._aravis.release(camera)
            raise
        streaming = Streaming(self._aravis, camera, configured, self._settings.name, self._lost_after_s)
        with self._lock:
            self._streaming = streaming
            self._facts = {
                "camera": self._id,
                "pixel_format": configured.pixel_format.name,
                "width": configured.width,
                "height": configured.height,
                "trigger": configured.trigger,
                "clock": "arrival",
            }

    def read(self, timeout_s: float) -> Picture | None:
        """The newest picture: `[H, W]` uint8 or uint16 of Mono, else `[H, W, 3]` uint8 BGR.

        Raises:
            SourceLost: the camera is gone, or was not opened.
            StreamerError: its pictures cannot be used.
        """
        if self._streaming is None:
            raise SourceLost(f"source: {self.name}: is not open")
        return self._streaming.read(timeout_s)

    def close(self) -> None:
        """Let go of the camera; one that is open no more has nothing to let go of."""
        with self._lock:
            streaming, self._streaming = self._streaming, None
            if streaming is not None:
                self._before.update(streaming.counts())
        if streaming is not None:
            streaming.close()

    def facts(self) -> Mapping[str, int | float | str]:
        """How the camera is set, and since the first opening: packets lost and resent, frames incomplete and
        missing, frames that a newer one overtook here, and underruns (a frame came, and no buffer was free).
        """
        with self._lock:
            counts = Counter(self._before)
            if self._streaming is not None:
                counts.update(self._streaming.counts())
            return {**self._facts, **counts}
