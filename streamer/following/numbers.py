"""Published messages by their numbers: which of them the history keeps, and what tells two of them apart."""

import hashlib

from streamer.wire.checks import check_count
from streamer.wire.published import Message

KEPT_BY_HISTORY = ("score", "revision", "event", "operator", "dropped", "error")
"""Kinds whose `pub_seq` goes on over restarts, and which can be asked for again."""

THINNED = ("/error", "/dropped")
"""How topics end of which the history deletes by who sent them, not the oldest first."""


def check_pub_seq(message: Message) -> int:
    """The number of a message on its topic.

    Raises:
        WireError: it has none.
    """
    return check_count(message.get("pub_seq"), "pub_seq")


def digest_of(message: Message) -> bytes:
    """Eight bytes that tell a message from another one of the same number.

    The history answers with the very bytes that were published.
    """
    body = message.packed or repr(sorted(message.items())).encode("utf-8", "replace")
    return hashlib.blake2b(body, digest_size=8).digest()
