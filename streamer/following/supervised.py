"""What the supervisor of a page or a bridge is told from its loop: ready, alive, how it is, ending."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import structlog

from streamer.notify import Notify

log = structlog.get_logger()

_PERIODS = 10
# A follower may be so many times WatchdogSec at what came: a slow disk, much to delete.


class Following(Protocol):
    """The thread that listens to the detector."""

    def gets_on(self, longest_s: float) -> bool:
        """Whether it runs, and took no longer than `longest_s` for what came last."""
        ...


class Supervised:
    """Speaks to the supervisor while the loop turns, and the thread that follows the detector gets on.

    Args:
        notify: to the supervisor.
        follower: of the detector, started.
        shown: how it is, on one line; returns at once.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        notify: Notify,
        follower: Following,
        shown: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notify, self._follower, self._shown, self._clock = notify, follower, shown, clock
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
        watchdog_s = self._notify.watchdog_s
        stuck = watchdog_s is not None and not self._follower.gets_on(_PERIODS * watchdog_s)
        if stuck and not self._is_stuck:
            then = "the supervisor is not told any more that the service is alive"
            log.critical("stuck", thread="follow", what_now=then)
        self._is_stuck = stuck
        self._notify.status("stuck: the thread that listens to the detector" if stuck else self._shown())
        if not stuck:
            self._notify.watchdog()

    def stopping(self) -> None:
        """The service has begun to end."""
        self._notify.stopping()

    async def turning(self) -> None:
        """`turn` again and again, until cancelled; for a loop that has no turns of its own."""
        with suppress(asyncio.CancelledError):
            while True:
                self.turn()
                await asyncio.sleep(self._notify.every_s)
