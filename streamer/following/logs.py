"""The log of page and bridges: plain lines on standard error, whether or not anybody reads them."""

import logging
import sys
from contextlib import suppress
from typing import Any

import structlog

from streamer.printable import printable


class _Lines:
    """Standard error, where a reader that has gone costs a line and nothing else."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def configure(level: str) -> None:
    """Set up both kinds of log: our own, and that of libraries.

    Args:
        level: debug, info, warning or error.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    lines: Any = _Lines()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso", utc=True),
            structlog.processors.format_exc_info,
            _line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(lines),
    )
    logging.basicConfig(
        level=logging.WARNING, stream=lines, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    # What uvicorn says of a start, an end and every WebSocket we say ourselves, or do not.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    # Browsers that do not let go hold up no end: that is no error.
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)
    logging.captureWarnings(True)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    return "graceful shutdown" not in record.getMessage()


def _line(_logger: Any, _name: str, event: Any) -> str:
    """One line of an event; names and ids in it cannot break it. A traceback follows on lines of its own."""
    traced = event.pop("exception", None)
    at, level, what = (event.pop(key) for key in ("timestamp", "level", "event"))
    facts = "".join(f" {key}={printable(value)}" for key, value in event.items())
    line = f"{at} {level} {printable(what)}{facts}"
    return line if traced is None else f"{line}\n{traced}"
