"""Topics of which the history lacks the last numbers, which may still be on their way."""

from collections.abc import Iterator

from streamer.following.topics import Topics

_BEATS = 3
# More than one, since they may lie a while before they are read.


class Tails:
    """Waits a few heartbeats, behind which nothing of before is on its way; then the history is asked again.

    Args:
        topics: of the detector.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._waiting: dict[str, tuple[int, int]] = {}
        self._n_beats = 0

    @property
    def are_over(self) -> bool:
        """Whether nothing waits, and every stream was named: each heartbeat ends by naming all of them."""
        return not self._waiting and self._n_beats > 1

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def __contains__(self, name: str) -> bool:
        return name in self._waiting

    def note(self, name: str, following: int) -> None:
        """The history has nothing of a topic up to `following`."""
        self._waiting[name] = following, _BEATS

    def beat(self) -> None:
        """A heartbeat of the detector came."""
        self._n_beats += 1
        for name, (following, beats) in list(self._waiting.items()):
            if beats > 1:
                self._waiting[name] = following, beats - 1
                continue
            del self._waiting[name]
            if (topic := self._topics.get(name)) is not None:
                topic.asking, topic.certain = True, following

    def clear(self) -> None:
        """All topics are asked for anew."""
        self._waiting.clear()
        self._n_beats = 0
