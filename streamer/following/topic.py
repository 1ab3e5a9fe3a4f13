"""One topic of a detector: where it stands, what waits, and what is known of its numbers."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from streamer.following.numbers import digest_of
from streamer.wire.published import Message

Cursor = tuple[int, bytes | None]
"""The last number kept of a topic, and the digest of its message; None where that message was lost."""

SCORE = "/score"
_REMEMBERED = 4096


@dataclass(frozen=True)
class Waiting:
    """A message that came live, its number, and when: a count of all that came, was asked or answered."""

    message: Message
    number: int
    tick: int

    @property
    def bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.message.packed) + len(self.message.payload or b"")


@dataclass(frozen=True)
class Answer:
    """What the history has of a topic, oldest first, and whether there are `more` behind it.

    `following`: the number that the topic's next message will have, None where the history does not say.
    """

    messages: list[tuple[int, Message]]
    more: bool
    following: int | None = None

    def goes_on(self, last: int) -> bool:
        """Whether it says that the detector has numbered more than `last`."""
        return self.following is not None and self.following > last


@dataclass
class Topic:
    """`last`: the last number taken, -1 for none, and the digest of that message.

    `is_new`: never heard of before, so that what is no longer there was never missed. `checked`: whether it
    is known to be of the count the detector is at now. `asking`: the history is to be asked, `urgent` if
    others wait for it; `asked`: the tick at which it was asked last. `sure`: the tick up to which all that
    was said before is taken or lost. `certain`: what has a smaller number and is not in the history will not
    come live either. `probing`: the last number is not in the history, which is asked
    whether it has any. `fetched`: digests of messages that the history gave and that may come live as well.
    `held`: an answer that waits for the scores said before a tick. The rest is the hole that is being filled.
    """

    last: int = -1
    digest: bytes | None = None
    is_new: bool = False
    checked: bool = False
    asking: bool = False
    urgent: bool = False
    probing: bool = False
    certain: int = 0
    asked: int = -1
    sure: int = -1
    waiting: deque[Waiting] = field(default_factory=deque)
    fetched: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    held: tuple[Answer, int] | None = None
    first: int | None = None
    end: int = -1
    filled: int = 0
    lost: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is known of it but its last number."""
        return not (self.asking or self.waiting or self.held)

    @property
    def first_wanted(self) -> int:
        """The number from which the history is asked.

        With the last one that is known: whether it is the same tells whether the count is.
        """
        if self.probing:
            return 0
        return self.last + 1 if self.checked or self.last < 0 else self.last

    def is_anew(self, answer: Answer) -> bool:
        """Whether the detector counts from 0 again since the last number that is known."""
        messages = answer.messages
        if self.probing:  # oldest go first: older than the last one there is nothing, unless counted anew
            return bool(messages) and messages[-1][0] < self.last
        if messages and messages[0][0] == self.last:
            return self.digest is not None and digest_of(messages[0][1]) != self.digest
        if messages or answer.goes_on(self.last):
            return False
        # The history no longer has it: what comes live and is not beyond it must be of another count.
        return any(one.number <= self.last for one in self.waiting)

    def merged(self, messages: list[tuple[int, Message]]) -> list[tuple[int, Message]]:
        """What the history gave, with what came live between it and has left the history already."""
        end = messages[-1][0] if messages else -1
        came = {one.number: one.message for one in self.waiting if self.last < one.number <= end}
        return sorted({**came, **dict(messages)}.items(), key=lambda one: one[0])

    def check(self) -> None:
        """The detector may be another one than before."""
        self.checked, self.probing, self.asking, self.held, self.certain = False, False, True, None, 0

    def begin_anew(self) -> None:
        """The next number is 0."""
        self.last, self.digest, self.is_new = -1, None, False
        self.checked, self.probing, self.certain = False, False, 0
        self.fetched.clear()

    def take(self, number: int, message: Message) -> None:
        """This message is the last one."""
        if self.fetched and not self.asking and number > next(reversed(self.fetched)):
            self.fetched.clear()  # live is past all that was fetched
        self.last, self.digest = number, digest_of(message)

    def was_fetched(self, message: Message, number: int) -> bool:
        """Whether the history gave this message before."""
        known = self.digest if number == self.last else self.fetched.get(number)
        return known is not None and known == digest_of(message)

    def remember(self, number: int, message: Message) -> None:
        """The history gave this message."""
        self.fetched[number] = digest_of(message)
        if len(self.fetched) > _REMEMBERED:
            self.fetched.popitem(last=False)

    def note_filled(self, number: int) -> None:
        """A number that was missing is there."""
        self.first = number if self.first is None else self.first
        self.filled, self.end = self.filled + 1, number

    def note_lost(self, count: int, end: int) -> None:
        """So many behind the last one, up to `end`, are lost."""
        self.first = self.last + 1 if self.first is None else self.first
        self.lost, self.end = self.lost + count, end

    def end_hole(self) -> None:
        """The hole is told."""
        self.first, self.end, self.filled, self.lost, self.is_new = None, -1, 0, 0, False
