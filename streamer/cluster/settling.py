"""What a line knows of its frames' fate: scored and waiting to go out, out, and counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns, time_ns
from typing import Any, cast

from musc_online.arrays import FrameId
from streamer.cluster.exchange import Frame, Settled, Tokens, Told
from streamer.cluster.recorder import Recorder
from streamer.server import pipeline
from streamer.server.known_ids import ANY_PICTURE
from streamer.server.ledger import Ledger, Tally
from streamer.server.stream import QueuedFrame, Stream
from streamer.server.timing import spent_ms
from streamer.wire.frame import FrameMessage

_OF_THE_GATE = ("dropped", "refused", "warned")
"""What of a tally only the gate counts."""


@dataclass(eq=False)
class LineFrame(QueuedFrame):
    """A frame as the line has it: without its picture, its time by the gate's clock."""

    began_ns: int = 0

    @classmethod
    def made(cls, frame: Frame, stream: Stream) -> "LineFrame":
        """Of what the gate says; its ages are taken off this machine's clocks."""
        now, waited_ns = time_ns(), int(frame.waited_ms * 1e6)
        message = FrameMessage(
            stream.name, frame.frame_id, "raw", b"", frame.seq, frame.capture_ns, None, dict(frame.meta)
        )
        return cls(
            message,
            stream,
            frame.capture_ns,
            received_ns=perf_counter_ns() - waited_ns,
            arrived_ns=now - waited_ns,
            began_ns=now - int(frame.age_ms * 1e6),
        )

    def work(self, frame: Frame, tokens: Tokens) -> pipeline.Tokens:
        """What the matching thread would be given; its last lap ends with the phases that the gate knows."""
        spent = dict(frame.latency_ms)
        return pipeline.Tokens(
            self,
            frame.shape,
            frame.contrast,
            # Copies: the compiled loops would be compiled anew for arrays that must not be written to, and
            # what the ring keeps must not keep a whole message in an object store.
            patch_tokens=cast(Any, tokens[0].copy()),
            class_token=cast(Any, tokens[1].copy()),
            latency_ms=spent,
            since_ns=min(perf_counter_ns(), self.received_ns + int(sum(spent.values()) * 1e6)),
        )

    def timed(self, told: list[Told]) -> list[Told]:
        """The same messages, in a score's what passed since the frame's time began."""
        return [
            replace(one, spent_ms=spent_ms(self.began_ns, one.header["scored_ns"]))
            if one.kind == "score"
            else one
            for one in told
        ]

    @property
    def begun_ns(self) -> int:
        """When its time began, by this machine's clock."""
        return self.began_ns

    @property
    def digest(self) -> bytes:  # type: ignore[override]
        """The gate compares pictures."""
        return ANY_PICTURE


class Books:
    """The ledger of one stream, and which of its scores are out; the line calls it in turns.

    Args:
        stream: the line's.
        recorder: holds what settles the frames that were scored since the line was made.
    """

    def __init__(self, stream: Stream, recorder: Recorder) -> None:
        self.ledger = Ledger()
        self._stream, self._recorder = stream, recorder
        self._of_gate: Mapping[str, Any] = {}
        self._begun_with: list[FrameId] = []
        self._tally: dict[str, Any] | None = None

    def begin(self, settled: Sequence[Settled], tally: dict[str, Any] | None) -> None:
        """Before the files are read: what the gate knows to be out, and its tally, if it has one."""
        self._begun_with = [one.frame.frame_id for one in settled]
        self._tally = tally
        self._stream.resume_replayed(self._begun_with, ())

    def opened(self, tally: dict[str, Any] | None) -> None:
        """The files are read; `tally` is theirs."""
        tally = self._tally or tally
        if tally is not None:
            self.ledger.resume(self._stream.name, tally)
            self._of_gate = {key: tally[key] for key in _OF_THE_GATE}
        # Known as scored from the beginning, what the files say of them notwithstanding.
        self._stream.resume_replayed(self._begun_with, (), set(self._begun_with))
        for frame_id in self._begun_with:
            self._stream.note_published(frame_id)
        self._begun_with = []

    def known(self) -> tuple[list[FrameId], list[FrameId], list[FrameId]]:
        """Ids scored and published, oldest first; those that wait to be; those that only the ring knows."""
        waiting = [score.frame_id for score in self._stream.waiting()]
        return self._stream.ids()[0], waiting, sorted(self._stream.unpublished - set(waiting), key=str)

    def settle(self, settled: Sequence[Settled], tally: Mapping[str, Any]) -> None:
        """These scores are out; `tally` is the gate's."""
        for one in settled:
            settle = self._recorder.settles.pop(one.frame.frame_id, None)
            if settle is not None:
                settle()
            elif not self._stream.was_scored(one.frame.frame_id):
                self._settle_earlier(one)
        self._of_gate = {key: tally[key] for key in _OF_THE_GATE if key in tally}

    def tally(self) -> dict[str, Any]:
        """Of the stream, for its snapshot."""
        own = self.ledger.streams().get(self._stream.name) or Tally().with_last()
        return {**own, **self._of_gate}

    def _settle_earlier(self, one: Settled) -> None:
        """A frame that a line of before had scored."""
        frame_id, stream = one.frame.frame_id, self._stream
        self.ledger.score(stream.name, one.frame, late=one.late)
        if stream.resets:  # since then; its id may be used again
            return
        message = FrameMessage(stream.name, frame_id, "raw", b"")
        stream.release(LineFrame(message, stream, 0), stream.resets)
        stream.resume_replayed((), (), {frame_id})
        stream.note_published(frame_id)
