"""What becomes of a frame: booked, told on the wire, and its id freed, in one place."""

from typing import Any

import numpy as np
import numpy.typing as npt

from streamer.errors import WireError
from streamer.server.ledger import Accounts
from streamer.server.outbox import Outbox, Outgoing
from streamer.server.quiet import Quiet
from streamer.server.stream import Line
from streamer.server.waiting import Ack, Waiting, ack
from streamer.wire.frame import NO_STREAM

_UNREADABLE = "snapshot_unreadable"
_NO_PLACE = frozenset({"no_room", "too_many_streams"})


class Desk:
    """Every way a frame can end, for any thread; the outbox may be set after the desk is made."""

    outbox: Outbox

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._log = Quiet()

    def receive(self, line: Line | None) -> None:
        """A message came in, of an open stream or of none."""
        self.accounts.receive(_name(line))

    def refuse_message(self, error: WireError, line: Line | None, sender: bytes | None) -> None:
        """A message that never became a waiting frame: an `error`, and an ack where the sender waits."""
        self.accounts.refuse(_name(line), error.code)
        self._error(error, line, _answer(sender, error, "refused"))

    def refuse(self, waiting: Waiting, code: str, text: str) -> None:
        """A waiting frame turned out to be unusable."""
        self.accounts.refuse(waiting.line.name, code)
        error = _about(waiting, code, text)
        waiting.line.release(waiting.message.frame_id, scored=False)
        # A ring that cannot come from disk now can later: a reliable sender sends the frame again.
        later = code == _UNREADABLE or (waiting.line.asleep and code in _NO_PLACE)
        status = "busy" if later else "refused"
        self._error(error, waiting.line, _answer(waiting.sender, error, status))

    def warn(self, waiting: Waiting, code: str, text: str) -> None:
        """Something is odd about a frame that is used all the same."""
        self.accounts.warn(waiting.line.name, code)
        self._error(_about(waiting, code, text), waiting.line, None)

    def drop(self, waiting: Waiting, reason: str) -> None:
        """A frame given up for want of room; a reliable sender is asked to send it again."""
        line, message = waiting.line, waiting.message
        self.accounts.drop(line.name, reason)
        line.release(message.frame_id, scored=False)
        header = {
            "stream": line.name,
            "frame_id": message.frame_id,
            "seq": message.seq,
            "capture_ns": waiting.capture_ns,
            "reason": reason,
            "meta": message.meta,
        }
        answer = _answer(waiting.sender, _about(waiting, reason, ""), "dropped")
        self.outbox.put(Outgoing(line.name, "dropped", header, ack=answer))

    def score(
        self, waiting: Waiting, header: dict[str, Any], anomaly_map: npt.NDArray[np.float32] | None
    ) -> None:
        """A provisional score; the frame counts as scored, and is acknowledged, once it is published."""
        line, frame_id = waiting.line, waiting.message.frame_id

        def settle() -> None:
            line.release(frame_id, scored=True)
            self.accounts.score(line.name)

        answer = _answer(waiting.sender, _about(waiting, "", ""), "scored")
        self.outbox.put(Outgoing(line.name, "score", header, anomaly_map, settle, answer))

    def repeated(self, waiting: Waiting) -> None:
        """A reliable frame that came again while the first copy is in flight: its ack is on its way."""
        self.accounts.refuse(waiting.line.name, "duplicate")

    def answer_now(self, waiting: Waiting, status: str, code: str) -> Ack | None:
        """Book a reliable frame that is not taken, and say what its sender is told at once."""
        self.accounts.refuse(waiting.line.name, code)
        return _answer(waiting.sender, _about(waiting, code, ""), status)

    def _error(self, error: WireError, line: Line | None, answer: Ack | None) -> None:
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
        self.outbox.put(Outgoing(_name(line), "error", header, ack=answer))


def _name(line: Line | None) -> str:
    return NO_STREAM if line is None else line.name


def _about(waiting: Waiting, code: str, text: str) -> WireError:
    message = waiting.message
    return WireError(code, text, stream=waiting.line.name, frame_id=message.frame_id, seq=message.seq)


def _answer(sender: bytes | None, error: WireError, status: str) -> Ack | None:
    if sender is None:
        return None
    code = "" if status == "scored" else error.code
    return ack(sender, error.stream, error.frame_id, error.seq, status, code)
