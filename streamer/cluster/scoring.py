"""What is done to rings that lines have: asked of them, and what they tell published here, once."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from streamer.cluster.exchange import Extracted, Frame, Opened, Reply, Told
from streamer.cluster.remote_line import Asked, Given, RemoteLine
from streamer.errors import WireError
from streamer.progress import Progress
from streamer.server.ledger import LastFrame
from streamer.server.outbox import Outgoing
from streamer.server.outcomes import Outcomes
from streamer.server.pipeline import Tokens
from streamer.server.restoring import Restorer
from streamer.server.scoring import nothing_to_say
from streamer.server.stream import QueuedFrame, Stream
from streamer.server.streams import Streams
from streamer.server.telling import Telling
from streamer.server.timing import spent_ms
from streamer.wire.requests import Word

log = structlog.get_logger()

_TOGETHER = 8
"""Lines that come up at a time as the gate starts."""
_OPEN_S = 600.0
"""Beyond what any step may take: a large ring comes from a slow disk, and its journal is done again."""


class LineScoring:
    """`streamer.server.scoring.Scoring` by lines; of each stream one operation at a time.

    Args:
        streams: the open ones.
        given: what lines are made with.
        outcomes: where scores go.
        restorer: finds what is on disk; the lines themselves read it.
        observe, observe_score: of `streamer.server.engine.Parts`.
        progress: of the steps that lines are waited for in.
    """

    def __init__(
        self,
        streams: Streams,
        given: Given,
        outcomes: Outcomes,
        restorer: Restorer,
        observe: Callable[[Mapping[str, float]], None],
        observe_score: Callable[[str, float], None],
        progress: Progress,
    ) -> None:
        self._streams, self._given, self._outcomes = streams, given, outcomes
        self._restorer, self._progress = restorer, progress
        self._observe, self._observe_score = observe, observe_score
        self._telling = Telling(outcomes)
        self._lines: dict[str, RemoteLine] = {}

    def line_of(self, stream: Stream) -> RemoteLine:
        """A stream's line, open or not."""
        line = self._lines.get(stream.name)
        # Of a stream that lost its place, and was opened anew, the line is another.
        if line is None or line.stream is not stream:
            self._forget_closed()
            line = self._lines[stream.name] = RemoteLine(stream, self._given)
        return line

    def lines(self) -> dict[str, RemoteLine]:
        """The open lines, by stream."""
        return {name: line for name, line in list(self._lines.items()) if line.is_open}

    def close(self) -> None:
        """End every line; no score goes out any more."""
        for line in self._lines.values():
            with line.turn:
                line.end()

    def every_line(self) -> list[RemoteLine]:
        """Those that are not open, too."""
        return list(self._lines.values())

    def look_at_files(self, stream: Stream, line: RemoteLine) -> None:
        """Hear what became of a line's files, and publish what it tells of them."""
        for told in line.call(lambda actor: actor.do.remote("troubles")) or ():
            self._put(stream, told)
        status = line.call(lambda actor: actor.do.remote("status"))
        if status is not None:
            line.files = status

    def resume(self) -> None:
        """Open the streams that have a snapshot, the newest first; those that find no place sleep on."""
        opening = []
        for name, asleep in self._restorer.streams():
            stream = None if asleep else self._admitted(name)
            if stream is not None:
                opening.append(stream)
            else:
                self._leave_asleep(name)
        with ThreadPoolExecutor(_TOGETHER, "resume") as pool:
            list(pool.map(self._resume, opening))

    def score(self, queued: QueuedFrame, extracted: Extracted, tokens: Any, queue_ms: float) -> None:
        """Score a frame, publish the score, and whatever its line tells with it.

        Args:
            queued: the frame.
            extracted: what its backbone said.
            queue_ms: for which it was queued.
            tokens: reference to `exchange.Tokens`, which never come here.

        Raises:
            WireError: its line refuses the frame, or there is none for it.
            LOST: the tokens are gone, with the node that had them.
        """
        stream = queued.stream
        line = self.line_of(stream)
        with line.turn:
            self._opened(stream, line)
            asked = Asked(
                "frame",
                lambda actor: actor.do.remote("score", _frame(queued, extracted, queue_ms), tokens),
                queued.message.frame_id,
            )
            reply = self._ask(stream, line, asked)
            self._take(stream, line, reply)
            stream.unsaved = True
            for told in reply.told:
                if told.kind == "score":
                    self._score(queued, extracted, told)
                else:
                    self._put(stream, told)

    def flush(self, stream: Stream) -> int:
        """Publish the final revision of every frame in the ring; how many there were.

        Raises:
            WireError: as `streamer.server.scoring.Scoring.flush`.
        """
        line = self.line_of(stream)
        with line.turn:
            if not self._has_ring(stream, line):
                return 0
            reply = self._ask(stream, line, Asked("flush", lambda actor: actor.do.remote("flush")))
            self._publish(stream, line, reply)
            return int(reply.answer)

    def reset(self, stream: Stream) -> None:
        """Forget a stream's ring, on disk too; the last scores of the frames in it are final."""
        line = self.line_of(stream)
        with line.turn:
            if stream.line is not None:
                reply = self._ask(stream, line, Asked("reset", lambda actor: actor.do.remote("reset")))
                self._publish(stream, line, reply)
                line.call(lambda actor: actor.do.remote("forget"))  # everybody has heard of it
                line.end()
            stream.reset()

    def operate(self, stream: Stream, word: Word) -> dict[str, Any]:
        """An operator's word: done, and told to everybody.

        Raises:
            WireError: as `streamer.server.scoring.Scoring.operate`.
        """
        line = self.line_of(stream)
        with line.turn:
            if not self._has_ring(stream, line):
                raise nothing_to_say(stream, word)
            reply = self._ask(stream, line, Asked("word", lambda actor: actor.do.remote("operate", word)))
            self._publish(stream, line, reply)
            answer: dict[str, Any] = reply.answer
            return answer

    def move(self, stream: Stream, node: str | None, avoid: frozenset[str] = frozenset()) -> str | None:
        """Have a stream's line end, its ring on disk, and come up elsewhere; where it is then.

        Args:
            stream: with a ring.
            node: where to; None for any but `avoid`.
            avoid: nodes.

        Raises:
            WireError: `no_line`: there is no room; its next frame opens it anywhere.
        """
        line = self.line_of(stream)
        with line.turn:
            if stream.line is None:
                return None
            if line.copy(asleep=False) and line.call(lambda actor: actor.do.remote("write")) is None:
                raise WireError(
                    "snapshot_failed",
                    f"stream '{stream.name}': stays where it is, its ring could not be written",
                )
            line.end()
            stream.line = None
            self._open(stream, line, node, avoid)
            return line.node

    def _forget_closed(self) -> None:
        """Of streams that lost their places; whoever sends must not make this grow."""
        for name, line in list(self._lines.items()):
            if not line.is_open and self._streams.get(name) is not line.stream:
                self._lines.pop(name, None)

    def _admitted(self, name: str) -> Stream | None:
        try:
            return self._streams.admit(name) if self._streams.has_place() else None
        except WireError:
            return None

    def _leave_asleep(self, name: str) -> None:
        stream = self._streams.put_to_sleep(name)
        if stream is None:
            text = "its ring stays on disk: limits.streams streams are open, and limits.sleeping asleep"
            log.warning("snapshot_left", stream=name, code="too_many_streams", text=text)
            return
        tally = self._restorer.restore_asleep(stream)
        stream.journal = None  # its line writes it
        stream.asleep = tally is not None
        if tally is not None:
            self._outcomes.ledger.resume(name, tally)

    def _resume(self, stream: Stream) -> None:
        line = self.line_of(stream)
        with line.turn:
            try:
                tally = self._open(stream, line).tally
            except WireError as error:
                log.warning("snapshot_left", stream=stream.name, code=error.code, text=error.text)
                self._leave_asleep(stream.name)
                return
            if tally is not None:
                self._outcomes.ledger.resume(stream.name, tally)
            else:  # a file that was set aside: nothing is known of it
                line.end()
                stream.line = None

    def _has_ring(self, stream: Stream, line: RemoteLine) -> bool:
        """Whether there is a ring; one that sleeps is woken."""
        if stream.asleep:
            self._opened(stream, line)
        return stream.line is not None

    def _opened(self, stream: Stream, line: RemoteLine) -> None:
        if stream.line is None:
            self._open(stream, line)

    def _open(
        self, stream: Stream, line: RemoteLine, node: str | None = None, avoid: frozenset[str] = frozenset()
    ) -> Opened:
        was_asleep = stream.asleep
        with self._streams.opening(stream), self._progress.step("open a line", allowed_s=_OPEN_S):
            opened = line.open(self._room(stream), node=node, avoid=avoid)
            stream.line = line
            self._know(stream, line, opened)
        self.look_at_files(stream, line)
        if was_asleep:
            log.info("stream_awake", stream=stream.name, images=stream.state["images"])
        return opened

    def _ask(self, stream: Stream, line: RemoteLine, asked: Asked) -> Reply:
        """The reply of a line, or of the one that took its place."""

        def reopen() -> Opened:
            before = int(stream.state.get("arrivals", 0))
            opened = self._open(stream, line)
            self._tell_lost(stream, before)
            return opened

        reply = line.ask(asked, reopen)
        if reply.error is not None:
            raise WireError(*reply.error)
        return reply

    def _know(self, stream: Stream, line: RemoteLine, opened: Opened) -> None:
        """Take over what a line knows of its frames, and tell it which scores are out."""
        stream.resume(opened.scored, opened.unpublished, ())
        self._take(stream, line, opened.reply)
        for told in opened.reply.told:
            self._put(stream, told)
        under_way = {queued.message.frame_id for queued in stream.in_flight()}
        for frame_id in (*opened.waiting, *opened.unpublished):
            if frame_id not in under_way and stream.was_scored(frame_id):
                line.settle(LastFrame(frame_id, time.time_ns(), None), late=False)

    def _tell_lost(self, stream: Stream, before: int) -> None:
        now = int(stream.state.get("arrivals", 0))
        if now < before:
            text = (
                f"stream '{stream.name}': its line died, and of {before} frames {now} were on disk; "
                "set snapshot.path and snapshot.journal: true to lose none"
            )
            log.error("ring_lost", stream=stream.name, text=text)
            header = {"stream": stream.name, "frame_id": None, "seq": None, "code": "ring_lost", "text": text}
            self._outcomes.outbox.put(Outgoing(stream.name, "error", header))

    def _publish(self, stream: Stream, line: RemoteLine, reply: Reply) -> None:
        self._take(stream, line, reply)
        stream.unsaved = True
        for told in reply.told:
            self._put(stream, told)

    def _take(self, stream: Stream, line: RemoteLine, reply: Reply) -> None:
        # Before anything is out: whoever has a score must not find an older ring in `status`.
        stream.state, stream.held = reply.state, frozenset(reply.held)
        line.wants_snapshot |= reply.wants_snapshot

    def _score(self, queued: QueuedFrame, extracted: Extracted, told: Told) -> None:
        # By the gate's clock, as everything else of the frame.
        scored_ns = queued.begun_ns + int(told.spent_ms * 1e6)
        stream, header = queued.stream, {**told.header, "scored_ns": scored_ns}
        self._observe(header["latency_ms"])
        if header["raw_score"] is not None:
            self._observe_score(stream.name, header["raw_score"])
        self._outcomes.score(queued, header, None, None, told.spent_ms, told.payload)
        self._telling.picture(stream, header, Tokens(queued, extracted.shape, picture=extracted.picture))

    def _put(self, stream: Stream, told: Told) -> None:
        if told.kind == "event":  # first: who has seen it finds it in `status`
            self._outcomes.ledger.event(stream.name, told.header["event"])
        self._outcomes.outbox.put(Outgoing(stream.name, told.kind, told.header, payload=told.payload))

    def _room(self, stream: Stream) -> int:
        room = self._streams.room_for(stream)
        if room < 1:
            text = f"stream '{stream.name}': limits.total_bytes is used up by other streams"
            raise WireError("no_room", text)
        return room


def _frame(queued: QueuedFrame, extracted: Extracted, queue_ms: float) -> Frame:
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
