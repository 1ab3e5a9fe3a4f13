"""A thread whose death is noticed: a service with a dead part must stop, not look alive. Work for another."""

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from streamer.progress import Progress

log = structlog.get_logger()

Result = TypeVar("Result")

_WAIT_S = 0.1


class FairLock:
    """A lock that goes to who has waited longest. Python's own may go to who just gave it back, and again."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._next = self._served = 0
        self._given_up: set[int] = set()

    def take(self, timeout_s: float | None = None) -> bool:
        """Wait for it; False if time ran out. Who has it gives it back by `give`."""
        with self._turn:
            mine = self._next
            self._next += 1
            if self._turn.wait_for(lambda: self._served == mine, timeout_s):
                return True
            self._given_up.add(mine)
            return False

    def give(self) -> None:
        """Let the next have it."""
        with self._turn:
            self._served += 1
            while self._served in self._given_up:
                self._given_up.remove(self._served)
                self._served += 1
            self._turn.notify_all()

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *_: object) -> None:
        self.give()


class Worker(threading.Thread):
    """Runs `work`; if that raises, logs it and calls `failed` with the exception.

    Attributes:
        progress: the step that it is in, where its work is made of such; by itself, or shared with parts
            whose work it does.
    """

    def __init__(
        self, name: str, failed: Callable[[BaseException], None], progress: Progress | None = None
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._failed = failed
        self.progress = Progress() if progress is None else progress

    def work(self) -> None:
        """What the thread does."""
        raise NotImplementedError

    def run(self) -> None:
        """Work, and tell if it fails."""
        try:
            self.work()
        except BaseException as error:
            log.exception("thread_died", thread=self.name)
            self._failed(error)


def run_there(
    post: Callable[[Callable[[], None]], None], work: Callable[[], Result], give_up: Callable[[], bool]
) -> Result | None:
    """Have another thread do something, and wait for it.

    Args:
        post: hands a job to that thread.
        work: what to do there; an exception it raises is raised here.
        give_up: asked now and then; once true, the work is not begun any more.

    Returns:
        What `work` did; None if it was given up.
    """
    done, turn = threading.Event(), threading.Lock()
    results: list[Result] = []
    errors: list[Exception] = []

    def job() -> None:
        with turn:
            try:
                if not done.is_set():
                    results.append(work())
            except Exception as error:
                errors.append(error)
            finally:
                done.set()

    post(job)
    while not done.wait(_WAIT_S):
        if give_up():
            with turn:  # what has begun is done to its end, or the other thread's state and ours would differ
                done.set()
    if errors:
        raise errors[0]
    return results[0] if results else None
