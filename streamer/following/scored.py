"""Which frames' scores are known: what revises another one must wait for its score."""

from collections import OrderedDict

from streamer.wire.published import Message

_FRAMES = 100_000
# Of all streams together; whether an older one was scored is asked again.


class Scored:
    """Remembers frames, those named last the longest; a frame scored twice under one id is two."""

    def __init__(self) -> None:
        self._frames: OrderedDict[int, None] = OrderedDict()

    def add(self, message: Message) -> None:
        """The score of the frame that a message is of is known, or nobody has it any more."""
        frame = _frame(message)
        self._frames[frame] = None
        self._frames.move_to_end(frame)
        if len(self._frames) > _FRAMES:
            self._frames.popitem(last=False)

    def knows(self, message: Message) -> bool:
        """Whether the score of its frame is known."""
        return _frame(message) in self._frames


def _frame(message: Message) -> int:
    """Stands for the frame; not its time alone, since a camera's clock may be set back."""
    facts = (message.get("frame_id"), message.get("seq"), message.get("capture_ns"))
    return hash((message.topic.rpartition("/")[0], repr(facts)))
