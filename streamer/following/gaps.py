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
_SCORE = "/score"
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
    which is asked whether it has any. `held`: an answer that waits until the scores of its stream are known
    up to when it was given. The rest is the hole that is being filled.
    """

    last: int = -1
    digest: bytes | None = None
    is_new: bool = False
    checked: bool = False
    asking: bool = False
    probing: bool = False
    waiting: deque[Message] = field(default_factory=deque)
    fetched: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    held: tuple[list[tuple[int, Message]], bool] | None = None
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
        self._newest: dict[str, int] = {}
        self._topics: dict[str, _Topic] = {}
        self._bytes = 0
        self.restart(known)

    def restart(self, known: Mapping[str, tuple[int, bytes | None]]) -> None:
        """Begin again with what the store has kept."""
        self._topics = {topic: _Topic(last, digest) for topic, (last, digest) in known.items()}
        self._bytes = 0
        self._newest = {}

    def check_all(self, topics: Iterable[str] = ()) -> None:
        """The detector may be another one than before: ask for what follows the last number of each topic.

        Args:
            topics: that there may be beside those that are known.
        """
        for name in topics:
            self._topic(name)
        for topic in self._topics.values():
            topic.checked, topic.probing, topic.asking, topic.held = False, False, True, None

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
        if not topic.asking and not self._is_early(message):
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
            (*self._urgency(name, topic), name)
            for name, topic in self._topics.items()
            if topic.asking and topic.held is None
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
        scores = self._scores_of(name)
        if scores is not None and messages:
            # What it says may be of frames that were scored since their scores were asked for.
            topic.held, scores.asking = (messages, more), True
            return taken
        self._take_answer(name, topic, messages, more, taken)
        if self._scores_first and name.endswith(_SCORE) and not topic.asking:
            for other, behind in self._topics.items():
                if behind.held is not None and other.rpartition("/")[0] == name.rpartition("/")[0]:
                    (held, more), behind.held = behind.held, None
                    self._take_answer(other, behind, held, more, taken)
        return taken

    def _take_answer(
        self, name: str, topic: _Topic, messages: list[tuple[int, Message]], more: bool, taken: Taken
    ) -> None:
        if not topic.checked and topic.last >= 0:
            if self._is_anew(topic, messages):
                self._begin_anew(name, topic, taken)
                return  # asked for again, from 0
            if not messages and not topic.probing and not name.endswith(_THINNED):
                topic.probing = True
                return
        topic.checked, topic.probing = True, False
        for number, message in messages:
            if name.endswith(_SCORE):
                self._note_frame(message)
            if number > topic.last:
                self._skip_to(topic, number)
                topic.first = number if topic.first is None else topic.first
                topic.filled, topic.end = topic.filled + 1, number
                self._remember(topic, number, message)
                self._accept(topic, message, number, taken)
        if not (more and messages):
            self._flush(name, topic, taken, blind=False)

    def unanswered(self) -> Taken:
        """The history cannot be asked: what waits goes on, and what is missing is lost."""
        taken = Taken()
        for name in sorted(self._topics, key=_rank):
            topic = self._topics[name]
            if topic.asking:
                topic.checked, topic.probing, topic.held = True, False, None
                self._flush(name, topic, taken, blind=True)
        return taken

    def _urgency(self, name: str, topic: _Topic) -> tuple[int, int]:
        waits, rank = int(not topic.waiting), _rank(name)
        return (rank, waits) if self._scores_first else (waits, rank)

    def _scores_of(self, name: str) -> _Topic | None:
        """The scores that what a topic says waits for; None where it waits for none."""
        if not self._scores_first or name.endswith(_SCORE):
            return None
        return self._topics.get(name.rpartition("/")[0] + _SCORE)

    def _is_early(self, message: Message) -> bool:
        """Whether it must wait for scores: some are missing, or that of the frame which it revises is."""
        scores = self._scores_of(message.topic)
        if scores is None or scores.asking:
            return scores is not None
        scores.asking = message.kind == "revision" and self._note_frame(message)
        return scores.asking

    def _note_frame(self, message: Message) -> bool:
        """Whether its frame was taken later than any before; from now on its score is known, or asked for."""
        captured, stream = message.get("capture_ns"), message.topic.rpartition("/")[0]
        if not isinstance(captured, int) or captured <= self._newest.get(stream, -1):
            return False
        self._newest[stream] = captured
        return True

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
        if message.kind == "score":
            self._note_frame(message)
        taken.messages.append(message)


def _rank(name: str) -> int:
    return 0 if name.endswith(_SCORE) else 1


def _size(message: Message) -> int:
    return len(message.payload or b"")
