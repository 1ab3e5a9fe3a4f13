"""What a camera is to `streamer.sources.live`: opened, read picture by picture, closed, and opened again."""

from collections.abc import Mapping
from dataclasses import dataclass
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
        frame: `[H, W, 3]` uint8 BGR, or `[H, W]` grey uint8 or uint16; or the bytes of a JPEG as the camera
            made it, which is sent unchanged.
        capture_ns: when it was taken, in nanoseconds since 1970 by this machine's clock.
        exact: whether the camera or its driver says so; else `capture_ns` is no earlier than the truth: the
            moment of arrival, or of the quickest arrival lately where the camera counts time but not from
            1970.
        bit_depth: the bits in use of uint16; `auto` leaves it to the detector's configuration.
        triggered: a line asked for it, so it shows a part and no other picture does: it is as wanted after
            a while, and after the camera is lost.
    """

    frame: Pixels | bytes
    capture_ns: int
    exact: bool = False
    bit_depth: BitDepth = "auto"
    triggered: bool = False


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
            StreamerError: can never be opened: an address, an option, a missing package.
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
