"""What became of every frame: received = scored + dropped + refused + queued, per stream and in all."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from streamer.wire.checks import NO_STREAM


class Counts:
    """One stream's tally; `queued` are the frames whose fate is open."""

    def __init__(self) -> None:
        self.received = 0
        self.scored = 0
        self.dropped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.warned: Counter[str] = Counter()

    @property
    def settled(self) -> int:
        """Frames whose fate is known."""
        return self.scored + self.dropped.total() + self.refused.total()

    def add(self, other: "Counts") -> None:
        """Take over another tally."""
        self.received += other.received
        self.scored += other.scored
        self.dropped += other.dropped
        self.refused += other.refused
        self.warned += other.warned

    def as_dict(self) -> dict[str, Any]:
        """The tally as `status` shows it."""
        return {
            "received": self.received,
            "scored": self.scored,
            "dropped": dict(self.dropped),
            "refused": dict(self.refused),
            "warned": dict(self.warned),
            "queued": self.received - self.settled,
        }


class Accounts:
    """The tallies of all streams; safe from any thread.

    Frames of no known stream are booked under `-`, so that senders cannot make the book grow.
    """

    def __init__(self) -> None:
        self._settled = threading.Condition()
        self._streams: dict[str, Counts] = {}

    def receive(self, stream: str) -> None:
        """A message came in."""
        self._book(stream, lambda counts: setattr(counts, "received", counts.received + 1))

    def score(self, stream: str) -> None:
        """A frame was scored."""
        self._book(stream, lambda counts: setattr(counts, "scored", counts.scored + 1))

    def drop(self, stream: str, reason: str) -> None:
        """A frame was given up for want of room."""
        self._book(stream, lambda counts: counts.dropped.update([reason]))

    def refuse(self, stream: str, code: str) -> None:
        """A frame could not be used."""
        self._book(stream, lambda counts: counts.refused.update([code]))

    def warn(self, stream: str, code: str) -> None:
        """Something was odd about a frame that is used all the same."""
        self._book(stream, lambda counts: counts.warned.update([code]))

    def resume(self, stream: str, tally: Mapping[str, Any]) -> None:
        """Go on from an earlier run's tally (of `streams`); what was queued then counts as never received."""
        past = Counts()
        past.scored = int(tally["scored"])
        for mine, theirs in ((past.dropped, "dropped"), (past.refused, "refused"), (past.warned, "warned")):
            mine.update({str(reason): int(count) for reason, count in tally[theirs].items()})

        def add(counts: Counts) -> None:
            counts.received += past.settled
            counts.scored += past.scored
            counts.dropped += past.dropped
            counts.refused += past.refused
            counts.warned += past.warned

        self._book(stream, add)

    def close(self, stream: str) -> None:
        """A stream lost its place, all of its frames settled: its tally goes to `-`, so that totals stay."""
        with self._settled:
            counts = self._streams.pop(stream, None)
            if counts is not None:
                self._streams.setdefault(NO_STREAM, Counts()).add(counts)

    def totals(self) -> dict[str, Any]:
        """All streams together."""
        with self._settled:
            total = Counts()
            for counts in self._streams.values():
                total.add(counts)
            return total.as_dict()

    def streams(self) -> dict[str, dict[str, Any]]:
        """Each stream by itself."""
        with self._settled:
            return {name: counts.as_dict() for name, counts in self._streams.items()}

    def received(self) -> dict[str, int]:
        """Frames received so far, per stream: what `wait_settled` can wait for."""
        with self._settled:
            return {name: counts.received for name, counts in self._streams.items()}

    def wait_settled(self, targets: Mapping[str, int], timeout_s: float) -> bool:
        """Wait until as many frames of each stream are settled; False if time ran out."""
        with self._settled:
            return self._settled.wait_for(
                lambda: all(self._has_settled(name, count) for name, count in targets.items()),
                timeout_s,
            )

    def _has_settled(self, stream: str, count: int) -> bool:
        counts = self._streams.get(stream)
        return counts is None or counts.settled >= count

    def _book(self, stream: str, entry: Callable[[Counts], object]) -> None:
        with self._settled:
            entry(self._streams.setdefault(stream, Counts()))
            self._settled.notify_all()
