"""What a history answers, read and checked."""

from contextlib import suppress

from streamer.errors import WireError
from streamer.following.numbers import check_pub_seq
from streamer.following.topic import Answer
from streamer.wire.frame import unpack
from streamer.wire.published import Message, unpack_message

MAX_ANSWER = 96 * 2**20


def read_answer(body: bytes, topic: str) -> Answer | None:
    """What it has of a topic, without what cannot be read; None where it does not say.

    Args:
        body: an answer as it came.
        topic: that it was asked for.
    """
    try:
        answer = unpack(body, MAX_ANSWER)
    except WireError:
        return None
    if answer.get("ok") is not True:  # it cannot say now, or never could
        return None
    listed, following = answer.get("messages"), answer.get("next")
    messages = [] if not isinstance(listed, list) else [one for one in map(_message, listed) if one]
    return Answer(
        [one for one in messages if one[1].topic == topic],
        bool(answer.get("more")),
        following if type(following) is int and 0 <= following < 2**63 else None,
    )


def _message(entry: object) -> tuple[int, Message] | None:
    """A message as the history keeps it, with its number; None where it cannot be read."""
    if not isinstance(entry, dict):
        return None
    topic, header, payload = entry.get("topic"), entry.get("header"), entry.get("map")
    if not isinstance(topic, str) or not isinstance(header, bytes):
        return None
    parts = [topic.encode("utf-8", "replace"), header]
    with suppress(WireError):
        message = unpack_message([*parts, payload] if isinstance(payload, bytes) else parts)
        return check_pub_seq(message), message
    return None
