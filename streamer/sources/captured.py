"""What a source gives: frames with their ids, and what is to be known of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streamer import images
from streamer.errors import FrameId
from streamer.images.oddities import Oddities
from streamer.sources.live import LiveReader
from streamer.wire.checks import BitDepth

Frames = Iterator[tuple[FrameId | None, images.Frame | bytes]]
"""Frame id (None: by capture time) with pixels `[H, W, 3]` uint8 BGR or the bytes of a JPEG or PNG file."""

Skipped = Callable[[str, str], None]
"""Told of an image that is left out: its id, and why."""


@dataclass(frozen=True, eq=False)
class Captured:
    """The frames of a source, to be gone through once.

    `bit_depth` is what a PNG of more than 8 bits is to be sent with. `oddities` collects what is odd about
    the files that are decoded here; those that travel as they are the detector looks at. `live` is the
    reader of a camera, whose pictures have a time of capture that `frames` does not tell; it is not started.
    """

    frames: Frames
    bit_depth: BitDepth = "auto"
    oddities: Oddities = field(default_factory=Oddities)
    live: LiveReader | None = None

    def __iter__(self) -> Frames:
        return self.frames

    def __next__(self) -> tuple[FrameId | None, images.Frame | bytes]:
        return next(self.frames)


def rounds(*, loop: bool) -> Iterator[int]:
    """Numbers of the rounds through a source: 0, and all others with `loop`."""
    yield 0
    number = 1
    while loop:
        yield number
        number += 1


def mark(number: int) -> str:
    """What a round adds to the ids of its frames: nothing in the first one."""
    return f"#{number}" if number else ""
