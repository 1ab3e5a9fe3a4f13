"""Which published messages are missing, what to ask the history for, and what is gone for good.

No sockets and no clock: who calls it hands over what came, live or in answer, and takes what may be kept,
each topic in the order of its numbers.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping

from streamer.following.early import Early
from streamer.following.numbers import KEPT_BY_HISTORY, THINNED
from streamer.following.tails import Tails
from streamer.following.taken import Came, Hole, Taken
from streamer.following.topic import SCORE, Answer, Cursor, Topic, Waiting
from streamer.following.topics import Topics
from streamer.wire.checks import NO_STREAM
from streamer.wire.published import Message, topic_of

__all__ = ["Gaps", "Hole", "Taken"]

_BUFFERED = 2000
_BUFFERED_BYTES = 64 * 2**20
# Of live messages that wait while their topic is filled; of more the oldest go, and are asked for.


class Gaps:
    """Keeps the topics of one detector in order.

    Args:
        known: of each topic the last number kept and the digest of its message.
        scores_first: what a stream says waits while numbers of its scores are missing, or the score of the
            frame that it revises: a verdict comes before those that revise it. Then, too, each run of lost
            numbers is a hole of its own, told before what follows it, also where nothing does.
        look_up: the same as `known` of one topic, or None; with it topics may be forgotten.
        was_whole: whether all that there was has once been caught up with; until then what is gone was
            never missed. Without it who knows any topic has.

    Attributes:
        left_out: live messages that found no room; they are asked for.
        tails: what may still be on its way; is told of each heartbeat of the detector.
    """

    def __init__(
        self,
        known: Mapping[str, Cursor],
        *,
        scores_first: bool = False,
        look_up: Callable[[str], Cursor | None] | None = None,
        was_whole: Callable[[], bool] = lambda: True,
    ) -> None:
        self._scores_first = scores_first
        self._topics = Topics(look_up, was_whole)
        self.tails = Tails(self._topics)
        self._bytes = self._tick = self._checked = 0
        self.left_out = 0
        self.restart(known)

    def restart(self, known: Mapping[str, Cursor]) -> None:
        """Begin again with what the store has kept."""
        self._topics.restart(known)
        self._early = Early(self._topics, is_on=self._scores_first)
        self.tails.clear()
        self._bytes = 0

    def check_all(self, topics: Iterable[str] = ()) -> None:
        """The detector may be another one than before: ask for what follows the last number of each topic.

        `topics`: that there may be beside those that are known.
        """
        for name in topics:
            self._topics.want(name)
        self.tails.clear()
        self._checked = self._tick
        for _, topic in self._topics.in_order():
            topic.check()

    def check_new(self, topics: Iterable[str]) -> None:
        """Ask for everything of topics that were not heard of before."""
        self._topics.want_unseen(topics)

    @property
    def are_many(self) -> bool:
        """Whether there are so many topics that some are to be forgotten."""
        return self._topics.are_many

    def forget(self, busy: Collection[str]) -> None:
        """Forget topics not heard of any more, but not of `busy` streams: not all of those is kept yet."""
        self._topics.forget({*busy, *self.tails})

    def live(self, message: Message, number: int) -> Taken:
        """A message that came by itself; it waits where something before it is missing."""
        taken = Taken()
        self._tick += 1
        if self._topics.are_full_for(message.topic):
            self.left_out += 1
            self._topics.want(message.topic)
            return taken
        topic = self._topics.load(message.topic)
        stream = message.topic.rpartition("/")[0]
        if self._scores_first and stream != NO_STREAM:
            self._topics.want_unseen(topic_of(stream, kind) for kind in KEPT_BY_HISTORY)
        self._enter(topic, Waiting(message, number, self._tick), taken)
        return taken

    def next_request(self) -> tuple[str, int] | None:
        """The topic to ask the history for and the first number; None where nothing is missing.

        Topics for which messages wait come first, scores before what is said of them, then what was asked
        for the longest ago. What would have to wait for scores is not asked for before them.
        """
        found = self._topics.next_to_ask(scores_first=self._scores_first)
        if found is None:
            return None
        name, topic = found
        self._tick += 1
        topic.asked = self._tick
        return name, topic.first_wanted

    def answer(
        self, name: str, messages: list[tuple[int, Message]], more: bool, following: int | None = None
    ) -> Taken:
        """What the history has of a topic, from the number that was asked for, oldest first.

        Args:
            name: of the topic.
            messages: with their numbers.
            more: whether there are more behind them.
            following: the number that the topic's next message will have; None where that is not said.
        """
        taken, topic = Taken(), self._topics.get(name)
        if topic is None or not topic.asking:
            return taken
        self._tick += 1
        answer = Answer(topic.merged(messages), more, following)
        if self._early.must_wait(name, answer):
            topic.held = answer, self._tick
            return taken
        self._take_answer(name, topic, answer, taken)
        if self._scores_first and name.endswith(SCORE):
            self._release(name.rpartition("/")[0], topic.sure, taken)
        return taken

    def unanswered(self) -> Taken:
        """The history cannot be asked: what waits goes on, and what is missing is lost."""
        taken = Taken()
        self._topics.drop_due()
        self.tails.clear()
        for name, topic in self._topics.in_order():
            if not topic.is_idle:
                self._give_up(name, topic, taken)
        return taken

    def refused(self, name: str) -> Taken:
        """The same of one topic, which the history cannot read."""
        taken, topic = Taken(), self._topics.get(name)
        if topic is not None:
            self._give_up(name, topic, taken)
            if self._scores_first and name.endswith(SCORE):
                self._release(name.rpartition("/")[0], topic.sure, taken)
        return taken

    def _give_up(self, name: str, topic: Topic, taken: Taken) -> None:
        if topic.held is not None:
            (answer, _), topic.held = topic.held, None
            self._take_answer(name, topic, Answer(answer.messages, more=False), taken)
        topic.checked, topic.probing, topic.sure, topic.urgent = True, False, self._tick, False
        self._flush(name, topic, taken, blind=True)

    def _enter(self, topic: Topic, one: Waiting, taken: Taken) -> None:
        """Take a live message, or let it wait."""
        message, number = one.message, one.number
        # Before the first of a topic there is nothing to ask for, whether or not the history answers.
        is_first = self._scores_first and topic.last < 0 and number == 0
        if is_first and not (topic.waiting or topic.held):
            topic.asking = topic.urgent  # where others wait for it
        # What the same topic said before it and waits, it waits for.
        if not (topic.asking or topic.waiting or topic.held or self._early.is_early(one)):
            if number == topic.last + 1 and (topic.checked or topic.last < 0):
                topic.checked = True
                self._accept(topic, message, number, taken, live=True)
                return
            if number <= topic.last:
                if topic.was_fetched(message, number):
                    return
                topic.checked = False  # perhaps the detector counts anew
            topic.asking = True
        topic.waiting.append(one)
        self._bytes += one.bytes
        while len(topic.waiting) > _BUFFERED or (self._bytes > _BUFFERED_BYTES and len(topic.waiting) > 1):
            self._bytes -= topic.waiting.popleft().bytes

    def _take_answer(self, name: str, topic: Topic, answer: Answer, taken: Taken) -> None:
        messages, following = answer.messages, answer.following
        if not topic.checked and topic.last >= 0:
            if topic.is_anew(answer):
                self._begin_anew(name, topic, taken)
                return  # asked for again, from 0
            if not (messages or topic.probing or name.endswith(THINNED) or answer.goes_on(topic.last)):
                topic.probing = True
                return
        topic.checked, topic.probing = True, False
        came = {one.number for one in topic.waiting}
        for number, message in messages:
            if number > topic.last:
                self._skip_to(name, topic, number, taken)
                topic.note_filled(number)
                topic.remember(number, message)
                self._accept(topic, message, number, taken, live=number in came)
        if answer.more and messages:
            return
        topic.sure, topic.urgent = topic.asked, False
        was_new = topic.is_new
        self._flush(name, topic, taken, blind=False)
        if self._scores_first and following is not None and topic.is_idle:
            self._end_at(name, topic, following, was_new, taken)
        if name not in self.tails:
            self._topics.see(name)

    def _end_at(self, name: str, topic: Topic, following: int, was_new: bool, taken: Taken) -> None:
        """The history has nothing up to the next number: that is lost, unless it is still on its way."""
        topic.is_new = was_new and topic.last < 0
        if topic.certain > topic.last + 1:
            if topic.is_new:  # to be kept: who begins again is not new, and would miss it
                taken.steps.append(Hole(name, 0, topic.certain - 1, 0, 0))
            self._skip_to(name, topic, topic.certain, taken)
            topic.last, topic.digest, topic.is_new = topic.certain - 1, None, False
        topic.certain = 0
        if following > topic.last + 1:
            self.tails.note(name, following)
        else:
            topic.is_new = False

    def _release(self, stream: str, sure: int, taken: Taken) -> None:
        """All scores of a stream that were said before a tick are known: so may be what was said of them."""
        for name in [topic_of(stream, kind) for kind in KEPT_BY_HISTORY]:
            topic = self._topics.get(name)
            if topic is None or name.endswith(SCORE):
                continue
            if topic.held is not None and topic.held[1] <= sure:
                (answer, _), topic.held = topic.held, None
                self._take_answer(name, topic, answer, taken)
            if not topic.asking:  # what waited for nothing but scores
                waiting, topic.waiting = topic.waiting, deque()
                for one in waiting:
                    self._bytes -= one.bytes
                    self._enter(topic, one, taken)

    def _begin_anew(self, name: str, topic: Topic, taken: Taken) -> None:
        while topic.waiting and topic.waiting[0].tick <= self._checked:  # of the count of before
            one = topic.waiting.popleft()
            self._bytes -= one.bytes
            if one.number > topic.last:
                self._skip_to(name, topic, one.number, taken)
                self._accept(topic, one.message, one.number, taken, live=True)
        topic.begin_anew()
        taken.anew.append(name)

    def _flush(self, name: str, topic: Topic, taken: Taken, *, blind: bool) -> None:
        """Take what came live meanwhile, and tell what there was of a hole.

        `blind`: the history cannot say whether a number that was there before is the same message, nor what
        was published since it was asked.
        """
        topic.asking = False
        while topic.waiting:
            one = topic.waiting[0]
            if not blind and one.number > topic.last + 1 and one.tick > topic.asked:
                topic.asking = True  # what is before it may have been published since
                return
            if not blind and self._early.is_early(one):
                break
            topic.waiting.popleft()
            self._bytes -= one.bytes
            if one.number <= topic.last:
                if not blind or topic.was_fetched(one.message, one.number):
                    continue
                self._begin_anew(name, topic, taken)
                topic.checked = True
            self._skip_to(name, topic, one.number, taken)
            self._accept(topic, one.message, one.number, taken, live=True)
        if topic.first is not None and (topic.lost or not topic.is_new):
            taken.steps.append(Hole(name, topic.first, topic.end, topic.lost, topic.filled))
        topic.end_hole()

    def _skip_to(self, name: str, topic: Topic, number: int, taken: Taken) -> None:
        """Numbers between the last one and this are lost, unless nobody ever had them."""
        missing = number - topic.last - 1
        if not missing or (topic.is_new and topic.last < 0):
            return
        if self._scores_first:
            taken.steps.append(Hole(name, topic.last + 1, number - 1, missing, 0))
        else:
            topic.note_lost(missing, number - 1)

    def _accept(self, topic: Topic, message: Message, number: int, taken: Taken, *, live: bool) -> None:
        topic.take(number, message)
        self._early.note(message)
        taken.steps.append(Came(message, live))
