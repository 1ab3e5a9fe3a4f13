"""A camera's pictures on their way to a detector: none waits here for room, so none grows old here."""

from collections.abc import Callable, Generator

from streamer.sender import Sender
from streamer.sources.device import Picture
from streamer.sources.live import LiveReader, SourceFigures

QUEUE = 1
"""Frames that the connection keeps while the detector is busy: more would only grow old there."""
_TURN_S = 0.2


def live_pictures(
    reader: LiveReader, sender: Sender, tell: Callable[[str], None]
) -> Generator[Picture, None, None]:
    """Pictures of a camera for as long as it is not stopped, each taken once there is room for it.

    Who takes one says by `LiveReader.settle` what became of it, before the next.

    Args:
        reader: started here, and stopped at the end.
        sender: asked for room; its answers are taken while the camera gives nothing.
        tell: told, a line each, that the camera is waited for, lost, back, and at the end what it gave.

    Raises:
        StreamerError: the camera can never be opened.
    """
    said = ("", "")
    try:
        with reader:
            while True:
                picture = reader.offer(_TURN_S) if sender.has_room(_TURN_S) else None
                reader.gave_up(sender.given_up)
                figures = reader.figures()
                said = _say(figures, said, tell)
                if picture is not None:
                    yield picture
                elif figures.state == "ended":
                    reader.offer(0.0)  # raises what it failed of, also where there is no room
                    return
    finally:
        tell(_counted(reader.figures()))


def _say(figures: SourceFigures, said: tuple[str, str], tell: Callable[[str], None]) -> tuple[str, str]:
    """Tell what is new of a camera's state, and give what is said by now."""
    now = (figures.state, "" if figures.state == "live" else figures.error)
    if now in (said, ("waiting", "")):
        return said
    if figures.state == "live":
        tell(f"source: {figures.name} is live{_timed(figures)}")
    elif figures.state != "ended":
        tell(f"{figures.error}; it is waited for")
    return now


def _timed(figures: SourceFigures) -> str:
    """What the time of capture is by, where the camera's device says so."""
    clock = figures.facts.get("clock")
    return f", time of capture by {clock}" if clock else ""


def _counted(figures: SourceFigures) -> str:
    not_sent = f"{figures.not_sent} not sent, " if figures.not_sent else ""
    given_up = f"{figures.given_up} given up, " if figures.given_up else ""
    return (
        f"source: {figures.name}: {figures.read} pictures read, {figures.sent} handed on, {figures.skipped} "
        f"skipped, {figures.too_old} too old, {not_sent}{given_up}{figures.reconnects} reconnects"
    )
