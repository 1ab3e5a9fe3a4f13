"""What every engine does to a waiting frame before the backbone; what is odd about it comes back as data."""

from dataclasses import dataclass, field
from time import perf_counter_ns

from musc_online.config import Config
from musc_online.errors import FrameError
from streamer.errors import WireError
from streamer.images import Decoded, Frame, Warned
from streamer.server import pictures
from streamer.wire.frame import Limits


@dataclass(eq=False, kw_only=True)
class Laps:
    """How long each phase of a frame took, in milliseconds; phases follow each other without a gap."""

    latency_ms: dict[str, float] = field(default_factory=dict)
    since_ns: int = field(default_factory=perf_counter_ns)

    def lap(self, phase: str) -> None:
        """Record the time since the last lap."""
        now = perf_counter_ns()
        self.latency_ms[phase] = self.latency_ms.get(phase, 0.0) + (now - self.since_ns) / 1e6
        self.since_ns = now


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known of a frame's pixels beside the backbone's inputs.

    `frame` is `[H, W, 3]` uint8 BGR, `shape` its (H, W). `picture` is None where its stream sends none, and
    where none could be made; then `warnings` say so, behind those of the decoder.
    """

    frame: Frame
    shape: tuple[int, int]
    contrast: float
    picture: pictures.Picture | None
    warnings: tuple[Warned, ...]


def look(decoded: Decoded, config: Config) -> Seen:
    """Contrast, warnings and the small picture of a decoded frame.

    Args:
        decoded: its pixels, and what is odd about them.
        config: of its stream.
    """
    # What only says where a backbone is to be loaded imports this before there is time for that.
    from musc_online.events import contrast_of  # noqa: PLC0415

    frame = decoded.frame
    picture, failed = _picture(frame, config)
    shape = (frame.shape[0], frame.shape[1])
    return Seen(frame, shape, contrast_of(frame), picture, (*decoded.warnings, *failed))


def refusal(error: Exception, code: str) -> tuple[str, str]:
    """Code and text under which a frame is refused that an exception was raised for.

    Args:
        error: a `WireError` says its own code, a `FrameError` is `bad_frame`.
        code: of any other, whose type is named.
    """
    if isinstance(error, WireError):
        return error.code, error.text
    if isinstance(error, FrameError):
        return "bad_frame", str(error)
    return code, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def wire_limits(config: Config) -> Limits:
    """The limits of the configuration as `streamer.wire.frame` takes them."""
    limits = config.limits
    return Limits(
        int(limits.header_bytes), int(limits.payload_bytes), limits.width, limits.height, limits.pixels
    )


def _picture(frame: Frame, config: Config) -> tuple[pictures.Picture | None, tuple[Warned, ...]]:
    """A frame's picture where its stream sends such, and a warning where none could be made."""
    wanted = config.output.picture
    if wanted.of == "none":
        return None, ()
    try:
        return pictures.make(frame, wanted), ()
    except WireError as error:
        return None, ((error.code, error.text),)
