"""What came too early: what is said of a stream while its scores, or one that it revises, are missing."""

from collections import OrderedDict

from streamer.following.topic import SCORE, Answer, Topic, Waiting
from streamer.following.topics import Topics
from streamer.wire.checks import NO_STREAM
from streamer.wire.published import Message

_FRAMES = 100_000
# Of all streams together; whether an older one was scored is asked again.


class Early:
    """Remembers the frames whose scores are known, those named last the longest.

    A frame that is scored anew under its old id is another one.

    Args:
        topics: of the detector.
        is_on: else nothing is early.
    """

    def __init__(self, topics: Topics, *, is_on: bool) -> None:
        self._topics, self._is_on = topics, is_on
        self._frames: OrderedDict[int, None] = OrderedDict()

    def note(self, message: Message) -> None:
        """The score of the frame that a message is of is known, or nobody has it any more."""
        if not self._is_on or message.kind not in {"score", "revision"}:
            return
        frame = _frame(message)
        self._frames[frame] = None
        self._frames.move_to_end(frame)
        if len(self._frames) > _FRAMES:
            self._frames.popitem(last=False)

    def is_early(self, one: Waiting) -> bool:
        """Whether a message must wait for scores, which are asked for: some are missing, or its own is."""
        scores = self._scores_of(one.message.topic)
        if scores is None or one.tick <= scores.sure:
            return False
        scores.asking = scores.asking or self._may_be_unscored(one.message)
        scores.urgent = scores.urgent or scores.asking
        return scores.asking

    def must_wait(self, name: str, answer: Answer) -> bool:
        """Whether what the history has of a topic must wait for scores, which are asked for.

        It may be of frames that were scored since their scores were asked for.
        """
        scores = self._scores_of(name)
        if scores is None or all(self._is_scored(message) for _, message in answer.messages):
            return False
        scores.asking = scores.urgent = True
        return True

    def _scores_of(self, name: str) -> Topic | None:
        """The scores that what a topic says waits for; None where it waits for none."""
        stream = name.rpartition("/")[0]
        if not self._is_on or name.endswith(SCORE) or stream == NO_STREAM:
            return None
        scores = self._topics.get(stream + SCORE)
        if scores is None:
            scores = self._topics.load(stream + SCORE)
            scores.asking = True
        return scores

    def _is_scored(self, message: Message) -> bool:
        return message.kind == "revision" and _frame(message) in self._frames

    def _may_be_unscored(self, message: Message) -> bool:
        return message.kind == "revision" and _frame(message) not in self._frames


def _frame(message: Message) -> int:
    """Stands for the frame; not its time alone, since a camera's clock may be set back."""
    facts = (message.get("frame_id"), message.get("seq"), message.get("capture_ns"))
    return hash((message.topic.rpartition("/")[0], repr(facts)))
