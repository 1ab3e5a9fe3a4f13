"""What Ray says in this process, in our log: never on standard output, and one line each."""

import logging

import structlog
from ray._private import worker

from streamer.printable import printable

log = structlog.get_logger()

_LONGEST = 600
_ADVICE = "Some common causes include"
"""What follows is the same for every worker that died."""


class _Forward(logging.Handler):
    """What Ray's own logger is told, from warnings on."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        _say(level, record.getMessage())


def redirect() -> None:
    """From now on. What is told of workers that died is said in other words by whoever notices."""
    logger = logging.getLogger("ray")
    logger.handlers[:] = [_Forward(logging.WARNING)]
    logger.propagate = False
    worker.print_to_stdstream = _printed


def _printed(data: dict[str, object], ignore_prefix: bool = False) -> None:
    lines = data.get("lines")
    _say("warning", "\n".join(map(str, lines)) if isinstance(lines, list | tuple) else str(lines))


def _say(level: str, text: str) -> None:
    line = " ".join(text.partition(_ADVICE)[0].split())
    shown = printable(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")
    getattr(log, level)("ray", text=shown)
