"""When a picture was taken, from what a device says of its time, against the truth of a simulated camera."""

from itertools import pairwise

import pytest
from simulated_camera import MS, NOW, SLOWEST_MS, S, SimulatedCamera, never

from streamer.sources.clock import AHEAD_NS, TRUSTED_NS, Arrival, DeviceClock

DRIFT_MS = 6
"""100 ppm for a minute, which is as long as a quickest arrival counts."""
HOUR_S = 3600


def from_second(start, value):
    """A function of time: nothing, then `value`."""
    return lambda seconds: value if seconds >= start else 0


def is_late(offs, least, most):
    """Whether all are too late by the quickest way and so much, in ms."""
    return all(least <= off - SLOWEST_MS <= most for off in offs)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("b_frames", [False, True])
@pytest.mark.parametrize("jitter_ms", [0, 80])
@pytest.mark.parametrize("drift", [0, 1e-4, -1e-4])
def test_a_steady_clock_is_late_by_the_quickest_way(drift, jitter_ms, b_frames, seed):
    camera = SimulatedCamera(drift=drift, jitter_ms=jitter_ms, b_frames=b_frames)
    found = list(camera.run(200, seed))
    assert not any(exact for _, _, exact in found)
    # Until the first one without jitter came.
    assert is_late([off for second, off, _ in found if second > 20], -DRIFT_MS, DRIFT_MS)
    assert is_late([off for _, off, _ in found], -DRIFT_MS, jitter_ms + DRIFT_MS + 200 * b_frames)


@pytest.mark.parametrize("packets", [1, 2, 20])
@pytest.mark.parametrize("fps", [1, 2, 10, 30])
def test_pictures_in_coding_order_keep_their_distances(fps, packets):
    camera = SimulatedCamera(fps=fps, b_frames=True, jitter_ms=5, packets=packets)
    found = sorted((second, 1000 * second + off) for second, off, _ in camera.run(60) if second > 40)
    gaps = [later[1] - earlier[1] for earlier, later in pairwise(found)]
    assert gaps == pytest.approx([1000 / fps] * len(gaps), abs=0.01)


@pytest.mark.parametrize("b_frames", [False, True])
def test_a_hold_up_shows_whole(b_frames):
    camera = SimulatedCamera(b_frames=b_frames, held_ms=lambda s: 500 if 20 <= s < 20.4 else 0)
    assert is_late([off for second, off, _ in camera.run(60) if second > 1], 0, 0)


def test_a_delay_that_stays_shows_for_half_a_minute_and_then_counts_as_the_way():
    found = list(SimulatedCamera(held_ms=from_second(60, 2500)).run(200))
    assert is_late([off for second, off, _ in found if second < 85], 0, 0)
    assert is_late([off for second, off, _ in found if second > 125], 2500, 2500)


def test_a_delay_that_stays_is_told_by_a_camera_that_says_the_time():
    found = list(SimulatedCamera(held_ms=from_second(60, 2500), says_s=lambda _: 0.001).run(600))
    assert all((off, exact) == (pytest.approx(1.0), True) for _, off, exact in found)


def test_a_delay_that_stays_for_hours_is_taken_for_a_clock_that_is_behind():
    camera = SimulatedCamera(fps=0.1, held_ms=from_second(60, 2500), says_s=lambda _: 0)
    found = list(camera.run(4 * HOUR_S))
    assert all(exact for second, _, exact in found if second < 2.5 * HOUR_S)
    assert not any(exact for second, _, exact in found if second > 3 * HOUR_S)


@pytest.mark.parametrize(
    "wrong_s", [-TRUSTED_NS / S, (AHEAD_NS + (SLOWEST_MS + 1) * MS) / S, HOUR_S, -HOUR_S]
)
def test_a_camera_whose_time_is_wrong_is_told_by_its_quickest_arrival(wrong_s):
    found = list(SimulatedCamera(says_s=lambda _: wrong_s, jitter_ms=30).run(60))
    assert not any(exact for _, _, exact in found)
    assert is_late([off for second, off, _ in found if second > 10], 0, 0)


@pytest.mark.parametrize("wrong_s", [-0.9, -0.1, 0.005])
def test_a_camera_that_is_right_within_a_second_is_taken_at_its_word(wrong_s):
    found = list(SimulatedCamera(says_s=lambda _: wrong_s, jitter_ms=30).run(60))
    assert all((off, exact) == (pytest.approx(1000 * wrong_s), True) for _, off, exact in found)


