"""Which published messages are missing, what to ask the history for, and what is gone for good.

No sockets and no clock: who calls it hands over what came, live or in answer, and takes what may be kept,
each topic in the order of its numbers.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamer.following.numbers import digest_of
from streamer.wire.published import Message

_BUFFERED = 2000
_BUFFERED_BYTES = 64 * 2**20
# Of live messages that wait while their topic is filled; of more the oldest go, and are asked for.
_REMEMBERED = 4096
_TOPICS = 4096
_THINNED = ("/error", "/dropped")
# Of these the history deletes by who sent them, not the oldest first.


@dataclass(frozen=True)
class Hole:
    """Numbers `first` to `last` of a topic did not come live: so many are lost, so many filled."""

    topic: str
    first: int
    last: int
    lost: int
    filled: int


@dataclass
class Taken:
    """Messages to keep, in order; holes to tell; topics that the detector numbers anew."""

    messages: list[Message] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    anew: list[str] = field(default_factory=list)

    def add(self, more: "Taken") -> None:
        """What came after it."""
        self.messages += more.messages
        self.holes += more.holes
        self.anew += more.anew


@dataclass
class _Topic:
    """`last`: the last number taken, -1 for none, and the digest of that message.

    `checked`: whether it is known to be of the count the detector is at now. `is_new`: never heard of before,
    so that what is no longer there was never missed. `fetched`: digests of messages that the history gave
    and that may come live as well. `probing`: the last number is not in the history,
    which is asked whether it has any. The rest is the hole that is being filled.
    """

    last: int = -1
    digest: bytes | None = None
    is_new: bool = False
    checked: bool = False
    asking: bool = False
    probing: bool = False
    waiting: deque[Message] = field(default_factory=deque)
    fetched: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    first: int | None = None
    end: int = -1
    filled: int = 0
    lost: int = 0


class Gaps:
    """Keeps the topics of one detector in order.

    Args:
        known: of each topic the last number kept and the digest of its message.
        scores_first: while numbers of a stream's scores are missing, what else it says waits for them: a
            verdict comes before those that revise it.
    """

    def __init__(self, known: Mapping[str, tuple[int, bytes | None]], *, scores_first: bool = False) -> None:
        self._scores_first = scores_first
        self._topics: dict[str, _Topic] = {}
        self._bytes = 0
        self.restart(known)

    def restart(self, known: Mapping[str, tuple[int, bytes | None]]) -> None:
        """Begin again with what the store has kept."""
        self._topics = {topic: _Topic(last, digest) for topic, (last, digest) in known.items()}
        self._bytes = 0

    def check_all(self, topics: Iterable[str] = ()) -> None:
        """The detector may be another one than before: ask for what follows the last number of each topic.

        Args:
            topics: that there may be beside those that are known.
        """
        for name in topics:
            self._topic(name)
        for topic in self._topics.values():
            topic.checked, topic.probing, topic.asking = False, False, True

    def check_new(self, topics: Iterable[str]) -> None:
        """Ask for everything of topics that were not heard of before."""
        for name in topics:
            if name not in self._topics and (topic := self._topic(name)) is not None:
                topic.asking = True

    def live(self, message: Message, number: int) -> Taken:
        """A message that came by itself; it waits where something before it is missing."""
        taken, topic = Taken(), self._topic(message.topic)
        if topic is None:
            return taken
        if not topic.asking:
            if number == topic.last + 1 and (topic.checked or topic.last < 0):
                topic.checked = True
                self._accept(topic, message, number, taken)
                return taken
            if number <= topic.last:
                if self._was_fetched(topic, message, number):
                    return taken
                topic.checked = False  # perhaps the detector counts anew
        topic.asking = True
        topic.waiting.append(message)
        self._bytes += _size(message)
        while len(topic.waiting) > _BUFFERED or (self._bytes > _BUFFERED_BYTES and len(topic.waiting) > 1):
            self._bytes -= _size(topic.waiting.popleft())
        return taken

    def next_request(self) -> tuple[str, int] | None:
        """The topic to ask the history for and the first number; None where nothing is missing.

        Topics for which messages wait come first, and scores before what is said of them.
        """
        asking = [
            (not topic.waiting, _rank(name), name) for name, topic in self._topics.items() if topic.asking
        ]
        if not asking:
            return None
        name = min(asking)[2]
        topic = self._topics[name]
        if topic.probing:
            return name, 0
        # With the last one that is known: whether it is the same tells whether the count is.
        return name, topic.last + 1 if topic.checked or topic.last < 0 else topic.last

    def answer(self, name: str, messages: list[tuple[int, Message]], more: bool) -> Taken:
        """What the history has of a topic, from the number that was asked for, oldest first.

        Args:
            name: of the topic.
            messages: with their numbers.
            more: whether there are more behind them.
        """
        taken, topic = Taken(), self._topics.get(name)
        if topic is None or not topic.asking:
            return taken
        if not topic.checked and topic.last >= 0:
            if self._is_anew(topic, messages):
                self._begin_anew(name, topic, taken)
                return taken  # asked for again, from 0
            if not messages and not topic.probing and not name.endswith(_THINNED):
                topic.probing = True
                return taken
        topic.checked, topic.probing = True, False
        for number, message in messages:
            if number > topic.last:
                self._skip_to(topic, number)
                topic.first = number if topic.first is None else topic.first
                topic.filled, topic.end = topic.filled + 1, number
                self._remember(topic, number, message)
                self._accept(topic, message, number, taken)
        if not (more and messages):
            self._flush(name, topic, taken, blind=False)
        return taken

    def unanswered(self) -> Taken:
        """The history cannot be asked: what waits goes on, and what is missing is lost."""
        taken = Taken()
        for name, topic in self._topics.items():
            if topic.asking:
                topic.checked, topic.probing = True, False
                self._flush(name, topic, taken, blind=True)
        return taken

    def _topic(self, name: str) -> _Topic | None:
        """A topic, new or known; None where there are too many."""
        if name not in self._topics and len(self._topics) < _TOPICS:
            self._topics[name] = _Topic(is_new=True)
        return self._topics.get(name)

    def _is_anew(self, topic: _Topic, messages: list[tuple[int, Message]]) -> bool:
        """Whether the detector counts from 0 again since the last number that is known."""
        if topic.probing:  # oldest go first: older than the last one there is nothing, unless counted anew
            return bool(messages) and messages[-1][0] < topic.last
        if messages and messages[0][0] == topic.last:
            return topic.digest is not None and digest_of(messages[0][1]) != topic.digest
        # The history no longer has it: what comes live and is not beyond it must be of another count.
        return not messages and any(message["pub_seq"] <= topic.last for message in topic.waiting)

    def _begin_anew(self, name: str, topic: _Topic, taken: Taken) -> None:
        topic.last, topic.digest, topic.is_new = -1, None, False
        topic.checked = topic.probing = False
        topic.fetched.clear()
        taken.anew.append(name)

    def _flush(self, name: str, topic: _Topic, taken: Taken, *, blind: bool) -> None:
        """Take what came live meanwhile, and tell what there was of a hole.

        Args:
            blind: the history cannot say whether a number that was there before is the same message.
        """
        topic.asking = False
        while topic.waiting:
            message = topic.waiting.popleft()
            self._bytes -= _size(message)
            number: int = message["pub_seq"]
            if number <= topic.last:
                if not blind or self._was_fetched(topic, message, number):
                    continue
                self._begin_anew(name, topic, taken)
                topic.checked = True
            self._skip_to(topic, number)
            self._accept(topic, message, number, taken)
        if topic.first is not None and (topic.lost or not topic.is_new):
            taken.holes.append(Hole(name, topic.first, topic.end, topic.lost, topic.filled))
        topic.first, topic.end, topic.filled, topic.lost, topic.is_new = None, -1, 0, 0, False

    def _skip_to(self, topic: _Topic, number: int) -> None:
        """Numbers between the last one and this are lost, unless nobody ever had them."""
        missing = number - topic.last - 1
        if missing and not (topic.is_new and topic.last < 0):
            topic.first = topic.last + 1 if topic.first is None else topic.first
            topic.lost, topic.end = topic.lost + missing, number - 1

    def _was_fetched(self, topic: _Topic, message: Message, number: int) -> bool:
        known = topic.digest if number == topic.last else topic.fetched.get(number)
        return known is not None and known == digest_of(message)

    def _remember(self, topic: _Topic, number: int, message: Message) -> None:
        topic.fetched[number] = digest_of(message)
        if len(topic.fetched) > _REMEMBERED:
            topic.fetched.popitem(last=False)

    def _accept(self, topic: _Topic, message: Message, number: int, taken: Taken) -> None:
        if topic.fetched and not topic.asking and number > next(reversed(topic.fetched)):
            topic.fetched.clear()  # live is past all that was fetched
        topic.last, topic.digest = number, digest_of(message)
        taken.messages.append(message)


def _rank(name: str) -> int:
    return 0 if name.endswith("/score") else 1


def _size(message: Message) -> int:
    return len(message.payload or b"")
