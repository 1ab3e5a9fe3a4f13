"""What lines tell, published here: taken over in the ledger and on the wire, once each."""

import time
from collections.abc import Callable, Mapping

from streamer.cluster.exchange import Extracted, Frame, Reply, Told
from streamer.cluster.remote_line import RemoteLine
from streamer.server.outbox import Outgoing
from streamer.server.outcomes import Outcomes
from streamer.server.pipeline import Tokens
from streamer.server.stream import QueuedFrame, Stream
from streamer.server.telling import Telling
from streamer.server.timing import spent_ms


class Published:
    """Publishes replies; whoever has one calls it, with the line's `turn`.

    Args:
        outcomes: where scores go.
        observe, observe_score: of `streamer.server.engine.Parts`.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        observe: Callable[[Mapping[str, float]], None],
        observe_score: Callable[[str, float], None],
    ) -> None:
        self.outcomes = outcomes
        self._observe, self._observe_score = observe, observe_score
        self._telling = Telling(outcomes)

    def take(self, stream: Stream, line: RemoteLine, reply: Reply) -> None:
        """Take over how a ring is, before anything is out: who has a score must not find an older ring."""
        stream.state, stream.held = reply.state, frozenset(reply.held)
        line.wants_snapshot |= reply.wants_snapshot
        line.files = {**line.files, "journal_bytes": reply.journal_bytes}

    def reply(self, stream: Stream, line: RemoteLine, reply: Reply) -> None:
        """All that came of an operation but a frame's."""
        self.take(stream, line, reply)
        stream.unsaved = True
        for told in reply.told:
            self.put(stream, told)

    def of_frame(self, queued: QueuedFrame, extracted: Extracted, line: RemoteLine, reply: Reply) -> None:
        """All that came of a frame."""
        self.take(queued.stream, line, reply)
        queued.stream.unsaved = True
        for told in reply.told:
            if told.kind == "score":
                self._score(queued, extracted, told)
            else:
                self.put(queued.stream, told)

    def put(self, stream: Stream, told: Told) -> None:
        """A message that is no score."""
        if told.kind == "event":  # first: who has seen it finds it in `status`
            self.outcomes.ledger.event(stream.name, told.header["event"])
        self.outcomes.outbox.put(Outgoing(stream.name, told.kind, told.header, payload=told.payload))

    def error(self, stream: Stream, code: str, text: str) -> None:
        """An error that is no frame's."""
        header = {"stream": stream.name, "frame_id": None, "seq": None, "code": code, "text": text}
        self.outcomes.outbox.put(Outgoing(stream.name, "error", header))

    def _score(self, queued: QueuedFrame, extracted: Extracted, told: Told) -> None:
        stream, header = queued.stream, told.header
        self._observe(header["latency_ms"])
        if header["raw_score"] is not None:
            self._observe_score(stream.name, header["raw_score"])
        self.outcomes.score(queued, header, None, None, told.spent_ms, told.payload)
        self._telling.picture(stream, header, Tokens(queued, extracted.shape, picture=extracted.picture))


def frame_of(queued: QueuedFrame, extracted: Extracted, queue_ms: float) -> Frame:
    """A frame as its line gets it; the phases so far add up to what passed since it arrived."""
    message = queued.message
    waited_ms = (time.perf_counter_ns() - queued.received_ns) / 1e6
    phases = {**extracted.latency_ms}
    phases["queue"] = queue_ms + phases.get("queue", 0.0)
    phases["wait"] = phases.get("wait", 0.0) + max(0.0, waited_ms - sum(phases.values()))
    return Frame(
        message.frame_id,
        message.seq,
        queued.capture_ns,
        message.meta,
        spent_ms(queued.begun_ns, time.time_ns()),
        waited_ms,
        extracted.shape,
        extracted.contrast,
        phases,
    )
