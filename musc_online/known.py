"""What operators told of frames: good or a defect, kept when the frame has long left the ring."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from musc_online.arrays import FrameId

Truth = Literal["good", "defect"]
MOST = 1000
"""Frames whose truth is kept; of more the oldest words go."""


@dataclass
class Word:
    """One frame's truth, the defect's name where there is one, and the last raw score the frame had."""

    truth: Truth
    name: str | None
    raw_score: float | None


class KnownFrames:
    """The words of operators by frame, oldest first."""

    def __init__(self) -> None:
        self.words: OrderedDict[FrameId, Word] = OrderedDict()

    def __len__(self) -> int:
        return len(self.words)

    def tell(self, frame_id: FrameId, word: Word) -> None:
        """Keep a word; it takes the place of an earlier one on the same frame."""
        self.words.pop(frame_id, None)
        self.words[frame_id] = word
        while len(self.words) > MOST:
            self.words.popitem(last=False)

    def scores(self, truth: Truth) -> list[float]:
        """Raw scores of the frames that are so."""
        return [
            word.raw_score
            for word in self.words.values()
            if word.truth == truth and word.raw_score is not None
        ]

    def correct(self, frame_id: FrameId, truth: Truth) -> bool:
        """The newest word on a frame counts; whether there was another one before."""
        word = self.words.get(frame_id)
        if word is None or word.truth == truth:
            return False
        word.truth, word.name = truth, None
        return True

    def rescored(self, frame_id: FrameId, raw_score: float) -> None:
        """A frame that is still in the ring was revised."""
        if frame_id in self.words:
            self.words[frame_id].raw_score = raw_score

    def state(self) -> list[Any]:
        """For a snapshot: JSON types."""
        return [[frame_id, word.truth, word.name, word.raw_score] for frame_id, word in self.words.items()]

    def restore(self, state: list[Any]) -> None:
        """Take over `state()`."""
        self.words = OrderedDict((frame_id, Word(*word)) for frame_id, *word in state)
