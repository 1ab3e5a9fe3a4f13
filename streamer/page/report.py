"""A shift's figures."""

from collections.abc import Iterator
from typing import Any


def report(page: Any, stream: str | None, start: float | None, end: float | None) -> dict[str, Any]:
    """Figures."""
    return {}


def lines(found: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """CSV."""
    yield from ()
