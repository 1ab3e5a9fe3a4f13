"""What the library says, as lines of the bridge's log: short, without tracebacks, so many a minute."""

import logging
import time

import structlog

from streamer.printable import printable

_LINES, _WINDOW_S = 20, 60.0
_LENGTH = 300


class _Lines(logging.Handler):
    """Warnings and errors of the library; whoever connects decides what it says, and how often."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log = structlog.get_logger()
        self._since, self._count = 0.0, 0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._since > _WINDOW_S:
            if self._count > _LINES:
                self._log.warning("asyncua_lines_left_out", lines=self._count - _LINES)
            self._since, self._count = now, 0
        self._count += 1
        if self._count > _LINES:
            return
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text} ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        self._log.warning("asyncua", said=printable(text)[:_LENGTH])


def quiet() -> None:
    """Hand the library's log over to the bridge's."""
    logger = logging.getLogger("asyncua")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.WARNING)
    logger.propagate = False
