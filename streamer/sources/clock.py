"""A device's clock by this machine's: when a picture was taken, from what the device says of its time."""

import time

TRUSTED_NS = 1_000_000_000
"""A device that gives times since 1970 is taken at its word while pictures arrive within so long of them."""
AHEAD_NS = 5_000_000
"""So far may its clock be ahead of ours."""
_WINDOW_NS = 30_000_000_000


class DeviceClock:
    """Maps times of a device to ours.

    A device that is set by the same time server as this machine is taken at its word. Of any other the
    quickest arrival of the last half a minute or minute stands for no delay at all: what arrived later by
    the device's clock was under way for longer. So delays that grow show in the times, the shortest one
    does not, and a clock that drifts by 100 ppm is off by 6 ms at most.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._window: list[int] = []
        self._since_ns = 0

    def capture(self, device_ns: int, arrived_ns: int | None = None, *, since_1970: bool) -> tuple[int, bool]:
        """When a picture was taken.

        Args:
            device_ns: when it was by the device's clock; one that goes back begins anew.
            arrived_ns: when it came, by ours; None is now.
            since_1970: whether the device's clock counts from 1970; else from whenever.

        Returns:
            Nanoseconds since 1970 by our clock, at most `arrived_ns` and `AHEAD_NS`, and whether it is the
            device's word.
        """
        arrived_ns = time.time_ns() if arrived_ns is None else arrived_ns
        delay_ns = self._shortest(device_ns, arrived_ns)
        if since_1970 and -AHEAD_NS <= delay_ns <= TRUSTED_NS:
            return device_ns, True
        return device_ns + delay_ns, False

    def _shortest(self, device_ns: int, arrived_ns: int) -> int:
        """The smallest difference of the clocks in this window and the one before."""
        delay_ns = arrived_ns - device_ns
        if self._last_ns is None or device_ns < self._last_ns:
            self._window, self._since_ns = [], device_ns
        self._last_ns = device_ns
        if not self._window or device_ns - self._since_ns >= _WINDOW_NS:
            self._window, self._since_ns = [delay_ns, *self._window[:1]], device_ns
        self._window[0] = min(self._window[0], delay_ns)
        return min(self._window)
