"""What of all that a detector says is told to the receiver, and with which label it was told before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from streamer.bridges.common import Tell
from streamer.bridges.writing import Draft, Label, Writing
from streamer.errors import WireError
from streamer.following.messages import Checked, Event, Verdict, Word, check
from streamer.following.numbers import check_pub_seq, digest_of
from streamer.following.taken import Hole, Taken
from streamer.wire.checks import NO_STREAM
from streamer.wire.frame import VERSION, pack
from streamer.wire.published import Message

log = structlog.get_logger()


@dataclass(frozen=True)
class Joined:
    """A message with the picture that belongs to it, where one came; `live` if it came by itself."""

    message: Message
    picture: bytes | None = None
    live: bool = True


class Telling:
    """Turns messages into items, by the rules of `tell`.

    Args:
        tell: the rules.
        maps: whether verdicts keep their maps.

    Attributes:
        bad: messages that no detector sends, passed over.
    """

    def __init__(self, tell: Tell, *, maps: bool) -> None:
        self._tell, self._maps = tell, maps
        self._streams = None if tell.streams is None else frozenset(tell.streams)
        self.bad = 0

    def wants(self, stream: str | None) -> bool:
        """Whether a stream is told of; what concerns none always is."""
        return self._streams is None or stream in {None, NO_STREAM} or stream in self._streams

    def write(self, taken: Taken, joined: Sequence[Joined | Hole], writing: Writing) -> None:
        """Put what is to be told, and move the cursors past all of it.

        Args:
            taken: its topics counted anew; its messages and holes come as `joined`.
            joined: messages and holes in their order, pictures not among them.
            writing: the transaction.
        """
        for topic in taken.anew:
            writing.forget_topic(topic)
        for one in joined:
            if isinstance(one, Joined):
                number = check_pub_seq(one.message)
                self._write_one(one, number, writing)
                writing.move(one.message.topic, number, digest_of(one.message))
            elif one.lost or not one.filled:
                if one.lost:
                    writing.count("lost", one.lost)
                    self._write_hole(one, writing)
                # What follows may be written later, waiting for its picture: told once, whatever happens.
                writing.move(one.topic, one.last, None)

    def _write_one(self, joined: Joined, number: int, writing: Writing) -> None:
        message = joined.message
        try:
            checked = check(message)
        except WireError as error:
            self.bad += 1
            log.debug("bridge_message_passed_over", code=error.code, text=str(error))
            return
        if not self.wants(checked.stream):
            return
        # What came by itself is news whatever the clocks of the two machines say.
        is_news = self._tell.begin == "history" or joined.live or _said_ns(message, checked) >= writing.born
        match checked:
            case Verdict():
                self._write_verdict(joined, checked, number, is_news, writing)
            case _ if is_news and self._is_told(message.kind):
                stream = None if checked.stream == NO_STREAM else checked.stream
                kind: Any = message.kind
                writing.put(Draft(kind, message.packed, message.topic, number, stream))

    def _is_told(self, kind: str) -> bool:
        by_kind: dict[str, bool] = {
            "event": self._tell.events,
            "operator": self._tell.operator,
            "dropped": self._tell.dropped,
            "error": self._tell.errors,
        }
        return by_kind[kind]

    def _write_verdict(
        self, joined: Joined, verdict: Verdict, number: int, is_news: bool, writing: Writing
    ) -> None:
        message = joined.message
        before = writing.label(verdict.stream, verdict.key)
        told = is_news and self._is_verdict_told(message.kind, verdict, before)
        if told:
            writing.put(
                Draft(
                    "verdict",
                    message.packed,
                    message.topic,
                    number,
                    verdict.stream,
                    verdict.key,
                    before=before.label if before is not None and before.told else None,
                    payload=message.payload if self._maps else None,
                    picture=joined.picture,
                )
            )
        if told or before is None or not before.told:
            writing.remember(verdict.stream, verdict.key, Label(verdict.label, told))

    def _is_verdict_told(self, kind: str, verdict: Verdict, before: Label | None) -> bool:
        if kind == "score" or self._tell.revisions == "all" or (verdict.final and self._tell.finals):
            return True
        return self._tell.revisions == "changed" and (before is None or before.label != verdict.label)

    def _write_hole(self, hole: Hole, writing: Writing) -> None:
        stream = hole.topic.rpartition("/")[0]
        if not self._tell.dropped or not self.wants(stream):
            return
        header = {"lost": hole.lost, "first": hole.first, "last": hole.last, "topic": hole.topic}
        packed = pack({"v": VERSION, "kind": "dropped", **header})
        writing.put(Draft("dropped", packed, hole.topic, -1, None if stream == NO_STREAM else stream))


def availability(detector: str) -> Draft:
    """That the detector is `up` or `down`."""
    return Draft("availability", pack({"detector": detector}))


def _said_ns(message: Message, checked: Checked) -> int:
    """When it was said, nanoseconds since 1970; of losses, which do not say, now."""
    match checked:
        case Verdict():
            return checked.scored
        case Event() | Word():
            return checked.at
    captured = message.get("capture_ns")
    return captured if isinstance(captured, int) else 2**63
