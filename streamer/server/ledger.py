"""The tallies of all streams: how many frames were received, scored, dropped and refused, and why."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from streamer.errors import FrameId
from streamer.wire.frame import NO_STREAM


@dataclass(frozen=True)
class LastFrame:
    """The newest frame of a stream that was scored: its id, when (nanoseconds since 1970), its label then.

    Raises:
        TypeError: not of these types, e.g. from a file.
    """

    frame_id: FrameId
    scored_ns: int
    pred_label: bool | None

    def __post_init__(self) -> None:
        fits = isinstance(self.frame_id, str | int) and isinstance(self.scored_ns, int)
        if not fits or self.pred_label not in {None, True, False}:
            raise TypeError(f"last_frame: got {self}, expected an id, nanoseconds, and true, false or null")


class Tally:
    """One stream's tally; `queued` are the frames whose fate is open.

    `anomalous` are those of the scored whose label on arrival was true: what is said of them later, by
    revisions or operators, does not change it; `late` those scored after `deadline_ms`. `last` is a stream's
    own and not added.
    """

    def __init__(self) -> None:
        self.received = 0
        self.scored = 0
        self.anomalous = 0
        self.late = 0
        self.last: LastFrame | None = None
        self.dropped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.warned: Counter[str] = Counter()
        self.events: Counter[str] = Counter()

    @property
    def settled(self) -> int:
        """Frames whose fate is known."""
        return self.scored + self.dropped.total() + self.refused.total()

    def add(self, other: "Tally") -> None:
        """Take over another tally."""
        self.received += other.received
        self.scored += other.scored
        self.anomalous += other.anomalous
        self.late += other.late
        self.dropped += other.dropped
        self.refused += other.refused
        self.warned += other.warned
        self.events += other.events

    def without(self, other: "Tally") -> "Tally":
        """What was entered beside another tally, which is part of this one."""
        rest = self.copy()
        rest.received -= other.received
        rest.scored -= other.scored
        rest.anomalous -= other.anomalous
        rest.late -= other.late
        rest.dropped.subtract(other.dropped)
        rest.refused.subtract(other.refused)
        rest.warned.subtract(other.warned)
        rest.events.subtract(other.events)
        return rest

    def as_dict(self) -> dict[str, Any]:
        """The tally as `status` shows it."""
        return {
            "received": self.received,
            "scored": self.scored,
            "anomalous": self.anomalous,
            "late": self.late,
            "dropped": dict(self.dropped),
            "refused": dict(self.refused),
            "warned": dict(self.warned),
            "events": dict(self.events),
            "queued": self.received - self.settled,
        }

    def with_last(self) -> dict[str, Any]:
        """The same with the `last_frame` that was scored, null before the first."""
        return {**self.as_dict(), "last_frame": None if self.last is None else asdict(self.last)}

    def copy(self) -> "Tally":
        """A tally by itself."""
        copied = Tally()
        copied.add(self)
        copied.last = self.last
        return copied

    def score(self, frame: LastFrame | None, *, late: bool = False) -> None:
        """Enter a scored frame; `late`: after its deadline."""
        self.scored += 1
        self.late += late
        if frame is not None:
            self.anomalous += frame.pred_label is True
            self.last = frame


class Ledger:
    """The tallies of all streams; safe from any thread.

    Frames of no known stream are entered under `-`, so that senders cannot make the ledger grow.
    """

    def __init__(self) -> None:
        self._settled = threading.Condition()
        self._streams: dict[str, Tally] = {}
        self._not_counted: dict[str, Tally] = {}
        """By stream what its tally holds that was not entered for it in this run."""
        self._changed: set[str] = set()
        self._resumed: set[str] = set()

    def receive(self, stream: str) -> None:
        """A message came in."""
        self._enter(stream, lambda counts: setattr(counts, "received", counts.received + 1))

    def score(self, stream: str, frame: LastFrame | None = None, *, late: bool = False) -> None:
        """A frame was scored; `frame` says which, and how it was labelled, `late` whether in time."""
        self._enter(stream, lambda counts: counts.score(frame, late=late))

    def drop(self, stream: str, reason: str) -> None:
        """A frame was given up for want of room."""
        self._enter(stream, lambda counts: counts.dropped.update([reason]))

    def refuse(self, stream: str, code: str) -> None:
        """A frame could not be used."""
        self._enter(stream, lambda counts: counts.refused.update([code]))

    def warn(self, stream: str, code: str) -> None:
        """Something was odd about a frame that is used all the same."""
        self._enter(stream, lambda counts: counts.warned.update([code]))

    def event(self, stream: str, kind: str) -> None:
        """Something happened that no single frame shows."""
        self._enter(stream, lambda counts: counts.events.update([kind]))

    def resume(self, stream: str, tally: Mapping[str, Any]) -> None:
        """Go on from an earlier run's tally (of `streams`); what was queued then counts as never received.

        The first tally of a stream holds: the history's, which knows each score published, then a snapshot's.

        Raises:
            KeyError, TypeError, ValueError: it is no tally.
        """
        past = Tally()
        past.scored = int(tally["scored"])
        # Of a snapshot of before these were counted, there are none.
        past.anomalous, past.late = int(tally.get("anomalous", 0)), int(tally.get("late", 0))
        last = tally.get("last_frame")
        if last is not None:
            past.last = LastFrame(last["frame_id"], last["scored_ns"], last["pred_label"])
        for mine, theirs in ((past.dropped, "dropped"), (past.refused, "refused"), (past.warned, "warned")):
            mine.update({str(reason): int(count) for reason, count in tally[theirs].items()})
        past.events.update({str(kind): int(count) for kind, count in tally.get("events", {}).items()})
        past.received = past.settled

        def go_on(counts: Tally) -> None:
            if stream not in self._resumed:
                self._resumed.add(stream)
                counts.add(past)
                counts.last = counts.last or past.last
                self._not_counted.setdefault(stream, Tally()).add(past)

        self._enter(stream, go_on)

    def close(self, stream: str) -> None:
        """A stream lost its place, all of its frames settled: its tally goes to `-`, so that totals stay."""
        with self._settled:
            counts = self._streams.pop(stream, None)
            self._not_counted.pop(stream, None)
            if counts is not None:
                self._streams.setdefault(NO_STREAM, Tally()).add(counts)
                self._not_counted.setdefault(NO_STREAM, Tally()).add(counts)
                self._changed |= {stream, NO_STREAM}

    def take_changed(
        self, scored: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> dict[str, dict[str, Any] | None]:
        """Tallies that changed since last asked, as they are once more frames are entered; None if closed.

        Args:
            scored: stream and header of the score of each frame about to be entered.
        """
        with self._settled:
            names = self._changed | {stream for stream, _ in scored}
            self._changed = set()
            kept = {name: self._streams[name].copy() for name in names if name in self._streams}
        for stream, header in scored:
            if stream in kept:
                frame = LastFrame(header["frame_id"], header["scored_ns"], header["pred_label"])
                kept[stream].score(frame, late=header["late"])
        return {name: kept[name].with_last() if name in kept else None for name in names}

    def mark_changed(self, streams: Iterable[str]) -> None:
        """What was taken could not be kept."""
        with self._settled:
            self._changed.update(streams)

    def totals(self) -> dict[str, Any]:
        """All streams together."""
        with self._settled:
            total = Tally()
            for counts in self._streams.values():
                total.add(counts)
            return total.as_dict()

    def streams(self) -> dict[str, dict[str, Any]]:
        """Each stream by itself, with the `last_frame` that was scored, null before the first."""
        with self._settled:
            return {name: counts.with_last() for name, counts in self._streams.items()}

    def stream(self, name: str) -> dict[str, Any] | None:
        """One of `streams`, None if it is not known."""
        with self._settled:
            return self._streams[name].with_last() if name in self._streams else None

    def since_start(self) -> dict[str, dict[str, Any]]:
        """Each stream's tally without what an earlier run counted, and `-` without that of streams it closed.

        As Prometheus wants counters: a kill may take the last counts back, and one that goes down by a few is
        to it one that began anew, and what it shows all counted since.
        """
        with self._settled:
            nothing = Tally()
            return {
                name: counts.without(self._not_counted.get(name, nothing)).as_dict()
                for name, counts in self._streams.items()
            }

    def as_one(self) -> AbstractContextManager[object]:
        """What is done inside, `wait_for` sees all of or none: an id released and the frame entered."""
        return self._settled

    def wait_for(self, settled: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `settled()`, asked after every entry; False if time ran out."""
        with self._settled:
            return self._settled.wait_for(settled, timeout_s)

    def _enter(self, stream: str, entry: Callable[[Tally], object]) -> None:
        with self._settled:
            entry(self._streams.setdefault(stream, Tally()))
            self._changed.add(stream)
            self._settled.notify_all()
