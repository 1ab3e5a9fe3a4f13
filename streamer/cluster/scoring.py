"""What is done to rings that lines have: `streamer.server.scoring.Scoring` by asking them."""

from typing import Any

from streamer.cluster.exchange import Extracted
from streamer.cluster.lines import Lines
from streamer.cluster.published import Published, frame_of
from streamer.cluster.remote_line import Asked
from streamer.errors import WireError
from streamer.server.scoring import nothing_to_say
from streamer.server.stream import QueuedFrame, Stream
from streamer.wire.requests import Word


class LineScoring:
    """Asks lines, of each stream one operation at a time, and publishes what comes of it.

    Args:
        lines: of the streams.
        published: where goes what they tell.
    """

    def __init__(self, lines: Lines, published: Published) -> None:
        self._lines, self._published = lines, published

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
        line = self._lines.of(stream)
        with line.turn:
            self._lines.opened(stream, line)
            asked = Asked(
                "frame",
                lambda: (frame_of(queued, extracted, queue_ms), tokens),
                queued.message.frame_id,
            )
            reply = self._lines.ask(stream, line, asked)
            self._published.of_frame(queued, extracted, line, reply)

    def flush(self, stream: Stream) -> int:
        """Publish the final revision of every frame in the ring; how many there were.

        Raises:
            WireError: as `streamer.server.scoring.Scoring.flush`.
        """
        line = self._lines.of(stream)
        with line.turn:
            if not self._lines.has_ring(stream, line):
                return 0
            reply = self._lines.ask(stream, line, Asked("flush"))
            self._published.reply(stream, line, reply)
            return int(reply.answer)

    def reset(self, stream: Stream) -> None:
        """Forget a stream's ring, on disk too; the last scores of the frames in it are final."""
        line = self._lines.of(stream)
        with line.turn:
            if self._lines.has_ring(stream, line, wake=False):
                reply = self._lines.ask(stream, line, Asked("reset"))
                self._published.reply(stream, line, reply)
                line.call("forget")  # everybody has heard of it
            line.end()
            stream.reset()
            line.end()  # what was settled meanwhile is forgotten too

    def operate(self, stream: Stream, word: Word) -> dict[str, Any]:
        """An operator's word: done, and told to everybody.

        Raises:
            WireError: as `streamer.server.scoring.Scoring.operate`.
        """
        line = self._lines.of(stream)
        with line.turn:
            if not self._lines.has_ring(stream, line):
                raise nothing_to_say(stream, word)
            reply = self._lines.ask(stream, line, Asked("word", lambda: (word,)))
            self._published.reply(stream, line, reply)
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
        line = self._lines.of(stream)
        with line.turn:
            if stream.line is None:
                return None
            is_well = line.call("status") is not None
            if is_well and line.copy(asleep=False) and line.call("write") is None:
                raise WireError(
                    "snapshot_failed",
                    f"stream '{stream.name}': stays where it is, its ring could not be written",
                )
            self._lines.move(stream, line, node, avoid)
            return line.node
