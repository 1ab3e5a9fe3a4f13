"""Which frames are re-scored, and what was last said of each: provisional, revised, final."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from musc_online.score import Score

UNTAKEN = 64
"""Arrivals a caller may let pass without asking for the final scores of the frames they evicted."""


@dataclass
class Entry:
    """One image in the ring, as the window knows it."""

    class_token: npt.NDArray[np.float32]
    frame_shape: tuple[int, int] | None
    score: Score
    """The last score given, without its arrays."""
    truth: bool | None = None
    """Its label, whatever its score, where an operator told it: whether it is anomalous."""

    def labelled(self, score: Score) -> Score:
        """A score of this frame with the label that is right."""
        return score if self.truth is None else replace(score, pred_label=self.truth)

    def closed(self) -> Score:
        """The last score as the final one."""
        return replace(self.labelled(self.score), is_final=True)


class Window:
    """The frames in the ring in order of arrival; the newest `size` of them are re-scored.

    Args:
        size: frames that are re-scored.
        capacity: slots of the ring: so many frames an operator's word may evict between two arrivals.
    """

    def __init__(self, size: int, capacity: int) -> None:
        self.size, self.capacity = size, capacity
        self.entries: dict[int, Entry] = {}
        """By slot, in order of arrival."""
        self.evicted: list[Score] = []
        """Final scores of evicted frames that nobody has taken yet."""
        self.stale = False
        """Whether an operator's word changed what the last scores were given by."""

    @property
    def token_width(self) -> int | None:
        """D, once there is a class token."""
        return next((len(entry.class_token) for entry in self.entries.values()), None)

    def add(self, slot: int, entry: Entry) -> None:
        """Take a new arrival in; its slot was emptied by `leave`."""
        self.entries[slot] = entry
        # For a caller who never asks, memory stays bounded: old ones lose their arrays first, then go.
        if len(self.evicted) > UNTAKEN:
            del self.evicted[: -UNTAKEN - self.capacity]
            self.evicted[:-UNTAKEN] = map(without_arrays, self.evicted[:-UNTAKEN])

    def leave(self, slot: int) -> None:
        """The slot's frame, if any, is evicted: its last score is final."""
        entry = self.entries.pop(slot, None)
        if entry is not None and not entry.score.is_final:
            self.evicted.append(entry.closed())

    def close(self, slots: Iterable[int]) -> list[Score]:
        """Call the last scores of `slots` final where they are not, and return those."""
        closed = []
        for slot in slots:
            entry = self.entries[slot]
            if not entry.score.is_final:
                entry.score = entry.closed()
                closed.append(entry.score)
        return closed

    def newest(self, count: int | None = None) -> list[int]:
        """Slots of the newest `count` frames (the window's `size` by default), oldest first."""
        return list(self.entries)[-(count or self.size) :]

    def known(self) -> tuple[npt.NDArray[np.float64], list[npt.NDArray[np.float32]]]:
        """Last raw scores `[n]` and class tokens `n x [D]` of the window's frames that have a score."""
        entries = [self.entries[slot] for slot in self.newest()]
        scored = [entry for entry in entries if entry.score.raw_score is not None]
        raw = np.array([entry.score.raw_score for entry in scored], np.float64)
        return raw, [entry.class_token for entry in scored]

    def class_tokens(self, slots: Iterable[int]) -> npt.NDArray[np.float32]:
        """`[n, D]` class tokens of `slots`."""
        return np.stack([self.entries[slot].class_token for slot in slots])

    def take_evicted(self) -> list[Score]:
        """Final scores of evicted frames since last asked, all of them if that was `UNTAKEN` arrivals ago."""
        taken, self.evicted = self.evicted, []
        return taken


def without_arrays(score: Score) -> Score:
    """The score as kept: its map was handed over once and is not held on to."""
    return replace(score, anomaly_map=None, patch_scores=None, frame_shape=None)
