"""The service's log: structlog to stderr, JSON lines or for a person at a terminal."""

import logging
import sys

import structlog


def configure(level: str = "info", style: str = "auto") -> None:
    """Set up structlog for this process.

    Args:
        level: debug, info, warning or error.
        style: `json`, `console`, or `auto`: for a person where stderr is a terminal, else JSON.
    """
    readable = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer = structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if readable else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
