"""When a picture was taken, from what a device says of its time."""

import pytest

from streamer.sources.clock import AHEAD_NS, TRUSTED_NS, DeviceClock

S = 1_000_000_000
MS = 1_000_000
NOW = 1_700_000_000 * S


def test_a_device_that_tells_our_time_is_taken_at_its_word():
    clock = DeviceClock()
    for delay in (40 * MS, 900 * MS, 5 * S):
        assert clock.capture(NOW + delay, NOW + 2 * delay, since_1970=True) == (NOW + delay, True)


@pytest.mark.parametrize("wrong", [-TRUSTED_NS, AHEAD_NS + 31 * MS, 3600 * S])
def test_a_device_whose_clock_is_wrong_is_told_by_its_quickest_arrival(wrong):
    clock = DeviceClock()
    for second, delay in enumerate((30, 20, 500, 20)):
        taken = NOW + second * S
        found, exact = clock.capture(taken + wrong, taken + delay * MS, since_1970=True)
        assert not exact
    # What the shortest delay was cannot be known; what is above it shows.
    assert found == taken + 20 * MS
    assert clock.capture(taken + S + wrong, taken + S + 700 * MS, since_1970=True)[0] == taken + S + 20 * MS


def test_a_clock_that_counts_from_whenever_is_never_the_devices_word():
    clock = DeviceClock()
    assert clock.capture(5 * S, NOW, since_1970=False) == (NOW, False)
    assert clock.capture(6 * S, NOW + S + 300 * MS, since_1970=False) == (NOW + S, False)
    assert DeviceClock().capture(NOW, NOW, since_1970=False) == (NOW, False)


def test_a_clock_that_drifts_is_followed():
    clock = DeviceClock()
    for second in range(3600):
        arrived = NOW + second * S
        found, _ = clock.capture(second * (S - 100_000), arrived, since_1970=False)
        assert 0 <= arrived - found <= 7 * MS


def test_a_clock_that_begins_anew_is_begun_with_anew():
    clock = DeviceClock()
    clock.capture(100 * S, NOW, since_1970=False)
    assert clock.capture(0, NOW + S, since_1970=False) == (NOW + S, False)
