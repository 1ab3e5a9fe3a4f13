"""Whether a detector is there, and which streams it has: from what it says by itself."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from streamer.wire.checks import NO_STREAM
from streamer.wire.published import Message

DOWN_S = 11.0
"""A detector that said nothing for so long is down: a page says so before 12 s are over."""
_STREAMS = 1024


class Heard(Protocol):
    """What a follower tells of everything that came, and asks of the detector."""

    @property
    def is_up(self) -> bool:
        """Whether something was heard within `DOWN_S`."""
        ...

    def heard(self, message: Message, *, live: bool) -> None:
        """A message came; what the history gave says nothing of how things are now."""

    def streams(self) -> list[str]:
        """Names of streams heard of."""
        ...


class Presence:
    """Remembers when something was last heard, and of which streams.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_at: float | None = None
        self._pictures: dict[str, str | None] = {}

    @property
    def is_up(self) -> bool:
        """Whether something was heard within `DOWN_S`."""
        return self._heard_at is not None and self._clock() - self._heard_at < DOWN_S

    def heard(self, message: Message, *, live: bool) -> None:
        """A message came."""
        if live:
            self._heard_at = self._clock()
        name = message.topic.rpartition("/")[0]
        if not name or name == NO_STREAM:
            return
        if name in self._pictures or len(self._pictures) < _STREAMS:
            known = self._pictures.setdefault(name, None)
            self._pictures[name] = _pictures_of(message) if message.kind == "status" else known

    def streams(self) -> list[str]:
        """Names of streams heard of."""
        return list(self._pictures)

    def pictures_of(self, stream: str) -> str | None:
        """Of which frames of a stream pictures go out: `none`, `alarms` or `all`; None where nobody said."""
        return self._pictures.get(stream)


def _pictures_of(status: Message) -> str | None:
    picture: Any = status.get("picture")
    of = picture.get("of") if isinstance(picture, dict) else None
    return of if isinstance(of, str) else None
