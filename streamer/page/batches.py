"""Messages that came together: which can be kept, and up to which number of each topic they reach."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import structlog

from streamer.errors import WireError
from streamer.following.messages import Checked, Picture, Verdict, check
from streamer.following.numbers import KEPT_BY_HISTORY, check_pub_seq, digest_of
from streamer.wire.checks import NO_STREAM, check_stream
from streamer.wire.published import Message

log = structlog.get_logger()

Kept = tuple[Checked, str]
"""A checked message and its kind."""


@dataclass
class Batch:
    """What may be kept of messages that came together.

    Attributes:
        kept: in their order.
        numbers: of each topic the last number and the digest of that message, whether it could be kept
            or not: asked for again it would be no better.
        bad: how many could not be kept.
    """

    kept: list[Kept] = field(default_factory=list)
    numbers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    bad: int = 0

    @classmethod
    def of(cls, messages: Iterable[Message]) -> "Batch":
        """What may be kept of these."""
        batch = cls()
        for message in messages:
            try:
                number = check_pub_seq(message)
                if message.kind in KEPT_BY_HISTORY:
                    _check_topic(message)
                    batch.numbers[message.topic] = number, digest_of(message)
                batch.kept.append((check(message), message.kind))
            except WireError as error:
                batch.bad += 1
                log.debug("page_message_passed_over", code=error.code, text=str(error))
        return batch


def collapsed(kept: Sequence[Kept]) -> Iterator[Kept]:
    """All but revisions that others of the same frame follow with nothing else of that frame between."""
    revisions: dict[tuple[str, str], Verdict] = {}
    for one, kind in kept:
        if kind == "revision" and isinstance(one, Verdict):
            revisions[one.stream, one.key] = _last(revisions.pop((one.stream, one.key), None), one)
            continue
        if isinstance(one, Verdict | Picture) and (waiting := revisions.pop((one.stream, one.key), None)):
            yield waiting, "revision"
        yield one, kind
    yield from ((one, "revision") for one in revisions.values())


def _last(before: Verdict | None, now: Verdict) -> Verdict:
    """Which of two revisions of a frame counts, with the map of the other where it has none."""
    if before is None:
        return now
    older = now.scored <= before.scored and (now.revision, now.final) <= (before.revision, before.final)
    last, other = (before, now) if older else (now, before)
    if last.map_entry is not None:
        return last
    return replace(last, map_entry=other.map_entry, part=other.part)


def _check_topic(message: Message) -> None:
    stream, _, kind = message.topic.rpartition("/")
    if kind != message.kind:
        raise WireError("bad_value", "topic: is not of the message's kind")
    if stream != NO_STREAM:
        check_stream(stream)
