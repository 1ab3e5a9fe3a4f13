"""Send all that a source gives, go on past what cannot be sent, and say what became of it."""

import re
import time
from collections.abc import Iterator
from contextlib import closing

import click

from streamer import images
from streamer.auth import ClientKeys
from streamer.errors import FrameId, NoRoom, StreamerError, WireError
from streamer.fate import TOO_OLD, Counts, Fate, by_acks
from streamer.live import live_pictures
from streamer.printable import printable
from streamer.reliable import ReliablePublisher
from streamer.sender import Sender
from streamer.sources import Captured, Frames, LiveReader, told
from streamer.sources.newest import Outcome
from streamer.sources.telling import telling

NOT_ALL_SCORED = 1
"""Exit status: all was sent, and the detector dropped or refused some of it."""


_ROUND = re.compile(r"#\d+$")
"""What later rounds of a loop add to an id."""


class LeftOut:
    """The images that `--skip-bad` goes on past; of a loop each once."""

    def __init__(self) -> None:
        self._why: dict[str, str] = {}

    def __call__(self, frame_id: str, why: str) -> None:
        """Keep an image's id, and why it is left out."""
        self._why.setdefault(_ROUND.sub("", frame_id), why)

    def tell(self) -> None:
        """Count and name them."""
        if self._why:
            warn(told([f"{frame_id} ({why})" for frame_id, why in self._why.items()]))


def send_all(
    sender: Sender,
    captured: Captured,
    fps: float | None,
    left_out: LeftOut | None,
    counts: Counts | None,
) -> int:
    """Send all there is and say what became of it.

    Args:
        sender: closed at the end.
        captured: of `streamer.sources.open_source`.
        fps: frames a second at most, None for no limit; a camera's are paced by its reader.
        left_out: told of frames that cannot be sent; None ends with an error at the first one.
        counts: the detector's from before, None where they are not known.

    Returns:
        The exit status: 0, or `NOT_ALL_SCORED`.

    Raises:
        StreamerError: of the source, once what was sent before is handed over and told.
    """
    sent = 0
    failed: StreamerError | None = None
    try:
        with telling(captured.live, sender):
            for went_out in _outcomes(sender, captured, fps, left_out):
                sent += went_out
    except StreamerError as error:
        failed = error
    except BaseException:
        sender.abandon()
        raise
    try:
        # What was sent before the source failed still counts.
        sender.close()
        if captured.live is not None:
            captured.live.gave_up(sender.given_up)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
        sender.abandon()
        raise
    if left_out is not None:
        left_out.tell()
    for line in captured.oddities.lines():
        warn(line)
    fate = (
        by_acks(sender.acknowledged, sender.refused, sender.given_up)
        if isinstance(sender, ReliablePublisher)
        else None
    )
    if fate is None and counts is not None:
        fate = _settled(counts, sent)
    if sent or failed is None:
        _report(sent, sender.stream, fate)
    if failed is not None:
        raise failed
    return 0 if fate is None or fate.all_scored else NOT_ALL_SCORED


def _outcomes(
    sender: Sender, captured: Captured, fps: float | None, left_out: LeftOut | None
) -> Iterator[int]:
    """1 for each frame that went out, 0 for one that cannot and is left out."""
    if captured.live is not None:
        yield from _live(sender, captured.live)
        return
    for frame_id, frame in _paced(captured.frames, fps):
        yield _send(sender, frame, frame_id, left_out)


def _live(sender: Sender, reader: LiveReader) -> Iterator[int]:
    """The same of a camera's pictures; one that cannot be sent is told, counted, and the next one comes."""
    told_of: set[str] = set()

    def tell(line: str) -> None:
        say(line)
        if _is_of_parts(reader):
            # Now, since no part may go out for a while: the detector is away, say.
            sender.keep_all()

    with closing(live_pictures(reader, sender, tell)) as pictures:
        for picture in pictures:
            if picture.bit_depth != "auto":
                sender.bit_depth = picture.bit_depth
            if picture.triggered:
                sender.keep_all()
            outcome: Outcome = "not_sent"
            try:
                # No waiting with a picture in the hand: while it waits newer ones come.
                sender.send(picture.frame, capture_ns=picture.capture_ns, timeout_s=0.0)
                outcome = "sent"
            except NoRoom:
                outcome = "no_room"
            except WireError as error:
                if error.code not in told_of:
                    told_of.add(error.code)
                    warn(f"source: {reader.device.name}: a picture cannot be sent: {error}; others are tried")
            finally:  # also of one that Ctrl-C came for
                reader.settle(outcome)
            yield int(outcome == "sent")


def _is_of_parts(reader: LiveReader) -> bool:
    """Whether a line triggers the camera, as its device says."""
    return reader.figures().facts.get("trigger", "off") not in {"off", "Software"}


def _paced(captured: Frames, fps: float | None) -> Frames:
    due = time.monotonic()
    for captured_frame in captured:
        if fps is not None:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1.0 / fps) + 1.0 / fps
        yield captured_frame


def _send(
    sender: Sender,
    frame: images.Frame | bytes,
    frame_id: FrameId | None,
    left_out: LeftOut | None,
) -> int:
    """1 for a frame that went out, 0 for one that cannot and is left out."""
    try:
        sender.send(frame, frame_id)
    except WireError as error:
        if left_out is None or frame_id is None:
            raise StreamerError(f"source: {frame_id} cannot be sent: {error}") from None
        left_out(str(frame_id), error.text)
        return 0
    return 1


def counts_before(control: str | None, stream: str, keys: ClientKeys | None) -> Counts | None:
    """The detector's counts before the first frame; None where nobody answers at `control`."""
    if control is None:
        return None
    try:
        return Counts(control, stream, keys)
    except StreamerError:
        return None


def _settled(counts: Counts, sent: int) -> Fate | None:
    try:
        return counts.settled(sent)
    except StreamerError:
        return None


def _report(sent: int, stream: str, fate: Fate | None) -> None:
    frames = f"{sent} frame{'' if sent == 1 else 's'} sent to {stream}"
    if fate is None:
        click.echo(
            f"{frames}; whether they were scored is not known here: --control or --reliable says", err=True
        )
        return
    click.echo(f"{frames}: {fate}", err=True)
    if set(fate.dropped) - {TOO_OLD}:
        click.echo(
            "they came faster than they are scored: send with --reliable, or fewer with --fps", err=True
        )


def say(line: str) -> None:
    """One line on standard error."""
    click.echo(printable(line), err=True)


def warn(line: str) -> None:
    """One line of warning on standard error."""
    click.echo(f"warning: {line}", err=True)
