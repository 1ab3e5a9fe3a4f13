"""What a receiver's answer means for the item that it answers."""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

_LONGEST = 64
_TIMEOUT, _GONE, _TOO_EARLY, _TOO_MANY = 408, 410, 425, 429


class Meaning(Enum):
    """Of a status."""

    TAKEN = "taken"
    AGAIN = "again"
    """Nothing is wrong with the item: it is sent again later."""
    GONE = "gone"
    """The receiver wants nothing more, ever."""
    NEVER = "never"
    """It will not take this one."""


def meaning(status: int) -> Meaning:
    """Of an HTTP status: 2xx taken, 410 gone, any other 4xx but 408, 425 and 429 never, and the rest again.

    3xx too: redirects are not followed, and nothing is wrong with the item.
    """
    if 200 <= status < 300:
        return Meaning.TAKEN
    if status == _GONE:
        return Meaning.GONE
    if 400 <= status < 500 and status not in {_TIMEOUT, _TOO_EARLY, _TOO_MANY}:
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
