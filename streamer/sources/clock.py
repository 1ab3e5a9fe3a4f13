"""A device's clock by this machine's: when a picture was taken, from what the device says of its time."""

import time
from typing import NamedTuple, Self

from streamer.sources.pace import HELD_UP_NS, Pace

TRUSTED_NS = 1_000_000_000
"""A device that gives times since 1970 is taken at its word if pictures arrive within so long of them."""
AHEAD_NS = 5_000_000
"""So far may its clock be ahead of ours."""
_WINDOW_NS = 30_000_000_000
_SET_NS = 500_000_000
"""A clock that moves so far against the other between two pictures was set."""
_DRIFT = 100e-6
"""Of two clocks that nobody sets: 100 ppm."""
_REORDERED, _REORDERED_NS = 16, 3_000_000_000
"""No codec sends a picture behind more than 16 later ones, no camera behind more than 3 s of them."""


class Arrival(NamedTuple):
    """A moment by this machine's two clocks, in nanoseconds: one that nobody sets, and that since 1970."""

    steady_ns: int
    since_1970_ns: int

    @classmethod
    def now(cls) -> Self:
        """This moment."""
        return cls(time.monotonic_ns(), time.time_ns())


class DeviceClock:
    """Maps times of a device to ours, over all connections to it.

    Of its steady time (of a stream's pictures) the quickest arrival of the last half a minute or minute
    stands for no delay at all; what arrived later by the device's clock was under way for longer. Where it
    says the time since 1970 too, and that agrees with ours, it is taken at its word.

    How far a time may be off, with a `way` that the quickest picture takes, arrivals that are up to `j` later
    than that at least every half a minute, and clocks that drift by up to 100 ppm:

    - the device's word: as far as its clock is from ours: 1 s behind to 5 ms ahead, when it was first heard.
      Delays show, also over reconnects, for two and a half hours if they are over 1 s and never shorter; a
      clock that drifts from ours is found out at 1 s. One that is set back by up to 10 s while it is not
      connected to, as by a restart, is taken for such a delay;
    - else: too late by `way + j`, and 6 ms more or less. A delay that comes shows for half a minute; one
      that stays for a minute is part of `way`. Pictures that come in coding order (B-frames) keep their
      distances; `way` has the codec's delay in it;
    - a steady time that goes 1 % slower than ours or more (a camera that counts 1/25 s for each picture, and
      takes longer in the dark), or stops: `Pace` finds out within half a minute, and the arrival counts for
      as long as it goes on, and half a minute more. Until then times are too early by what it lags, up to
      20 s; one that lags by less than 1 % makes them too early by 0.6 s at most. One that is too fast hides
      delays;
    - a word that lags so, since the reports are made of the same time, is believed until it says more than
      10 s;
    - a device that is set, or begins its time anew, is begun with anew: the picture's own delay is not known,
      and it counts as taken at its arrival. Of B-frames, one that is set back by less than 3 s is too
      early by as much for up to a minute;
    - a set clock of this machine moves the times by as much, as it should, and nothing else.
    """

    def __init__(self) -> None:
        self._word = _Word()
        self.connected()

    def connected(self) -> None:
        """A new connection: its steady time counts from elsewhere.

        What is known of the time since 1970 stays: a link that fills up is what makes a camera reconnect, and
        its delay is not to be taken for a clock that is behind.
        """
        self._word.connected()
        self._shortest: list[int] = []
        """The smallest differences of the clocks, in this window and the one before."""
        self._since_ns = 0
        self._last_ns, self._in_order = 0, 0
        self._pace = Pace()

    @property
    def keeps_pace(self) -> bool:
        """Whether its steady time goes as fast as ours; else arrivals count."""
        return self._pace.is_good

    def capture(
        self, device_ns: int, arrival: Arrival | None = None, since_1970_ns: int | None = None
    ) -> tuple[int, bool]:
        """When a picture was taken.

        Args:
            device_ns: by the device's steady clock, which counts from whenever.
            arrival: when the picture came, by ours; None is now.
            since_1970_ns: the same moment by the device's clock since 1970; None where it says none.

        Returns:
            Nanoseconds since 1970 by our clock, at most the arrival and `AHEAD_NS`, and whether it is the
            device's word.
        """
        arrival = Arrival.now() if arrival is None else arrival
        delay_ns = arrival.steady_ns - device_ns
        shortest_ns = self._quickest(device_ns, delay_ns, arrival.steady_ns)
        if since_1970_ns is not None:
            way_ns = arrival.since_1970_ns - since_1970_ns - (delay_ns - shortest_ns)
            ours_ns, its_ns = arrival.since_1970_ns - arrival.steady_ns, since_1970_ns - device_ns
            is_good = self._word.is_good(way_ns, ours_ns, its_ns, arrival.steady_ns)
            if is_good and arrival.since_1970_ns - since_1970_ns <= HELD_UP_NS:
                return since_1970_ns, True
        if not self._pace.is_good:
            return arrival.since_1970_ns, False
        return arrival.since_1970_ns - (delay_ns - shortest_ns), False

    def _quickest(self, device_ns: int, delay_ns: int, now_ns: int) -> int:
        """The smallest difference of the clocks, this one and the last ones'."""
        if self._is_set_back(device_ns):
            self._shortest = []
            self._pace.begin_anew()
        if self._pace.look(delay_ns, now_ns):
            self._shortest = []
        if not self._shortest or now_ns - self._since_ns >= _WINDOW_NS:
            self._shortest, self._since_ns = [delay_ns, *self._shortest[:1]], now_ns
        self._shortest[0] = min(self._shortest[0], delay_ns)
        return min(self._shortest)

    def _is_set_back(self, device_ns: int) -> bool:
        """Whether the time went back, and not by the order of a codec: that goes back every few pictures."""
        back_ns, self._last_ns = self._last_ns - device_ns, device_ns
        if back_ns <= 0:
            self._in_order += back_ns < 0  # a picture may come in many packets, all of one time
            return False
        in_order, self._in_order = self._in_order, 0
        return back_ns > _REORDERED_NS or in_order > _REORDERED


class _Word:
    """Whether a device's time since 1970 is good; once it is, a delay alone does not make it bad."""

    def __init__(self) -> None:
        self._good = False
        self._ours_ns, self._looked_ns = 0, 0
        self._its_ns: int | None = None
        self._known_ns = 0.0
        """The way by the device's word, but one that grew no faster than clocks drift."""

    def connected(self) -> None:
        """A new connection: whether the device's clocks were set meanwhile cannot be seen."""
        self._its_ns = None

    def is_good(self, way_ns: int, ours_ns: int, its_ns: int, now_ns: int) -> bool:
        """Look at one more picture.

        Args:
            way_ns: how long the quickest picture lately took, by the device's word.
            ours_ns, its_ns: from our steady clock to that since 1970, and from the device's; where one moves
                and the other does not, a clock was set.
            now_ns: by our steady clock.
        """
        moved_ns = ours_ns - self._ours_ns - (0 if self._its_ns is None else its_ns - self._its_ns)
        if not self._good or abs(moved_ns) >= _SET_NS:
            self._known_ns = way_ns
        else:
            self._known_ns = min(way_ns, self._known_ns + _DRIFT * (now_ns - self._looked_ns))
        self._ours_ns, self._its_ns, self._looked_ns = ours_ns, its_ns, now_ns
        self._good = way_ns >= -AHEAD_NS and self._known_ns <= TRUSTED_NS
        return self._good
