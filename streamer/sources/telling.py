"""Tells a detector how a camera is, beside its frames: at every change, and every 5 s."""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from streamer.errors import StreamerError
from streamer.sources.live import LiveReader, SourceFigures
from streamer.wire.source import EVERY_S, MAX_COUNTS

_LOOK_S = 0.2
_COUNTS = ("read", "sent", "skipped", "too_old", "not_sent", "given_up", "reconnects")


class Teller(Protocol):
    """`tell_source` of a publisher."""

    def tell_source(
        self,
        state: str,
        *,
        since_ns: int | None = None,
        source: str = "",
        age_ms: float | None = None,
        fps: float | None = None,
        counts: Mapping[str, int] | None = None,
        text: str = "",
    ) -> bool:
        """See `streamer.sender.Sender.tell_source`."""
        ...


@contextmanager
def telling(reader: LiveReader | None, sender: Teller) -> Iterator[None]:
    """Tell, in a thread of its own, how a camera is; at the end that it has ended.

    A body that raises an `Exception`, or a reader that failed, has not ended in order: nobody misses a source
    that is said to have ended. The last word is then `lost` (`waiting` before the first picture) with the
    error. KeyboardInterrupt and SystemExit (Ctrl-C, SIGTERM) are in order.

    Args:
        reader: of the camera; None where the source is none, and nothing is told.
        sender: a publisher, closed by the caller, afterwards.
    """
    if reader is None:
        yield
        return
    ended = threading.Event()
    failed: list[Exception] = []
    thread = threading.Thread(
        target=_tell_on, args=(reader, sender, ended, failed), name="telling", daemon=True
    )
    thread.start()
    try:
        yield
    except Exception as error:
        failed.append(error)
        raise
    finally:
        ended.set()
        thread.join()


def counts_of(figures: SourceFigures) -> dict[str, int]:
    """The reader's counts, then the device's, as whole numbers; what it says in words is left out."""
    counts = {name: int(getattr(figures, name)) for name in _COUNTS}
    for name, value in figures.facts.items():
        if isinstance(value, str | bool) or not math.isfinite(value) or value < 0:
            continue
        if name not in counts and len(counts) < MAX_COUNTS:
            counts[name] = round(value)
    return counts


def _tell_on(reader: LiveReader, sender: Teller, ended: threading.Event, failed: list[Exception]) -> None:
    told, again = None, 0.0
    while not ended.wait(_LOOK_S):
        figures = _in_order(reader.figures())
        now = (figures.state, figures.since_ns)
        # Where it has ended because the body fails, that is known in a moment: it is no news of its own.
        is_new = now != told and figures.state != "ended"
        if (is_new or time.monotonic() >= again) and _tell(sender, figures):
            told, again = now, time.monotonic() + EVERY_S
    _tell(sender, _at_the_end(reader.figures(), failed))


def _in_order(figures: SourceFigures) -> SourceFigures:
    """`ended` only where that was meant."""
    return replace(figures, state="lost" if figures.read else "waiting") if figures.has_failed else figures


def _at_the_end(figures: SourceFigures, failed: list[Exception]) -> SourceFigures:
    """The last word."""
    now_ns = time.time_ns()
    if not failed:
        is_news = figures.state != "ended"
        return _in_order(replace(figures, state="ended", since_ns=now_ns if is_news else figures.since_ns))
    if figures.has_failed:
        return _in_order(figures)
    error = failed[0]
    # What other errors say may be anything, and is in the traceback.
    text = str(error) if isinstance(error, StreamerError) else f"its publisher failed: {type(error).__name__}"
    return _in_order(replace(figures, since_ns=now_ns, error=text, has_failed=True))


def _tell(sender: Teller, figures: SourceFigures) -> bool:
    """Whether it was taken; what a detector would refuse of a camera's own words is no reason to end."""
    age = figures.age_ms
    try:
        return sender.tell_source(
            figures.state,
            since_ns=figures.since_ns,
            source=figures.name,
            age_ms=None if age is None else max(0.0, age),
            fps=figures.fps,
            counts=counts_of(figures),
            text=figures.error,
        )
    except StreamerError:
        return sender.tell_source(figures.state, text="what else is known of the source cannot be told")
