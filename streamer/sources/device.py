"""What a camera is to `streamer.sources.live`: opened, read picture by picture, closed, and opened again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from streamer.errors import StreamerError
from streamer.images import Pixels
from streamer.wire.checks import BitDepth


class SourceLost(StreamerError):  # noqa: N818  (says what is; it passes)
    """A camera cannot be opened, or gives no more now; it is tried again.

    Args:
        text: without credentials.
        wait_s: how long to leave it alone, at least.
    """

    def __init__(self, text: str, wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.wait_s = wait_s


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of a camera.

    Attributes:
        made: `frame`, or what makes it: a camera gives more pictures than are looked at.
        capture_ns: when it was taken, in nanoseconds since 1970 by this machine's clock.
        exact: whether the camera or its driver says so; else `capture_ns` is late: the moment of arrival, or
            where the camera counts time, by the quickest way of late (`streamer.sources.clock`).
        bit_depth: the bits in use of uint16; `auto` leaves it to the detector's configuration.
        triggered: a line asked for it, so it shows a part and no other picture does: it is as wanted after
            a while, and after the camera is lost.
    """

    made: Pixels | bytes | Callable[[], Pixels]
    capture_ns: int
    exact: bool = False
    bit_depth: BitDepth = "auto"
    triggered: bool = False

    @cached_property
    def frame(self) -> Pixels | bytes:
        """`[H, W, 3]` uint8 BGR, or `[H, W]` grey uint8 or uint16; or the bytes of a JPEG.

        A JPEG is as the camera made it, and sent unchanged. Pixels are made at the first look.

        Raises:
            WireError: `undecodable`: no pixels can be made of it, or there is no memory for them.
        """
        return self.made() if callable(self.made) else self.made


class Device(Protocol):
    """A camera. `open`, `read` and `close` are called from one thread, `facts` from any.

    Attributes:
        name: its address as it is shown: without credentials.
        may_be_silent: it gives pictures when it is told to (a trigger): silence is no loss.
    """

    name: str
    may_be_silent: bool = False

    def open(self) -> None:
        """Connect, within some 5 s.

        Raises:
            SourceLost: not there, or not now: it is tried again.
            StreamerError: can never be opened: an address, an option, a missing package. Of a camera that
                gave a picture before, it is tried again as one that is lost, every 10 s.
        """

    def read(self, timeout_s: float) -> Picture | None:
        """The next picture; what came before it and was not read may be left out.

        Args:
            timeout_s: how long to wait for one. A device that cannot be asked so finely returns later.

        Returns:
            None where none came yet.

        Raises:
            SourceLost: it gives no more until it is opened again.
        """

    def close(self) -> None:
        """Let go of the camera; also of one that is half open, lost or closed already. Raises nothing."""

    def facts(self) -> Mapping[str, int | float | str]:
        """What is known of the camera and the way to it: `packets_lost`, `width`; counts only grow."""
        ...
