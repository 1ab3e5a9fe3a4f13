"""A camera, its network and both clocks, simulated: of each picture it is known when it was taken."""

import random
from dataclasses import dataclass, field

from streamer.sources.clock import Arrival, DeviceClock

S = 1_000_000_000
MS = 1_000_000
NOW = 1_700_000_000 * S
BOOTED = 5_000 * S
"""By the steady clock of this machine."""
SLOWEST_MS = 20
"""What the quickest picture takes from the sensor to here."""


def never(_seconds):
    return 0


@dataclass
class SimulatedCamera:
    """Gives what `DeviceClock` says of each picture against the truth; all functions are of seconds so far.

    Attributes:
        drift: of the device's clocks against ours: 1e-4 is too fast by 100 ppm.
        jitter_ms: pictures come up to so much later than the quickest; every 32nd has none.
        packets: of each picture, one every 100 us; what is said of the last one counts.
        b_frames: two pictures between are sent behind the one after them.
        held_ms: how much longer a picture is under way, besides.
        device_set_s: by how much the device's steady clock is set from where it was.
        says_s: by how much its time since 1970 is from the truth; None says none.
        connects: whether it is connected to anew before the picture of that second.
        ours_set_s: by how much our clock since 1970 is set from the truth.
    """

    fps: float = 10.0
    drift: float = 0.0
    jitter_ms: float = 0.0
    packets: int = 1
    b_frames: bool = False
    held_ms: object = never
    device_set_s: object = never
    says_s: object = None
    ours_set_s: object = never
    connects: object = never
    clock: DeviceClock = field(default_factory=DeviceClock)

    def run(self, seconds, seed=0):
        """(second of capture, how many ms too late it is said, whether by the device's word), as sent."""
        chance, came = random.Random(seed), 0
        for sent, number in enumerate(self._order(round(seconds * self.fps))):
            taken = round(S * number / self.fps)
            # One picture goes out each interval; those that are sent before they are taken are none.
            leaves = round(S * (sent + 2 * self.b_frames) / self.fps)
            jitter = 0 if number % 32 == 0 else chance.uniform(0, self.jitter_ms)
            held = self.held_ms(leaves / S)
            came = max(came, leaves + round(MS * (SLOWEST_MS + jitter + held)))
            if self.connects(taken / S):
                self.clock.connected()
            for part in range(self.packets - 1):
                self._said(taken, came - MS * (self.packets - 1 - part) // 10)
            yield taken / S, *self._said(taken, came)

    def _order(self, count):
        if not self.b_frames:
            return range(count)
        return (number for start in range(0, count - 3, 3) for number in (start + 2, start, start + 1))

    def _said(self, taken, came):
        drifted = round(taken * (1 + self.drift))
        steady = 7 * S + drifted + round(S * self.device_set_s(taken / S))
        since_1970 = None if self.says_s is None else NOW + drifted + round(S * self.says_s(taken / S))
        ours = round(S * self.ours_set_s(came / S))
        said, exact = self.clock.capture(steady, Arrival(BOOTED + came, NOW + came + ours), since_1970)
        return (said - NOW - taken - ours) / MS, exact
