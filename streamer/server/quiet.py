"""A log that a flood of bad frames cannot fill: each kind of warning at most once a second."""

import threading
import time
from typing import Any

import structlog

_EVERY_S = 1.0


class Quiet:
    """Counts what it holds back and says so with the next line of that kind."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def warning(self, event: str, code: str, **details: Any) -> None:
        """Log `event`, unless one with the same code was logged within the last second.

        `exc_info=True` adds the traceback of the exception being handled.
        """
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(code, -_EVERY_S) < _EVERY_S:
                self._held_back[code] = self._held_back.get(code, 0) + 1
                return
            self._last[code] = now
            held_back = self._held_back.pop(code, 0)
        self._log.warning(event, code=code, held_back=held_back, **details)
