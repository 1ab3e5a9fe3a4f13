"""The service's log: structlog to stderr, JSON lines or for a person at a terminal."""

import logging
import os
import sys
import threading
import time
from typing import Any

import structlog

from streamer.printable import printable


def configure(level: str = "info", style: str = "auto") -> None:
    """Set up structlog for this process.

    Args:
        level: debug, info, warning or error.
        style: `json`, `console`, or `auto`: for a person where stderr is a terminal, else JSON. Lines for a
            person have colours on a terminal that has some, unless NO_COLOR is set (https://no-color.org).
    """
    readable = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer = _for_a_person() if readable else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            # JSON quotes what a name or an id may hold; on a terminal it could forge a line.
            *([_printable] if readable else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line is one write
        cache_logger_on_first_use=False,
    )


def is_terminal() -> bool:
    """Whether stderr is a terminal on which a line can be taken back and coloured."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _for_a_person() -> structlog.dev.ConsoleRenderer:
    # Tracebacks without the values of variables: among them are pixels, keys and addresses with passwords.
    return structlog.dev.ConsoleRenderer(
        colors=is_terminal() and not os.environ.get("NO_COLOR"),
        exception_formatter=structlog.dev.plain_traceback,
    )


def _printable(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    own = ("exception", "exc_info", "stack")
    return {
        key: printable(value) if isinstance(value, str) and key not in own else value
        for key, value in event.items()
    }


_EVERY_S = 1.0


class RateLimitedLog:
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
