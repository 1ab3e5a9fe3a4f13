"""Whether the parts of a service get on: a step that does not end is seen, whatever the step is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(eq=False)
class _Step:
    name: str
    since: float
    allowed_s: float
    moves: bool


class Progress:
    """Steps that threads are in, and since when. A thread that waits for work is in none.

    A part that waits for another within a step is in it, too: whoever hangs longest hangs first. Of steps
    within steps of one thread the innermost counts: the others get on with it.

    Args:
        clock: seconds; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._steps: dict[int, list[_Step]] = {}
        self._moves = 0

    @contextmanager
    def step(self, name: str, *, allowed_s: float = 0.0, moves: bool = False) -> Iterator[None]:
        """Within it this thread works; `name` is what it does, for people.

        Args:
            name: shown where it takes too long.
            allowed_s: seconds that it may take beyond what any step may.
            moves: whether it is part of what the service is there for: `moves` and `at_work` count it.
        """
        mine = threading.get_ident()
        step = _Step(name, self._clock(), allowed_s, moves)
        with self._lock:
            self._steps.setdefault(mine, []).append(step)
            self._moves += moves
        try:
            yield
        finally:
            with self._lock:
                within = self._steps[mine]
                within.remove(step)
                self._moves += moves
                if within:
                    within[-1].since = self._clock()
                else:
                    del self._steps[mine]

    def renew(self) -> None:
        """A step of this thread that is made of many small ones, or waits for who is watched, has got on."""
        with self._lock:
            for step in self._steps.get(threading.get_ident(), ()):
                step.since = self._clock()
                self._moves += step.moves

    @property
    def moves(self) -> int:
        """Rises as steps that move begin, get on and end."""
        return self._moves

    @property
    def at_work(self) -> bool:
        """Whether a thread is in a step that moves."""
        with self._lock:
            return any(step.moves for within in self._steps.values() for step in within)

    def overdue(self, longest_s: float) -> list[tuple[str, float]]:
        """Steps that take longer than `longest_s` and what they are allowed beyond it; the longest first.

        Returns:
            Each with its seconds so far.
        """
        now = self._clock()
        with self._lock:
            innermost = [within[-1] for within in self._steps.values()]
        ages = [(step.name, now - step.since, longest_s + step.allowed_s) for step in innermost]
        late = [(name, age) for name, age, most in ages if age > most]
        return sorted(late, key=lambda one: -one[1])
