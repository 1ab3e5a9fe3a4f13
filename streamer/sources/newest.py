"""The newest picture of a camera: when its turn comes, how long it may wait for it, and the books of all."""

from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from streamer.sources.device import Picture

Outcome = Literal["sent", "not_sent", "no_room"]
"""What became of a picture that was offered: it went out, cannot be sent, or there was no room after all."""

SLACK_S = 0.25
"""Beyond one interval a picture may be so old when it goes out, on its way here and waiting here together.

The bar is 300 ms: the rest is for making a message of it, and for the way to the detector."""
_RATE_OF = 20
"""Intervals that the measured rate is of."""


@dataclass(frozen=True)
class Counts:
    """Pictures since the start, each in one place: read = the others together, and one may wait or be out.

    Attributes:
        read: pictures that the camera gave.
        sent: those that went out.
        skipped: those that a newer one took the place of, and one that waited when the end came.
        too_old: those that were older than the age limit when their turn came, that had waited for it longer
            than a live picture may, or whose camera was lost before it.
        not_sent: those that no detector would take, as too many bytes, or that the end came for.
    """

    read: int = 0
    sent: int = 0
    skipped: int = 0
    too_old: int = 0
    not_sent: int = 0


@dataclass(frozen=True)
class _Kept:
    """A picture, its age when it came, when that was, and how long it may wait from then on."""

    picture: Picture
    age_s: float
    came: float
    patience_s: float | None

    def age(self, now: float) -> float:
        return self.age_s + now - self.came

    def is_stale(self, now: float) -> bool:
        return self.patience_s is not None and now - self.came > self.patience_s


class Newest:
    """Keeps one picture. Knows no thread and no clock: every moment is said to it, in monotonic seconds.

    A picture that no newer one takes the place of is not new for ever: a camera that is dead, or held up, is
    not to be scored as if it gave pictures. So one waits for an interval of the camera and `SLACK_S` at most,
    less what its way here took of that. Pictures of a trigger (`Picture.triggered`) wait for as long as it
    takes.

    Args:
        fps: pictures handed out a second at most; None for as many as come.
        max_age_s: pictures that are older when their turn comes are left out; None for no limit.
        interval_s: what counts as the camera's interval before one was seen.
    """

    def __init__(self, fps: float | None, max_age_s: float | None, interval_s: float) -> None:
        self._every_s = None if fps is None else 1.0 / fps
        self._max_age_s, self._interval_s = max_age_s, interval_s
        self._kept: _Kept | None = None
        self._out: _Kept | None = None
        self._last: _Kept | None = None
        """The one that came last, unless its camera was lost since."""
        self._due = self._due_before = 0.0
        self._arrivals: list[float] = []
        self.counts = Counts()
        self.age_s: float | None = None
        """Of the last picture that was handed out, then."""

    @property
    def due(self) -> float | None:
        """When the turn of the picture that waits comes; None where none waits."""
        return None if self._kept is None else self._due

    def connected(self) -> None:
        """The camera is there, or back: its rate is measured anew, and its interval taken from before."""
        self._arrivals = []

    def rate(self) -> float:
        """Pictures a second that came lately; 0 where that is not known."""
        span = self._arrivals[-1] - self._arrivals[0] if self._arrivals else 0.0
        return (len(self._arrivals) - 1) / span if span > 0 else 0.0

    def came(self, picture: Picture, age_s: float, now: float) -> None:
        """A picture, and how old it was when it came (negative where the clocks disagree)."""
        self._arrivals = [*self._arrivals[-_RATE_OF:], now]
        if len(self._arrivals) > 1:
            # The median: neither a camera that was held up nor pictures that then come at once change it.
            pairs = zip(self._arrivals, self._arrivals[1:], strict=False)
            self._interval_s = median(later - earlier for earlier, later in pairs)
        patience_s = None if picture.triggered else self._interval_s + max(0.0, SLACK_S - max(0.0, age_s))
        self._count(read=1, skipped=self._kept is not None)
        self._kept = self._last = _Kept(picture, age_s, now, patience_s)

    def lost(self) -> None:
        """The camera is lost: its last picture is new no more, except where a trigger asked for it."""
        if self._last is None or self._last.picture.triggered:
            return
        self._last = None
        if self._kept is not None:
            self._kept = None
            self._count(too_old=1)

    def offer(self, now: float) -> Picture | None:
        """The picture whose turn it is; None where there is none. `settle` says what became of it."""
        if self._kept is None or now < self._due:
            return None
        kept, self._kept = self._kept, None
        is_too_old = self._max_age_s is not None and kept.age(now) > self._max_age_s
        if is_too_old or kept.is_stale(now):
            self._count(too_old=1)  # and the next one's turn is when it comes
            return None
        self._due_before = self._due
        if self._every_s is not None:
            # What came a little late does not put off the next one.
            next_due = self._due + self._every_s
            self._due = next_due if next_due > now else now + self._every_s
        self._out, self.age_s = kept, kept.age(now)
        return kept.picture

    def settle(self, outcome: Outcome) -> None:
        """Say what became of the picture that was offered last; what is settled already stays so.

        One for which there was no room waits again, where no newer one has come and the camera is there.
        """
        out, self._out = self._out, None
        if out is None:
            return
        if outcome != "no_room":
            self._count(**{outcome: 1})
            return
        self._due = self._due_before
        if out is self._last:
            self._kept = out
        else:
            self._count(**{"too_old" if self._last is None else "skipped": 1})

    def end(self) -> None:
        """No more are handed out: what waits is counted as skipped."""
        if self._kept is not None:
            self._kept = None
            self._count(skipped=1)

    def _count(self, **more: int) -> None:
        self.counts = replace(
            self.counts, **{name: getattr(self.counts, name) + n for name, n in more.items()}
        )
