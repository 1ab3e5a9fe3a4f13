"""What a receiver's answer means for the item that it answers."""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

_LONGEST = 64
_GONE = 410
_LATER = frozenset({408, 425, 429})
_NOT_LET_IN = frozenset({400, 401, 402, 403, 404, 405, 407, 421, 423, 426, 428})


class Meaning(Enum):
    """Of a status."""

    TAKEN = "taken"
    AGAIN = "again"
    """Nothing is wrong with the item: it is sent again later."""
    BARRED = "barred"
    """We are not let in, not believed, or not there: of the caller, the address or the route, as a rule not
    of the item."""
    GONE = "gone"
    """The receiver wants nothing more, ever."""
    NEVER = "never"
    """It will not take this one."""


def meaning(status: int) -> Meaning:
    """Of an HTTP status.

    2xx is taken, and 410 gone, as Standard Webhooks has it: no more is sent. 400 to 405, 407, 421,
    423, 426 and 428 say that we are not let in: 400 is what the examples of those who verify signatures
    answer where the secret or the clock is another. Any other 4xx but 408, 425 and 429 is of the item: never.
    The rest is again, 3xx too: redirects are not followed, and nothing is wrong with the item.
    """
    if 200 <= status < 300:
        return Meaning.TAKEN
    if status == _GONE:
        return Meaning.GONE
    if status in _NOT_LET_IN:
        return Meaning.BARRED
    if 400 <= status < 500 and status not in _LATER:
        return Meaning.NEVER
    return Meaning.AGAIN


def retry_after_s(value: str | None, now_s: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or until a date; None where it is neither.

    Args:
        value: of the header.
        now_s: seconds since 1970, of a date's distance; None for now.
    """
    if value is None:
        return None
    text = value.strip()
    if len(text) > _LONGEST:
        return None
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000": UTC of an unknown place
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - (time.time() if now_s is None else now_s))
