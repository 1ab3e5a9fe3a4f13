"""Frames for the page's load: drawn parts, no two the same picture, at a steady rate."""

import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from bench import demo_data
from bench.demo_data.defects import DEFECTS
from streamer.errors import StreamerError
from streamer.publish import Publisher

_PARTS = 24
_PATIENCE_S = 60.0
DEFECT_EVERY = 20
"""One part in so many has a defect, as on a line that does badly."""


def frame_id(number: int) -> str:
    """Of the frame of that number."""
    return f"part-{number:06d}"


def frames(size: int, seed: int = 0) -> Iterator[tuple[bytes, str]]:
    """Endless JPEG files of `size` x `size` pixels, and the name of the defect of each (`good`).

    A few parts are drawn once and then moved and lit anew for every frame: drawing takes longer than scoring.
    """
    rng = np.random.default_rng(seed)
    good = [demo_data.draw(seed, index, size=size)[0] for index in range(_PARTS)]
    bad = [
        (name, demo_data.draw(seed, _PARTS + number, name, size)[0])
        for number, name in enumerate(sorted(DEFECTS))
    ]
    number = 0
    while True:
        number += 1
        name, part = "good", good[int(rng.integers(len(good)))]
        if number % DEFECT_EVERY == 0:
            name, part = bad[number // DEFECT_EVERY % len(bad)]
        yield _taken(part, rng), name


def _taken(part: demo_data.Frame, rng: np.random.Generator) -> bytes:
    shift = np.array([[1, 0, rng.uniform(-2, 2)], [0, 1, rng.uniform(-2, 2)]])
    moved = cv2.warpAffine(part, shift, part.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    lit = cv2.convertScaleAbs(moved, alpha=rng.uniform(0.97, 1.03))
    return cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


class Camera(threading.Thread):
    """Sends frames at a rate until their number is reached or it is stopped; a context manager.

    Args:
        endpoint: the detector's port of frames.
        stream: its name.
        fps: frames a second.
        count: how many in all; None goes on until stopped.
        first: number of the first; ids are `part-` and a number.
        size: side of a frame, pixels.

    Attributes:
        sent: frames so far.
        error: why it ended early.
    """

    def __init__(
        self, endpoint: str, stream: str, fps: float, count: int | None, *, first: int = 0, size: int = 256
    ) -> None:
        super().__init__(name="camera", daemon=True)
        self.sent = 0
        self.error: StreamerError | None = None
        self._publisher = Publisher(endpoint, stream, wait_s=_PATIENCE_S, linger_s=_PATIENCE_S)
        self._fps, self._count, self._first = fps, count, first
        self._frames = frames(size, seed=first)
        self._payload = next(self._frames)  # drawn before the clock runs
        self._stopping = threading.Event()

    def __enter__(self) -> "Camera":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()
        self._publisher.close()

    def run(self) -> None:
        """Send."""
        began = time.monotonic()
        try:
            while self.sent != self._count:
                if self._stopping.wait(max(0.0, began + self.sent / self._fps - time.monotonic())):
                    return
                payload, name = self._payload
                number = self._first + self.sent
                meta = {"part_id": f"{8000 + number}", "product_id": "flange", "drawn": name}
                self._publisher.send(payload, frame_id(number), meta, timeout_s=_PATIENCE_S)
                self.sent += 1
                self._payload = next(self._frames)
        except StreamerError as error:
            self.error = error