@pytest.mark.parametrize("drift", [1e-4, -1e-4])
def test_a_camera_that_drifts_away_is_believed_for_a_second_and_no_more(drift):
    # At one picture in 10 s over five hours.
    found = list(SimulatedCamera(fps=0.1, drift=drift, says_s=lambda _: 0).run(5 * HOUR_S))
    assert found[0][2] is True
    assert found[-1][2] is False
    assert min(off for _, off, _ in found) >= -1000
    assert max(off for _, off, _ in found) <= SLOWEST_MS + DRIFT_MS


@pytest.mark.parametrize("says", [None, lambda _: 0.0])
@pytest.mark.parametrize("step_s", [1, -1, HOUR_S, -HOUR_S])
def test_our_clock_that_is_set_moves_the_times_by_as_much_and_nothing_else(step_s, says):
    found = list(SimulatedCamera(ours_set_s=from_second(30, step_s), says_s=says).run(120))
    before = [(off, exact) for second, off, exact in found if second < 29.9]
    after = [(off, exact) for second, off, exact in found if second > 30]
    assert set(before) == {(0.0, True) if says else (SLOWEST_MS, False)}
    assert set(after) == {(SLOWEST_MS, False)}


def test_a_camera_is_believed_once_our_clock_was_set_right():
    # A picture under way when the clock is set comes after it.
    camera = SimulatedCamera(ours_set_s=lambda s: -HOUR_S if s < 30 else 0, says_s=lambda _: 0)
    assert {(second >= 30, exact) for second, _, exact in camera.run(60)} == {(False, False), (True, True)}


@pytest.mark.parametrize("step_s", [1, -1, HOUR_S, -HOUR_S])
def test_a_camera_that_is_set_wrong_is_believed_no_more(step_s):
    camera = SimulatedCamera(says_s=from_second(30, step_s), jitter_ms=30)
    found = list(camera.run(60))
    assert all((off, exact) == (0.0, True) for second, off, exact in found if second < 30)
    assert not any(exact for second, _, exact in found if second >= 30)
    assert is_late([off for second, off, _ in found if second >= 30], 0, 0)


@pytest.mark.parametrize("step_s", [0.3, -0.3, 1, -1, HOUR_S, -HOUR_S, -(2**32) / 90_000])
@pytest.mark.parametrize("says", [None, lambda _: 0.0])
def test_a_steady_clock_that_is_set_or_wraps_is_begun_with_anew(step_s, says):
    camera = SimulatedCamera(device_set_s=from_second(30, step_s), jitter_ms=30, says_s=says)
    found = list(camera.run(120))
    assert is_late([off for second, off, exact in found if not exact and second >= 30], 0, 30)
    assert is_late([off for second, off, exact in found if not exact and second > 40], 0, 0)
    assert all(off == 0.0 for _, off, exact in found if exact)
    assert all(exact is (says is not None) for second, _, exact in found if second > 40)


@pytest.mark.parametrize("step_s", [1, -1, -10, HOUR_S, -HOUR_S])
def test_the_same_of_pictures_in_coding_order(step_s):
    found = list(SimulatedCamera(b_frames=True, device_set_s=from_second(30, step_s)).run(120))
    after = [off for second, off, _ in found if second >= 31]
    assert is_late(after, min(0, 1000 * step_s) if step_s > -3 else 0, 0)
    assert is_late([off for second, off, _ in found if second > 95], 0, 0)


def test_the_time_is_never_past_the_arrival():
    camera = SimulatedCamera(jitter_ms=80, b_frames=True, device_set_s=lambda s: (s * 7919) % 13 - 6)
    for second, off, _ in camera.run(60):
        # An arrival is no later than jitter, B-frames and the way put it.
        assert off <= SLOWEST_MS + 80 + 300, second


def test_what_comes_now_is_stamped_now():
    before = Arrival.now()
    said, exact = DeviceClock().capture(5 * S)
    after = Arrival.now()
    assert before.since_1970_ns <= said <= after.since_1970_ns
    assert not exact
    assert before.steady_ns < after.steady_ns < NOW


OWN, TRUE = "its own time", "the true time"


