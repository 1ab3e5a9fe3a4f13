"""How many frames, or other things, a second one sender may send."""

import time
from collections import OrderedDict

_SENDERS = 1024


class Rates:
    """Frames a second per sender; the least recent of more than 1024 senders is forgotten.

    Args:
        rate: frames a second, None for no limit.
        at_once: how many may come at once; None for a second's worth.
    """

    def __init__(self, rate: float | None, at_once: float | None = None) -> None:
        self._rate = rate
        self._at_once = max(1.0, (rate or 0.0) if at_once is None else at_once)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, sender: str) -> bool:
        """Whether this sender may send one frame now."""
        if self._rate is None:
            return True
        now = time.monotonic()
        depth = self._at_once
        tokens, then = self._buckets.pop(sender, (depth, now))
        tokens = min(depth, tokens + (now - then) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[sender] = (tokens - allowed, now)
        if len(self._buckets) > _SENDERS:
            self._buckets.popitem(last=False)
        return allowed
