"""What becomes of a frame: entered in the ledger, told on the wire, and its id freed, in one place."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamer.errors import FrameId, WireError
from streamer.server.logs import RateLimitedLog
from streamer.server.outbox import Outbox, Outgoing
from streamer.server.stream import QueuedFrame, Stream
from streamer.wire.frame import NO_STREAM, Ack, ack

_UNREADABLE = "snapshot_unreadable"
_NO_PLACE = frozenset({"no_room", "too_many_streams"})


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
    revisions or operators, does not change it. `last` is a stream's own and not added.
    """

    def __init__(self) -> None:
        self.received = 0
        self.scored = 0
        self.anomalous = 0
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
        self.dropped += other.dropped
        self.refused += other.refused
        self.warned += other.warned
        self.events += other.events

    def as_dict(self) -> dict[str, Any]:
        """The tally as `status` shows it."""
        return {
            "received": self.received,
            "scored": self.scored,
            "anomalous": self.anomalous,
            "dropped": dict(self.dropped),
            "refused": dict(self.refused),
            "warned": dict(self.warned),
            "events": dict(self.events),
            "queued": self.received - self.settled,
        }

    def score(self, frame: LastFrame | None) -> None:
        """Enter a scored frame."""
        self.scored += 1
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

    def receive(self, stream: str) -> None:
        """A message came in."""
        self._enter(stream, lambda counts: setattr(counts, "received", counts.received + 1))

    def score(self, stream: str, frame: LastFrame | None = None) -> None:
        """A frame was scored; `frame` says which, and how it was labelled."""
        self._enter(stream, lambda counts: counts.score(frame))

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
        """Go on from an earlier run's tally (of `streams`); what was queued then counts as never received."""
        past = Tally()
        past.scored = int(tally["scored"])
        # Of a snapshot of before these were counted, there are none.
        past.anomalous = int(tally.get("anomalous", 0))
        last = tally.get("last_frame")
        if last is not None:
            past.last = LastFrame(last["frame_id"], last["scored_ns"], last["pred_label"])
        for mine, theirs in ((past.dropped, "dropped"), (past.refused, "refused"), (past.warned, "warned")):
            mine.update({str(reason): int(count) for reason, count in tally[theirs].items()})
        past.events.update({str(kind): int(count) for kind, count in tally.get("events", {}).items()})
        past.received = past.settled

        def go_on(counts: Tally) -> None:
            counts.add(past)
            counts.last = counts.last or past.last

        self._enter(stream, go_on)

    def close(self, stream: str) -> None:
        """A stream lost its place, all of its frames settled: its tally goes to `-`, so that totals stay."""
        with self._settled:
            counts = self._streams.pop(stream, None)
            if counts is not None:
                self._streams.setdefault(NO_STREAM, Tally()).add(counts)

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
            return {
                name: {**counts.as_dict(), "last_frame": None if counts.last is None else asdict(counts.last)}
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
            self._settled.notify_all()


class Outcomes:
    """Every way a frame can end, for any thread; the outbox may be set later."""

    outbox: Outbox

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._log = RateLimitedLog()

    def receive(self, stream: Stream | None) -> None:
        """A message came in, of an open stream or of none."""
        self.ledger.receive(_name(stream))

    def refuse_message(self, error: WireError, stream: Stream | None, sender: bytes | None) -> None:
        """A message that never became a waiting frame: an `error`, and an ack where the sender waits."""
        self.ledger.refuse(_name(stream), error.code)
        self._error(error, stream, _answer(sender, error, "refused"))

    def refuse(self, queued: QueuedFrame, code: str, text: str) -> None:
        """A waiting frame turned out to be unusable."""
        error = _about(queued, code, text)
        with self.ledger.as_one():
            queued.stream.release(queued)
            self.ledger.refuse(queued.stream.name, code)
        # A ring that cannot come from disk now can later: a reliable sender sends the frame again.
        later = code == _UNREADABLE or (queued.stream.asleep and code in _NO_PLACE)
        status = "busy" if later else "refused"
        self._error(error, queued.stream, _answer(queued.sender, error, status))

    def warn(self, queued: QueuedFrame, code: str, text: str) -> None:
        """Something is odd about a frame that is used all the same."""
        self.ledger.warn(queued.stream.name, code)
        self._error(_about(queued, code, text), queued.stream, None)

    def trouble(self, stream: Stream, text: str) -> None:
        """An error of the service itself that is no frame's: it is told, and nothing is counted."""
        self._error(WireError("internal", text, stream=stream.name), stream, None)

    def drop(self, queued: QueuedFrame, reason: str) -> None:
        """A frame given up for want of room; a reliable sender is asked to send it again."""
        stream, message = queued.stream, queued.message
        with self.ledger.as_one():
            stream.release(queued)
            self.ledger.drop(stream.name, reason)
        header = {
            "stream": stream.name,
            "frame_id": message.frame_id,
            "seq": message.seq,
            "capture_ns": queued.capture_ns,
            "reason": reason,
            "meta": message.meta,
        }
        answer = _answer(queued.sender, _about(queued, reason, ""), "dropped")
        self.outbox.put(Outgoing(stream.name, "dropped", header, ack=answer))

    def score(
        self, queued: QueuedFrame, header: dict[str, Any], anomaly_map: npt.NDArray[np.float32] | None
    ) -> None:
        """A provisional score; the frame counts as scored, and is acknowledged, once it is published."""
        stream, scored_in = queued.stream, queued.stream.resets
        frame = LastFrame(header["frame_id"], header["scored_ns"], header["pred_label"])

        def settle() -> None:
            with self.ledger.as_one():
                stream.release(queued, scored_in)
                self.ledger.score(stream.name, frame)
            stream.note_published(frame.frame_id)

        answer = _answer(queued.sender, _about(queued, "", ""), "scored")
        self.outbox.put(Outgoing(stream.name, "score", header, anomaly_map, settle, answer))

    def repeated(self, queued: QueuedFrame) -> None:
        """A reliable frame that came again while the first copy is in flight: its ack is on its way."""
        self.ledger.refuse(queued.stream.name, "duplicate")

    def answer_now(self, queued: QueuedFrame, status: str, code: str) -> Ack | None:
        """Enter a reliable frame that is not taken, and say what its sender is told at once."""
        self.ledger.refuse(queued.stream.name, code)
        return _answer(queued.sender, _about(queued, code, ""), status)

    def _error(self, error: WireError, stream: Stream | None, answer: Ack | None) -> None:
        self._log.warning(
            "frame_error", error.code, stream=error.stream, frame_id=error.frame_id, text=error.text
        )
        header = {
            "stream": error.stream,
            "frame_id": error.frame_id,
            "seq": error.seq,
            "code": error.code,
            "text": error.text,
        }
        self.outbox.put(Outgoing(_name(stream), "error", header, ack=answer))


def _name(stream: Stream | None) -> str:
    return NO_STREAM if stream is None else stream.name


def _about(queued: QueuedFrame, code: str, text: str) -> WireError:
    message = queued.message
    return WireError(code, text, stream=queued.stream.name, frame_id=message.frame_id, seq=message.seq)


def _answer(sender: bytes | None, error: WireError, status: str) -> Ack | None:
    if sender is None:
        return None
    return ack(sender, error.stream, error.frame_id, error.seq, status, error.code)
