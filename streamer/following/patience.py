"""How long the answer of a history is waited for, and when one that does not answer is given up."""

ANSWER_S, TRIES = 5.0, 2
_LONGEST_S = 40.0
# Where more patience is asked for: twice as long each time, for a history that is only slow.
_AGAIN_S = 1.0


class Patience:
    """What is known of a history by its answers.

    Args:
        seconds: that one which does not answer is waited for, while its detector is heard; 0 for no longer
            than two questions.

    Attributes:
        answers: whether it does; None while that is not known.
        gave_up: whether it was waited for in vain: what comes goes on, and what is missing is lost.
        ask_at: when it is asked next at the earliest, monotonic seconds.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.answers: bool | None = None
        self.gave_up = False
        self.ask_at = 0.0
        self._unanswered = 0
        self._away_since: float | None = None
        self._n_answers = 0
        # Of topics that were refused: since when, after how many answers, and those that are asked once more.
        self._refused: dict[str, tuple[float, int]] = {}
        self._once_more: set[str] = set()

    @property
    def answer_s(self) -> float:
        """How long the next answer is waited for."""
        longer = 2.0 ** min(self._unanswered, 10) if self.seconds else 1.0
        return max(ANSWER_S, min(ANSWER_S * longer, _LONGEST_S, self.seconds))

    def begin(self) -> None:
        """A detector is there, perhaps another one than before."""
        self._unanswered = 0
        self._refused.clear()
        if self.answers is False:
            self.answers = None

    def miss(self, now: float, *, is_up: bool) -> bool:
        """A question was not answered in time; whether the history is away."""
        self._unanswered += 1
        if self._unanswered < TRIES or not is_up:
            return False
        self.refuse(now)
        return True

    def refuse(self, now: float) -> None:
        """The history is away: it does not answer, cannot say now, or never could."""
        self.answers = False
        self.ask_at = now + (_AGAIN_S if self.seconds else 0.0)
        self._away_since = now if self._away_since is None else self._away_since

    def refuse_topic(self, topic: str, now: float) -> bool:
        """It says that it cannot say of a topic; whether that is the history, and not the topic alone."""
        _, n_answers = self._refused.setdefault(topic, (now, self._n_answers))
        self._once_more.discard(topic)
        if self.seconds and n_answers != self._n_answers:  # of others it did say
            self.ask_at = now + _AGAIN_S
            return False
        self.refuse(now)
        return True

    def is_given_up(self, topic: str, now: float) -> bool:
        """Whether a topic was refused for so long that it is not asked for again by this connection."""
        if not self.seconds or topic not in self._refused or topic in self._once_more:
            return False
        return now - self._refused[topic][0] >= self.seconds

    def answered(self, topic: str) -> bool:
        """The history has answered of a topic; whether it had been given up."""
        self._n_answers += 1
        self._refused.pop(topic, None)
        if self.gave_up:
            self._once_more = set(self._refused)
        gave_up, self.gave_up, self.answers = self.gave_up, False, True
        self._unanswered, self.ask_at, self._away_since = 0, 0.0, None
        return gave_up

    def is_over(self, now: float, *, is_up: bool) -> bool:
        """Whether a history that is away has been waited for long enough."""
        if self.seconds and not is_up:
            self._away_since = None  # there is nobody who could answer
        if self.answers is not False or self._away_since is None:
            return False
        return now - self._away_since >= self.seconds
