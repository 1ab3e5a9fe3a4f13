"""From capture to score, by the clocks of two machines: what is late, and how long the newest scores took."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

AHEAD_NS = 10**9
"""A capture so far after its arrival is no difference between two clocks, but one that is wrong."""
OLD_NS = 24 * 3600 * 10**9
"""Nor is one so far before it a frame that waited."""
_SCORES = 1000


def clock_is_off(capture_ns: int, arrived_ns: int) -> bool:
    """Whether a frame's capture time cannot be: after its arrival by more than a second, or a day before."""
    return capture_ns - arrived_ns > AHEAD_NS or arrived_ns - capture_ns > OLD_NS


def begun_ns(capture_ns: int, arrived_ns: int) -> int:
    """When a frame's time began: as it was captured, or as it arrived where the camera's clock is off.

    A capture up to a second after the arrival is a clock that is a little fast: the arrival counts, too.
    """
    return arrived_ns if clock_is_off(capture_ns, arrived_ns) else min(capture_ns, arrived_ns)


def spent_ms(begun: int, now_ns: int) -> float:
    """Milliseconds since a time of `begun_ns`; 0 where our own clock was set back meanwhile."""
    return max(0, now_ns - begun) / 1e6


def is_late(spent: float, deadline_ms: float | None) -> bool:
    """Whether a score came after its deadline; without one none does."""
    return deadline_ms is not None and spent > deadline_ms


class Latencies:
    """Milliseconds from capture to score of the newest 1000 scores of a stream; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: deque[float] = deque(maxlen=_SCORES)

    def add(self, spent: float) -> None:
        """Enter one."""
        with self._lock:
            self._newest.append(spent)

    def status(self) -> dict[str, Any]:
        """`n` of how many, and the 50th, 95th and 99th percentile; None while there are none."""
        with self._lock:
            ordered = sorted(self._newest)
        return {"n": len(ordered), **{f"p{share}": _percentile(ordered, share) for share in (50, 95, 99)}}


def _percentile(ordered: Sequence[float], share: int) -> float | None:
    """The smallest value that `share` per cent of all do not exceed (nearest rank)."""
    if not ordered:
        return None
    return round(ordered[max(0, -(-share * len(ordered) // 100) - 1)], 3)