def reports(kind, drift):
    """What a camera says of the time since 1970: by the clock that drifts, or by a right one every 5 s."""
    if kind == TRUE:
        return lambda seconds: -drift * (seconds // 5 * 5)
    return None if kind is None else never


@pytest.mark.parametrize("b_frames", [False, True])
@pytest.mark.parametrize("jitter_ms", [0, 80])
@pytest.mark.parametrize("said", [None, OWN, TRUE])
@pytest.mark.parametrize("pace", [0.1, 0.5, 0.9, 0.98, 1.02, 2.0])
def test_a_time_that_goes_at_another_pace_makes_old_pictures_for_a_while_only(
    pace, said, jitter_ms, b_frames
):
    drift = pace - 1
    camera = SimulatedCamera(
        fps=2, drift=drift, jitter_ms=jitter_ms, b_frames=b_frames, says_s=reports(said, drift)
    )
    found = list(camera.run(700))
    # A word that is made of that time is believed until it lags by 10 s.
    known = 10 / -drift if said == OWN and drift < 0 else 0
    until_then = [off for second, off, _ in found if second <= max(45, known)]
    assert min(until_then) >= -20_000
    after = [off for second, off, _ in found if second > max(45, known + 5)]
    order_ms = 1500 * b_frames  # what the pictures that are sent behind later ones are off by
    assert len(after) > 200
    assert min(after) >= -order_ms
    assert max(after) <= SLOWEST_MS + jitter_ms + order_ms
    if drift > 0:
        assert min(until_then) >= -order_ms


@pytest.mark.parametrize("said", [None, TRUE])
@pytest.mark.parametrize("pace", [0.991, 0.999])
def test_a_time_that_is_a_little_too_slow_makes_the_pictures_older_by_little(pace, said):
    found = list(SimulatedCamera(fps=5, drift=pace - 1, says_s=reports(said, pace - 1)).run(600))
    assert min(off for _, off, _ in found) >= -600


@pytest.mark.parametrize("dark_s", [10, 20, 40])
@pytest.mark.parametrize("pace", [0.0, 0.5])
def test_a_time_that_is_too_slow_now_and_then_never_ends_the_pictures_for_long(pace, dark_s):
    def dark(seconds):
        return seconds // (2 * dark_s) * dark_s + min(seconds % (2 * dark_s), dark_s)

    camera = SimulatedCamera(fps=5, device_set_s=lambda seconds: (pace - 1) * dark(seconds))
    found = list(camera.run(1200))
    assert min(off for _, off, _ in found) >= -20_000 - SLOWEST_MS
    new = [second for second, off, _ in found if off >= -1000]
    assert max(later - before for before, later in pairwise(new)) <= 60


def test_a_time_that_keeps_pace_again_tells_of_delays_again():
    camera = SimulatedCamera(
        device_set_s=lambda s: -0.5 * min(s, 70), held_ms=lambda s: 500 if 120 <= s < 120.4 else 0
    )
    found = list(camera.run(180))
    assert is_late([off for second, off, _ in found if second > 30], 0, 0)


def test_a_link_that_fills_up_is_told_by_a_camera_that_says_the_time():
    camera = SimulatedCamera(held_ms=lambda s: 40 * min(max(0, s - 30), 60), says_s=lambda _: 0.001)
    found = list(camera.run(300))
    assert all((off, exact) == (pytest.approx(1.0), True) for _, off, exact in found)


def test_a_hold_up_of_more_than_ten_seconds_shows_whole_all_the_same():
    camera = SimulatedCamera(held_ms=lambda s: 12_000 if 60 <= s < 60.1 else 0, says_s=never)
    found = list(camera.run(120))
    assert all(off in {0.0, SLOWEST_MS} for _, off, _ in found)


def at_second(start):
    return lambda seconds: start <= seconds < start + 0.09


def another_time(seconds):
    """Of a steady clock that begins at 60 s from elsewhere."""
    return 1234.5 if seconds >= 60 else 0


def test_a_camera_that_was_believed_is_believed_when_it_is_back_on_a_slow_link():
    camera = SimulatedCamera(
        connects=at_second(60), device_set_s=another_time, held_ms=from_second(60, 1500), says_s=never
    )
    # Of the same moment: what it says since 1970 is not made of its steady time.
    assert {(off, exact) for _, off, exact in camera.run(300)} == {(0.0, True)}


def test_one_that_was_not_is_not():
    camera = SimulatedCamera(
        connects=at_second(60), device_set_s=another_time, says_s=lambda _: -1.5, held_ms=never
    )
    assert not any(exact for _, _, exact in camera.run(120))


def test_one_that_comes_back_with_its_time_since_1970_wrong_is_told_by_arrivals():
    camera = SimulatedCamera(
        connects=at_second(60), device_set_s=another_time, says_s=from_second(60, -HOUR_S)
    )
    found = list(camera.run(120))
    assert {(off, exact) for second, off, exact in found if second >= 60} == {(SLOWEST_MS, False)}


@pytest.mark.parametrize("step_s", [2, -2])
def test_our_clock_that_was_set_while_a_camera_was_away_is_seen(step_s):
    camera = SimulatedCamera(
        connects=at_second(60), device_set_s=another_time, says_s=never, ours_set_s=from_second(59.99, step_s)
    )
    after = {(off, exact) for second, off, exact in camera.run(120) if second >= 60}
    assert after == {(SLOWEST_MS, False)}
