"""A camera of this machine, `camera:0`, through OpenCV."""

import time
from collections.abc import Mapping

import cv2
import numpy as np

from streamer.sources.device import Device, Picture, SourceLost

_STAMP_NS = 5_000_000_000
"""A driver's stamp that is older, or younger than now, is none."""


class UsbCamera(Device):
    """`camera:INDEX`; the driver's stamp is the time of capture where it gives one (V4L2)."""

    def __init__(self, index: int) -> None:
        self.name, self._index = f"camera:{index}", index
        self._capture: cv2.VideoCapture | None = None
        self._size = (0, 0)

    def open(self) -> None:
        """See `Device.open`."""
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # one line a try, else
        try:
            self._capture = cv2.VideoCapture(self._index)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self._capture.isOpened():
            raise SourceLost(f"source: {self.name} is not there, or another program has it")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def read(self, timeout_s: float) -> Picture | None:
        """See `Device.read`; waits for the driver, which gives up after some 10 s."""
        assert self._capture is not None  # noqa: S101 - open comes first
        there, frame = self._capture.read()
        if not there:
            raise SourceLost(f"source: {self.name} gives no more pictures; is it unplugged?")
        capture_ns, exact = self._taken(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        self._size = (frame.shape[1], frame.shape[0])
        return Picture(np.asarray(frame, np.uint8), capture_ns, exact)

    def close(self) -> None:
        """See `Device.close`."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def facts(self) -> Mapping[str, int | float | str]:
        """See `Device.facts`."""
        width, height = self._size
        return {"width": width, "height": height} if width else {}

    def _taken(self, stamp_ms: float) -> tuple[int, bool]:
        """V4L2 stamps by the clock that `time.monotonic` reads."""
        now = time.time_ns()
        age_ns = time.monotonic_ns() - round(1e6 * stamp_ms)
        return (now - age_ns, True) if stamp_ms > 0 and 0 <= age_ns < _STAMP_NS else (now, False)
