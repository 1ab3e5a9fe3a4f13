"""The topics of one detector by name: those that are not looked at are held as names alone."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping

from streamer.following.topic import SCORE, Cursor, Topic

_TOPICS = 4096
# Beyond these, topics not heard of for the longest time are forgotten: what is kept is looked up again.
_NAMES = 200_000


class Topics:
    """Topics by name, the one heard of last at the end.

    Args:
        look_up: the last number kept of a topic; None for one of which nothing is kept. Without it none that
            is known is ever forgotten.
        was_whole: whether all that there was has once been caught up with.
    """

    def __init__(self, look_up: Callable[[str], Cursor | None] | None, was_whole: Callable[[], bool]) -> None:
        self._look_up, self._was_whole, self._is_new = look_up, was_whole, True
        self._known: OrderedDict[str, Topic] = OrderedDict()
        self._due: dict[str, None] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()

    def restart(self, known: Mapping[str, Cursor]) -> None:
        """Begin again with what is kept: of very many topics the names alone."""
        # Only who knew no topic at all, or has not caught up yet, has missed nothing of before.
        self._is_new = not known or not self._was_whole()
        if not self._was_whole():
            self._seen.clear()  # what the history answered may not be kept
        self._known.clear()
        self._due.clear()
        for name, cursor in known.items():
            if self._look_up is None or len(self._known) < _TOPICS:
                self._known[name] = Topic(*cursor)
            else:
                self.want(name)

    def in_order(self) -> list[tuple[str, Topic]]:
        """Those in memory, scores first."""
        return sorted(self._known.items(), key=lambda one: (_rank(one[0]), one[0]))

    def next_to_ask(self, *, scores_first: bool) -> tuple[str, Topic] | None:
        """The topic that the history is to be asked for next: see `Gaps.next_request`."""
        found = self._asking(scores_first)
        if not found and self._due:
            self.load(next(iter(self._due)))
            found = self._asking(scores_first)
        if not found:
            return None
        name = min(found)[-1]
        return name, self._known[name]

    def get(self, name: str) -> Topic | None:
        """A topic that is in memory."""
        return self._known.get(name)

    def are_full_for(self, name: str) -> bool:
        """Whether there is no room for a topic that is not in memory."""
        return name not in self._known and len(self._known) >= (2 if self._look_up else 1) * _TOPICS

    def load(self, name: str) -> Topic:
        """A topic, looked up where it is not in memory."""
        topic = self._known.get(name)
        if topic is None:
            cursor = None if self._look_up is None else self._look_up(name)
            # One that the history was asked for is not new, though it had nothing.
            is_new = self._is_new and name not in self._seen
            topic = Topic(is_new=is_new) if cursor is None else Topic(*cursor)
            topic.asking = name in self._due
            self._due.pop(name, None)
            self._known[name] = topic
        self._known.move_to_end(name)
        return topic

    def want(self, name: str) -> None:
        """The history is to be asked for a topic, later, unless there are far too many."""
        if (topic := self._known.get(name)) is not None:
            topic.asking = True
        elif len(self._due) < _NAMES:
            self._due[name] = None

    def want_unseen(self, names: Iterable[str]) -> None:
        """The history is to be asked for those it was not asked for yet."""
        for name in names:
            if name not in self._known and name not in self._seen:
                self.want(name)

    def drop_due(self) -> None:
        """Nobody can be asked."""
        self._due.clear()

    def see(self, name: str) -> None:
        """The history was asked for a topic; one of which there is nothing need not stay in memory."""
        self._seen[name] = None
        self._seen.move_to_end(name)
        if len(self._seen) > _NAMES:
            self._seen.popitem(last=False)
        topic = self._known.get(name)
        if self._look_up and topic and topic.is_idle and topic.last < 0 and not name.endswith(SCORE):
            del self._known[name]

    @property
    def are_many(self) -> bool:
        """Whether some are to be forgotten."""
        return self._look_up is not None and len(self._known) > _TOPICS

    def forget(self, busy: Collection[str]) -> None:
        """Those not heard of for the longest time, whose last numbers are kept, until there is room.

        Args:
            busy: streams and topics of which something is not kept yet.
        """
        for name, topic in list(self._known.items()):
            if len(self._known) <= _TOPICS * 3 // 4:
                return
            if topic.is_idle and name not in busy and name.rpartition("/")[0] not in busy:
                del self._known[name]

    def _asking(self, scores_first: bool) -> list[tuple[int, int, int, str]]:
        """What the history is to be asked for, the most urgent the least."""
        found = []
        for name, topic in self._known.items():
            if not topic.asking or topic.held is not None:
                continue
            scores = self._known.get(name.rpartition("/")[0] + SCORE) if scores_first else None
            if scores is None or scores is topic or not scores.asking:
                found.append((int(not (topic.waiting or topic.urgent)), _rank(name), topic.asked, name))
        return found


def _rank(name: str) -> int:
    return 0 if name.endswith(SCORE) else 1
