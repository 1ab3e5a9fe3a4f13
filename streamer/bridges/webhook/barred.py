"""An item to which alone the receiver says no, told from a receiver that says no to everything."""

import time
from collections.abc import Callable, Sequence
from itertools import takewhile

from streamer.bridges.sink import Item

_TIMES, _FOR_S = 5, 60.0
_OTHERS = 5


class Barred:
    """Counts how often in a row the item at the head of the line was not let in, and what was let in instead.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._number, self._times, self._since = -1, 0, 0.0
        self._passed: set[int] = set()
        self._asked: set[int] = set()
        self._judged = False

    def again(self, head: Item) -> bool:
        """The head was not let in; whether 5 times and for a minute: then another may be tried.

        At once where an item before was proven to be disliked alone: what protects all items from who lets
        nothing in is that another is taken, not the minute.
        """
        if head.number != self._number:
            self._number, self._times, self._since = head.number, 0, self._clock()
            # What was not taken a moment ago would not be now, and the next after it may be.
            self._asked = {number for number in self._asked if self._judged and number > head.number}
        self._times += 1
        return self._judged or (self._times >= _TIMES and self._clock() - self._since >= _FOR_S)

    @property
    def others(self) -> int:
        """How many others may be tried, one after the other, until one is taken; the next may be as bad."""
        return _OTHERS if self._judged else 1

    def judge(self, *, alone: bool) -> None:
        """Whether it was proven last that the head alone is disliked: another was taken, and it was not."""
        self._judged = alone

    def another(self, items: Sequence[Item]) -> Item | None:
        """Of what waits behind the head one that was not taken: each time another, which may be as bad.

        Of each frame only what comes first: a revision before its score would not be the last word on it.
        """
        behind = self._firsts(items)[1:]
        if all(item.number in self._asked for item in behind):
            self._asked.clear()
        found = next((item for item in behind if item.number not in self._asked), None)
        if found is not None:
            self._asked.add(found.number)
        return found

    def _firsts(self, items: Sequence[Item]) -> list[Item]:
        """Of items that were not taken those before which none of the same frame waits."""
        found: list[Item] = []
        frames: set[tuple[str | None, object]] = set()
        for item in items:
            if item.number in self._passed:
                continue
            frame = item.stream, item.header.get("frame_id")
            if frame[1] is None or frame not in frames:
                found.append(item)
            frames.add(frame)
        return found

    def passed(self, item: Item) -> None:
        """It was taken out of its turn."""
        self._passed.add(item.number)

    def to_send(self, items: Sequence[Item]) -> Sequence[Item]:
        """Of items that go out together those before the first that was taken out of its turn."""
        return list(takewhile(lambda item: item.number not in self._passed, items))

    def has_passed(self, item: Item) -> bool:
        """Whether an item was taken out of its turn, which now has come."""
        if item.number not in self._passed:
            return False
        self._passed.remove(item.number)
        return True
