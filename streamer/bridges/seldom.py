"""Lines of the log that may come often: the first at once, then one a minute, with the sum of what came."""

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import structlog

log = structlog.get_logger()

EVERY_S = 60.0


class Seldom:
    """One kind of line; safe from any thread.

    Args:
        event: its name.
        counted: what its sum is called.
        level: of its lines.
        clock: seconds.
    """

    def __init__(
        self,
        event: str,
        counted: str = "count",
        level: Literal["info", "warning", "error"] = "warning",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._event, self._counted, self._level, self._clock = event, counted, level, clock
        self._lock = threading.Lock()
        self._held, self._facts = 0, dict[str, Any]()
        self._told_at = -float("inf")

    def add(self, count: int = 1, **facts: Any) -> bool:
        """So many more, and what there is to say of the last; whether a line was told.

        With a count of 0 what was held back is told once it may.
        """
        return self._tell(count, facts, EVERY_S)

    def flush(self) -> None:
        """Tell what was held back: nothing more comes."""
        self._tell(0, {}, 0.0)

    def _tell(self, count: int, facts: dict[str, Any], every_s: float) -> bool:
        with self._lock:
            self._held += count
            self._facts = facts if count else self._facts
            now = self._clock()
            if not self._held or now - self._told_at < every_s:
                return False
            told = {self._counted: self._held, **self._facts}
            self._held, self._told_at = 0, now
        getattr(log, self._level)(self._event, **told)
        return True
