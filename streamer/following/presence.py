"""Whether a detector is there, and which streams it has: from what it says by itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from streamer.following.recent import Recent
from streamer.wire.checks import NO_STREAM
from streamer.wire.published import Message

DOWN_S = 11.0
"""A detector that said nothing for so long is down: a page says so before 12 s are over."""
_NOT_SURE = frozenset({"error", "dropped"})
# Of a stream that had a bad frame only nothing says that the detector has it.


class Endpoints(Protocol):
    """Where the detector is."""

    @property
    def scores(self) -> str:
        """Its `transport.scores`."""

    @property
    def control(self) -> str:
        """Its `transport.control`."""


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
        self._streams: Recent[_Stream] = Recent()

    @property
    def is_up(self) -> bool:
        """Whether something was heard within `DOWN_S`."""
        return self._heard_at is not None and self._clock() - self._heard_at < DOWN_S

    def heard(self, message: Message, *, live: bool) -> None:
        """A message came."""
        if live:
            self._heard_at = self._clock()
        name = message.topic.rpartition("/")[0]
        # A camera is no stream yet, and any publisher may name one: the history has nothing of it.
        if not name or name == NO_STREAM or message.kind == "source":
            return
        known = self._streams.heard(name, _Stream, sure=message.kind not in _NOT_SURE)
        if known is not None and message.kind == "status":
            known.pictures = _pictures_of(message)

    def streams(self) -> list[str]:
        """Names of streams heard of, of 1024 at most: those of which frames were scored stay longest."""
        return list(self._streams)

    def pictures_of(self, stream: str) -> str | None:
        """Of which frames of a stream pictures go out: `none`, `alarms` or `all`; None where nobody said."""
        known = self._streams.get(stream)
        return None if known is None else known.pictures


@dataclass
class _Stream:
    pictures: str | None = None


def _pictures_of(status: Message) -> str | None:
    picture: Any = status.get("picture")
    of = picture.get("of") if isinstance(picture, dict) else None
    return of if isinstance(of, str) else None
