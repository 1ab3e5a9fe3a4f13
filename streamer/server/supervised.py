"""What the service's supervisor is told: how it is, that it gets on, and that its end takes a while."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from streamer.notify import Notify

log = structlog.get_logger()

_PERIODS, _LONGEST_S = 10, 300.0
# A step may take ten times WatchdogSec: a first frame compiles the matcher, a large ring is revised whole.
_EXTENDED = 12


class Watched(Protocol):
    """What is asked of a service."""

    def overdue(self, longest_s: float) -> list[tuple[str, float]]:
        """Steps of its threads that have taken longer, with their seconds."""
        ...

    def tally(self) -> Mapping[str, int]:
        """Counts to tell, `streams`, `scored`, `dropped`, `refused`, `queued`; whether it gets on.

        `worked` moves with the steps of frames and `written` with those of snapshots; `at_work` and `writing`
        say whether such a step is under way.
        """
        ...


class Supervised(threading.Thread):
    """Speaks to the supervisor from `start` to `stop`, by itself; does nothing where there is none.

    The watchdog is told that the service is alive as long as no step of its threads takes longer than ten
    times WatchdogSec (without one, five minutes), and no frame waits as long with nothing being done about
    any. A thread that waits for work is in no step, and one that died ends the service anyhow. While the
    service ends its time to end is extended, as long as frames are worked on or snapshots written.

    Args:
        service: as far as it is asked.
        notify: to the supervisor.
        clock: seconds; for tests.
    """

    def __init__(self, service: Watched, notify: Notify, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name="supervised", daemon=True)
        self._service, self._notify = service, notify
        self._longest_s = _LONGEST_S if notify.watchdog_s is None else _PERIODS * notify.watchdog_s
        self._ended = threading.Event()
        self._ending = self._is_stuck = False
        self._frames, self._ended_so_far = _Still(clock), _Still(clock)

    def run(self) -> None:
        """Tell, now and again, until stopped."""
        if self._notify.is_on:
            self.tell()
            while not self._ended.wait(self._notify.every_s):
                self.tell()

    def stopping(self) -> None:
        """The service has begun to end."""
        self._ending = True
        self._notify.stopping()

    def stop(self) -> None:
        """Say nothing more."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def tell(self) -> None:
        """Say how the service is, and that it gets on, where it does."""
        tally = self._service.tally()
        stuck = [*self._service.overdue(self._longest_s), *self._waiting(tally)]
        self._notify.status(_shown(tally, stuck, ending=self._ending))
        self._say_stuck(stuck)
        if stuck:
            return
        self._notify.watchdog()
        if self._ending and self._moves(tally):
            self._notify.extend(_EXTENDED * self._notify.every_s)

    def _waiting(self, tally: Mapping[str, int]) -> list[tuple[str, float]]:
        """Frames that wait, while no thread works on any: each of them may wait for another for ever.

        What is dropped or refused meanwhile shows that frames come, not that they are scored.
        """
        no_wonder = not tally["queued"] or bool(tally["at_work"])
        still_s = self._frames.seconds((tally["scored"], tally["worked"]), moving=no_wonder)
        return [("queue", still_s)] if still_s > self._longest_s else []

    def _moves(self, tally: Mapping[str, int]) -> bool:
        # Not what is refused: senders ask again and again, until the end.
        counts = tuple(tally[name] for name in ("scored", "worked", "written"))
        # A ring may take a disk longer than any other step: it is known how long.
        return self._ended_so_far.seconds(counts, moving=bool(tally["writing"])) <= self._longest_s

    def _say_stuck(self, stuck: list[tuple[str, float]]) -> None:
        if stuck and not self._is_stuck:
            steps = {name: round(seconds) for name, seconds in stuck}
            then = "the supervisor is not told any more that the service is alive"
            log.critical("stuck", seconds=steps, longest_s=self._longest_s, what_now=then)
        self._is_stuck = bool(stuck)


class _Still:
    """For how long counts have not moved."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: tuple[int, ...] = ()
        self._since = clock()

    def seconds(self, counts: tuple[int, ...], *, moving: bool) -> float:
        """Since they last differed; none if something is `moving` all the same."""
        now = self._clock()
        if moving or counts != self._counts:
            self._counts, self._since = counts, now
        return now - self._since


def _shown(tally: Mapping[str, int], stuck: list[tuple[str, float]], *, ending: bool) -> str:
    """One line for `systemctl status`."""
    streams = tally["streams"]
    facts = [f"{streams} stream{'' if streams == 1 else 's'}", f"{tally['scored']} scored"]
    facts += [f"{tally[name]} {name}" for name in ("dropped", "refused") if tally[name]]
    facts += [f"{tally['queued']} waiting"] if tally["queued"] else []
    line = ", ".join(facts)
    if stuck:
        name, seconds = stuck[0]
        return f"stuck in '{name}' for {seconds:.0f} s: {line}"
    return f"ending: {line}" if ending else line
