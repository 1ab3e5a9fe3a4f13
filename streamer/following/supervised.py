"""What the supervisor of a page or a bridge is told from its loop: ready, alive, how it is, ending."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from streamer.notify import Notify
from streamer.progress import Progress

log = structlog.get_logger()

_PERIODS = 10
# A part may be so many times WatchdogSec at one thing: a slow disk, much to delete.


class Following(Protocol):
    """The thread that listens to the detector."""

    def gets_on(self, longest_s: float) -> bool:
        """Whether it runs, and took no longer than `longest_s` for what came last."""
        ...


class Supervised:
    """Speaks to the supervisor while the loop turns, the thread that follows the detector and others get on.

    Args:
        notify: to the supervisor.
        follower: of the detector, started.
        shown: how it is, on one line; returns at once.
        clock: seconds; for tests.
        progresses: of what else works, in threads that the loop does not wait for.
    """

    def __init__(
        self,
        notify: Notify,
        follower: Following,
        shown: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        progresses: Sequence[Progress] = (),
    ) -> None:
        self._notify, self._follower, self._shown, self._clock = notify, follower, shown, clock
        self._progresses = progresses
        self._next_at = -float("inf")
        self._is_stuck = False

    def ready(self) -> None:
        """The service does what it is there for."""
        self._notify.ready()
        self.turn()

    def turn(self) -> None:
        """The loop has turned; as often as one likes."""
        now = self._clock()
        if not self._notify.is_on or now < self._next_at:
            return
        self._next_at = now + self._notify.every_s
        stuck = self._stuck()
        if stuck is not None and not self._is_stuck:
            then = "the supervisor is not told any more that the service is alive"
            log.critical("stuck", part=stuck, what_now=then)
        self._is_stuck = stuck is not None
        self._notify.status(self._shown() if stuck is None else f"stuck: {stuck}")
        if stuck is None:
            self._notify.watchdog()

    def _stuck(self) -> str | None:
        """What hangs; None where nothing does, or nobody wants to know."""
        if self._notify.watchdog_s is None:
            return None
        longest_s = _PERIODS * self._notify.watchdog_s
        if not self._follower.gets_on(longest_s):
            return "the thread that listens to the detector"
        late = [step for progress in self._progresses for step in progress.overdue(longest_s)]
        return next((f"'{name}' for {seconds:.0f} s" for name, seconds in late), None)

    def stopping(self) -> None:
        """The service has begun to end."""
        self._notify.stopping()

    async def turning(self) -> None:
        """`turn` again and again, until cancelled; for a loop that has no turns of its own."""
        with suppress(asyncio.CancelledError):
            while True:
                self.turn()
                await asyncio.sleep(self._notify.every_s)
