"""Whether a device's time goes as fast as ours: one that lags more and more tells of no delay."""

from collections import deque
from itertools import pairwise

HELD_UP_NS = 10_000_000_000
"""No link holds pictures for longer, and goes on at that."""
OFF = 0.01
"""So far behind ours may a time fall, of what passes."""
_LOOK_NS, _LOOKS = 5_000_000_000, 6
"""In each of six times 5 s, and it goes at another pace."""


class Pace:
    """Looks at the smallest delay in each 5 s, which by a time that is too slow grows without end.

    Of a time that goes 1 % slower than ours or more it is known after some half a minute; of one that stops,
    or lags now and then, once that makes 10 s. It is good again when it kept pace for half a minute: then
    delays are to be measured anew.
    """

    def __init__(self) -> None:
        self.is_good = True
        self._since_ns: int | None = None
        self._least_ns = 0
        self._looks: deque[tuple[int, int]] = deque(maxlen=_LOOKS + 1)
        """When each began, and the smallest delay in it."""
        self._lowest_ns = 0.0
        """The smallest delay of all, but one that grew no faster than is let pass."""

    def look(self, delay_ns: int, now_ns: int) -> bool:
        """Look at one more picture.

        Args:
            delay_ns: from the device's time to our steady clock.
            now_ns: by our steady clock.

        Returns:
            Whether it keeps pace again, as it did not up to now.
        """
        if self._since_ns is not None and now_ns - self._since_ns < _LOOK_NS:
            self._least_ns = min(self._least_ns, delay_ns)
            return False
        was_good = self.is_good
        if self._since_ns is not None:
            self._judge(self._since_ns)
        is_good_again = self.is_good and not was_good
        if is_good_again:
            self.begin_anew()
        self._since_ns, self._least_ns = now_ns, delay_ns
        return is_good_again

    def begin_anew(self) -> None:
        """The device's time was set: what was before says nothing."""
        self.is_good, self._since_ns = True, None
        self._looks.clear()

    def _judge(self, since_ns: int) -> None:
        least_ns = self._least_ns
        if self._looks:
            passed_ns = since_ns - self._looks[-1][0]
            self._lowest_ns = min(least_ns, self._lowest_ns + OFF * passed_ns)
        else:
            self._lowest_ns = least_ns
        self._looks.append((since_ns, least_ns))
        is_full = len(self._looks) > _LOOKS
        if self.is_good:
            grows = is_full and all(_grew(before, after) for before, after in pairwise(self._looks))
            self.is_good = not grows and least_ns - self._lowest_ns <= HELD_UP_NS
        else:
            self.is_good = is_full and not _grew(self._looks[0], self._looks[-1])


def _grew(before: tuple[int, int], after: tuple[int, int]) -> bool:
    return after[1] - before[1] > OFF * (after[0] - before[0])
