"""Pictures joined to their verdicts: one that comes right behind its score is waited for, for a moment."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from streamer.bridges.telling import Joined
from streamer.following.identity import key_of
from streamer.following.taken import Came, Hole
from streamer.wire.published import Message

PATIENCE_S = 1.0
_BYTES = 64 * 2**20
_MOST = 2000

Frame = tuple[str, str]
"""Stream and key."""


@dataclass
class _Waiting:
    came: Came
    until: float
    """Monotonic seconds up to which its picture is waited for."""


class Joining:
    """Holds a score back until its picture is there, and what the same stream says behind it.

    A detector sends the picture right behind the score: whatever else the stream says before it means that
    there is none. Other streams are not held up.

    Args:
        expects: whether a picture of this score is to come.
        clock: seconds, monotonic.
    """

    def __init__(
        self, expects: Callable[[Message], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._expects, self._clock = expects, clock
        self._held: dict[str, _Waiting] = {}
        self._pictures: OrderedDict[Frame, bytes] = OrderedDict()
        self._bytes = 0

    @property
    def holds(self) -> Collection[str]:
        """Streams of which something is held back."""
        return self._held.keys()

    def clear(self) -> None:
        """Forget what is held: it comes again."""
        self._held.clear()

    def take(self, steps: Iterable[Came | Hole], *, live: bool) -> list[Joined | Hole]:
        """What may go on, in its order.

        Args:
            steps: pictures and holes among them.
            live: they came by themselves, so that pictures may follow.
        """
        ready: list[Joined | Hole] = []
        for step in steps:
            if isinstance(step, Hole):
                stream = step.topic.rpartition("/")[0]
                if stream in self._held:
                    ready.append(self._released(stream))
                ready.append(step)
                continue
            message = step.message
            stream = message.topic.rpartition("/")[0]
            if message.kind == "picture":
                self._remember(stream, message)
                if stream in self._held and self._picture(self._held[stream].came.message) is not None:
                    ready.append(self._released(stream))
                continue
            if stream in self._held:  # it was not the picture: none is to come
                ready.append(self._released(stream))
            if live and message.kind == "score" and not self._picture(message) and self._expects(message):
                self._held[stream] = _Waiting(step, self._clock() + PATIENCE_S)
            else:
                ready.append(self._joined(step))
        return ready

    def overdue(self) -> list[Joined]:
        """What has waited for long enough."""
        now = self._clock()
        return [self._released(stream) for stream, one in list(self._held.items()) if one.until <= now]

    def _released(self, stream: str) -> Joined:
        return self._joined(self._held.pop(stream).came)

    def _joined(self, came: Came) -> Joined:
        return Joined(came.message, self._picture(came.message), came.live)

    def _picture(self, message: Message) -> bytes | None:
        frame = _frame(message.topic.rpartition("/")[0], message)
        return None if frame is None else self._pictures.get(frame)

    def _remember(self, stream: str, message: Message) -> None:
        frame = _frame(stream, message)
        if frame is None or not message.payload:
            return
        self._bytes += len(message.payload) - len(self._pictures.pop(frame, b""))
        self._pictures[frame] = message.payload
        while self._bytes > _BYTES or len(self._pictures) > _MOST:
            self._bytes -= len(self._pictures.popitem(last=False)[1])


def _frame(stream: str, message: Message) -> Frame | None:
    frame_id = message.get("frame_id")
    return (stream, key_of(frame_id)) if isinstance(frame_id, str | int) else None
