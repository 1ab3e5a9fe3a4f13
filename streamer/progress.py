"""Whether the parts of a service get on: a step that does not end is seen, whatever the step is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Progress:
    """Steps that threads are in, and since when. A thread that waits for work is in none.

    A part that waits for another within a step is in it, too: whoever hangs longest hangs first.

    Args:
        clock: seconds; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[tuple[int, str], float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Within it this thread works; `name` is what it does, for people."""
        key = (threading.get_ident(), name)
        self._since[key] = self._clock()
        try:
            yield
        finally:
            self._since.pop(key, None)

    def renew(self) -> None:
        """A step of this thread that is made of many small ones has got on."""
        mine, now = threading.get_ident(), self._clock()
        for key in [key for key in list(self._since) if key[0] == mine]:
            self._since[key] = now

    def overdue(self, longest_s: float) -> list[tuple[str, float]]:
        """Steps that have taken longer than `longest_s`, with the seconds so far; the longest first."""
        now = self._clock()
        # The list is made in one go: other threads begin and end steps meanwhile.
        ages = [(name, now - since) for (_, name), since in list(self._since.items())]
        return sorted((age for age in ages if age[1] > longest_s), key=lambda age: -age[1])
