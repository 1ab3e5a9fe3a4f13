"""A thread whose death is noticed: a service with a dead part must stop, not look alive."""

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()


class Worker(threading.Thread):
    """Runs `work`; if that raises, logs it and calls `failed` with the exception."""

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._failed = failed

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
