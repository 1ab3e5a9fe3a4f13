"""What becomes of a frame: entered in the ledger, told on the wire, and its id freed, in one place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from streamer.errors import WireError
from streamer.maps import PatchGrid
from streamer.server.known_ids import Scored
from streamer.server.ledger import LastFrame, Ledger, Tally
from streamer.server.logs import RateLimitedLog
from streamer.server.outbox import Outgoing, Outlet
from streamer.server.stream import QueuedFrame, Stream
from streamer.wire.frame import NO_STREAM, Ack, ack

__all__ = ["LastFrame", "Ledger", "Outcomes", "Tally"]

_UNREADABLE = "snapshot_unreadable"
_NO_LINE = "no_line"
_NO_PLACE = frozenset({"no_room", "too_many_streams"})
_OURS = frozenset({"internal", "backbone_failed"})
_MORE_TRIES = 3
# Errors of the service itself may pass (no memory, no descriptors) or not (a picture that trips it each
# time), and cannot be told apart: so often a reliable sender is asked to send the frame again.


class Outcomes:
    """Every way a frame can end, for any thread; the outbox may be set later."""

    outbox: Outlet

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._log = RateLimitedLog()

    def receive(self, stream: Stream | None) -> None:
        """A message came in, of an open stream or of none."""
        self.ledger.receive(_name(stream))

    def refuse_message(
        self, error: WireError, stream: Stream | None, sender: bytes | None, peer: str = ""
    ) -> None:
        """A message that never became a waiting frame: an `error`, and an ack where the sender waits."""
        self.ledger.refuse(_name(stream), error.code)
        # Without an id it cannot be answered for: its sender sends it again of itself.
        self._error(error, stream, lambda: _answer(sender, error, "refused"), peer)

    def refuse(self, queued: QueuedFrame, code: str, text: str) -> None:
        """A waiting frame turned out to be unusable."""
        error = _about(queued, code, text)
        with self.ledger.as_one():
            queued.stream.release(queued)
            self.ledger.refuse(queued.stream.name, code)
        # A ring that cannot come from disk now can later: a reliable sender sends the frame again.
        later = code in {_UNREADABLE, _NO_LINE} or (queued.stream.asleep and code in _NO_PLACE)
        if code in _OURS:
            later = queued.stream.failed(queued.message.frame_id) <= _MORE_TRIES
        status = "busy" if later else "refused"
        self._error(error, queued.stream, lambda: _answer(queued.sender, error, status), queued.peer)

    def warn(self, queued: QueuedFrame, code: str, text: str) -> None:
        """Something is odd about a frame that is used all the same."""
        self.ledger.warn(queued.stream.name, code)
        self._error(_about(queued, code, text), queued.stream, None, queued.peer)

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

        def answer() -> Ack | None:
            return _answer(queued.sender, _about(queued, reason, ""), "dropped")

        self.outbox.put(Outgoing(stream.name, "dropped", header, ack=answer))

    def score(
        self,
        queued: QueuedFrame,
        header: dict[str, Any],
        anomaly_map: npt.NDArray[np.float32] | None,
        grid: PatchGrid | None,
        spent_ms: float,
        payload: bytes | None = None,
    ) -> None:
        """A provisional score; the frame counts as scored, and is acknowledged, once it is published.

        `spent_ms` is what passed since its capture, or since its arrival; `payload` a map that is encoded
        already.
        """
        stream, scored_in = queued.stream, queued.stream.resets
        frame_id = queued.message.frame_id
        frame = LastFrame(header["frame_id"], header["scored_ns"], header["pred_label"])

        def settle() -> None:
            with self.ledger.as_one():
                stream.release(queued, scored_in)
                stream.newest_ns = queued.begun_ns
                if not queued.clock_is_off:
                    stream.latencies.add(spent_ms)
                self.ledger.score(stream.name, frame, late=header["late"])
            stream.note_published(frame.frame_id)
            if stream.line is not None and stream.resets == scored_in:
                stream.line.settle(frame, late=header["late"])

        def scored() -> Scored:
            return Scored(stream.name, frame_id, queued.digest, lambda: stream.resets == scored_in)

        def answer() -> Ack | None:
            return _answer(queued.sender, _about(queued, "", ""), "scored")

        self.outbox.put(
            Outgoing(stream.name, "score", header, anomaly_map, grid, settle, answer, scored, payload=payload)
        )

    def source(self, header: dict[str, Any]) -> None:
        """What a publisher says of its camera: no frame, and in no tally."""
        self.outbox.put(Outgoing(header["stream"], "source", header))

    def repeated(self, queued: QueuedFrame) -> None:
        """A reliable frame that came again while the first copy is in flight: its ack is on its way."""
        self.ledger.refuse(queued.stream.name, "duplicate")

    def turn_away(self, stream: Stream | None, code: str) -> None:
        """A reliable frame that came when the service was ending: nothing is told any more but its ack."""
        self.ledger.receive(_name(stream))
        self.ledger.refuse(_name(stream), code)

    def answer_now(self, queued: QueuedFrame, status: str, code: str) -> Ack | None:
        """Enter a reliable frame that is not taken, and say what its sender is told at once."""
        self.ledger.refuse(queued.stream.name, code)
        return _answer(queued.sender, _about(queued, code, ""), status)

    def _error(
        self,
        error: WireError,
        stream: Stream | None,
        answer: Callable[[], Ack | None] | None,
        peer: str = "",
    ) -> None:
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
        self.outbox.put(Outgoing(_name(stream), "error", header, ack=answer, peer=peer))


def _name(stream: Stream | None) -> str:
    return NO_STREAM if stream is None else stream.name


def _about(queued: QueuedFrame, code: str, text: str) -> WireError:
    message = queued.message
    return WireError(code, text, stream=queued.stream.name, frame_id=message.frame_id, seq=message.seq)


def _answer(sender: bytes | None, error: WireError, status: str) -> Ack | None:
    if sender is None:
        return None
    return ack(sender, error.stream, error.frame_id, error.seq, status, error.code)
