"""The newest picture of a camera: its books at every step, its pace, and how long it waits for its turn."""

import random
from statistics import median

import numpy as np
import pytest

from streamer.sources import Picture
from streamer.sources.newest import SLACK_S, Newest

UNKNOWN_S = 5.0


def picture(number=1, triggered=False):
    return Picture(np.full((1, 1), number, np.uint16), 0, triggered=triggered)


def number_of(shown):
    return int(shown.frame[0, 0])


class Watched:
    """A `Newest` beside plain books of it, which a random schedule is held to at every step."""

    def __init__(self, seed):
        self.drawn = random.Random(seed)
        self.fps = self.drawn.choice([None, 0.5, 2.0, 7.0, 100.0])
        self.max_age_s = self.drawn.choice([None, None, 0.3, 2.0])
        self.newest = Newest(self.fps, self.max_age_s, UNKNOWN_S)
        self.now, self.came, self.gaps, self.last, self.out = 0.0, {}, [], None, None
        self.ended, self.given, self.before = {}, [], self.newest.counts

    def step(self):
        self.now += self.drawn.choice([0.0, 0.01, 0.05, 0.1, 0.1, 0.1, 0.3, 2.0, 30.0])
        self.drawn.choice(
            [self.comes, self.comes, self.comes, self.asks, self.asks, self.settles, self.settles,
             self.newest.lost, self.connects]
        )()  # fmt: skip
        self.holds()

    def connects(self):
        self.newest.connected()
        self.gaps, self.last = [], None

    def comes(self):
        number = len(self.came) + 1
        triggered = self.drawn.random() < 0.2
        age_s = self.drawn.choice([-1.0, 0.0, 0.1, 0.6])
        if self.last is not None:
            self.gaps = [*self.gaps, self.now - self.last][-20:]
            self.interval_s = median(self.gaps)
        self.last = self.now
        self.came[number] = (self.now, age_s, getattr(self, "interval_s", UNKNOWN_S), triggered)
        self.newest.came(picture(number, triggered), age_s, self.now)

    def asks(self):
        if self.out is not None:
            return
        shown = self.newest.offer(self.now)
        if shown is None:
            return
        self.out = number_of(shown)
        came, age_s, interval_s, triggered = self.came[self.out]
        assert self.out == len(self.came), "a newer one has come"
        assert self.out not in self.ended, "it had its end before"
        if not triggered:
            assert self.now - came <= interval_s + SLACK_S
        assert self.max_age_s is None or self.now - came + age_s <= self.max_age_s
        assert self.newest.age_s == pytest.approx(age_s + self.now - came)

    def settles(self):
        outcome = self.drawn.choice(["sent", "sent", "sent", "not_sent", "no_room"])
        self.newest.settle(outcome)
        if self.out is not None and outcome != "no_room":
            self.ended[self.out] = outcome
            if outcome == "sent":
                self.given.append(self.now)
        self.out = None

    def holds(self):
        counts = self.newest.counts
        waits = self.newest.due is not None
        assert counts.read == len(self.came)
        assert counts.read == (
            counts.sent + counts.skipped + counts.too_old + counts.not_sent + waits + (self.out is not None)
        )
        for outcome in ("sent", "not_sent"):
            assert getattr(counts, outcome) == list(self.ended.values()).count(outcome)
        assert all(count >= getattr(self.before, name) for name, count in vars(counts).items()), "one fell"
        self.before = counts


@pytest.mark.parametrize("seed", range(60))
def test_each_picture_is_in_one_place_whatever_comes_in_whatever_order(seed):
    watched = Watched(seed)
    for _ in range(400):
        watched.step()
    watched.settles()
    watched.newest.end()
    counts = watched.newest.counts
    assert counts.read == counts.sent + counts.skipped + counts.too_old + counts.not_sent
    assert watched.newest.due is None


def test_one_that_no_newer_one_replaces_waits_an_interval_and_a_little():
    newest = Newest(1.0, None, UNKNOWN_S)
    for tick in range(11):
        newest.came(picture(tick), 0.0, tick / 10)
        assert (newest.offer(tick / 10) is not None) == (tick in (0, 10))
        newest.settle("sent")
    newest.came(picture(11), 0.0, 1.1)
    # The camera has died. What it gave last would be sent as new when its turn comes, at 2.0.
    assert newest.offer(2.0) is None
    assert newest.counts.too_old == 1
    # And the turn is not lost: the next picture goes out at once.
    newest.came(picture(12), 0.0, 2.4)
    assert number_of(newest.offer(2.4)) == 12


@pytest.mark.parametrize(("age_s", "waits_s"), [(0.0, 0.1 + SLACK_S), (0.2, 0.15), (3.0, 0.1), (-2.0, 0.35)])
def test_the_way_here_takes_of_the_time_for_waiting(age_s, waits_s):
    for late, is_given in ((-0.01, True), (0.01, False)):
        newest = Newest(None, None, UNKNOWN_S)
        for tick in range(5):
            newest.came(picture(), age_s, tick / 10)
        assert (newest.offer(0.4 + waits_s + late) is not None) == is_given


def test_until_an_interval_is_known_silence_is_what_counts_as_loss():
    for after, is_given in ((UNKNOWN_S, True), (UNKNOWN_S + SLACK_S + 0.01, False)):
        newest = Newest(None, None, UNKNOWN_S)
        newest.came(picture(), 0.0, 0.0)
        assert (newest.offer(after) is not None) == is_given


def test_the_interval_outlives_a_reconnect_and_a_hold_up():
    newest = Newest(None, None, UNKNOWN_S)
    for tick in range(15):
        newest.came(picture(), 0.0, tick / 10)
    for later in range(5):  # held up for 4 s, then all at once
        newest.came(picture(), 0.0, 5.4 + later / 1000)
    assert newest.offer(5.8) is None
    newest.connected()
    assert newest.rate() == 0.0
    newest.came(picture(), 0.0, 20.0)
    assert newest.offer(20.4) is None
    assert newest.counts.too_old == 2


def test_what_a_lost_camera_gave_last_is_new_no_more():
    newest = Newest(None, None, UNKNOWN_S)
    newest.came(picture(), 0.0, 0.0)
    newest.lost()
    newest.lost()
    assert newest.offer(0.0) is None
    assert (newest.counts.read, newest.counts.too_old) == (1, 1)


def test_one_that_is_out_while_its_camera_is_lost_does_not_come_again():
    newest = Newest(None, None, UNKNOWN_S)
    newest.came(picture(), 0.0, 0.0)
    assert newest.offer(0.0) is not None
    newest.lost()
    newest.settle("no_room")
    assert newest.offer(0.0) is None
    assert newest.counts.too_old == 1


def test_a_part_that_a_trigger_took_waits_for_as_long_as_it_takes():
    newest = Newest(None, None, UNKNOWN_S)
    newest.came(picture(1), 0.0, 0.0)
    newest.came(picture(2, triggered=True), 0.0, 0.1)
    newest.lost()
    assert number_of(newest.offer(1000.0)) == 2
    newest.settle("sent")
    limited = Newest(None, 10.0, UNKNOWN_S)
    limited.came(picture(triggered=True), 0.0, 0.0)
    assert limited.offer(11.0) is None


def test_the_pace_is_kept_by_a_clock_and_not_from_picture_to_picture():
    newest = Newest(4.0, None, UNKNOWN_S)
    for tick in range(1001):  # 100 s at 10 a second: every 0.25 s means 0.3, 0.2, 0.3, 0.2
        newest.came(picture(), 0.0, tick / 10)
        newest.offer(tick / 10)
        newest.settle("sent")
    assert newest.counts.sent == pytest.approx(400, abs=2)
    # And what was missed meanwhile is not made up for.
    for tick in range(11):
        newest.came(picture(), 0.0, 500 + tick / 10)
        newest.offer(500 + tick / 10)
        newest.settle("sent")
    assert newest.counts.sent == pytest.approx(405, abs=3)


def test_the_rate_is_that_of_the_camera_lately():
    newest = Newest(1.0, None, UNKNOWN_S)
    assert newest.rate() == 0.0
    for tick in range(100):
        newest.came(picture(), 0.0, tick / 8)
    assert newest.rate() == pytest.approx(8.0)
    for tick in range(100):
        newest.came(picture(), 0.0, 20 + tick / 3)
    assert newest.rate() == pytest.approx(3.0)


def test_one_for_which_there_was_no_room_has_its_turn_again_unless_a_newer_one_came():
    newest = Newest(0.01, None, UNKNOWN_S)
    newest.came(picture(1), 0.0, 0.0)
    for tick in range(3):
        assert number_of(newest.offer(0.1 * tick)) == 1
        newest.settle("no_room")
    assert number_of(newest.offer(0.3)) == 1
    newest.came(picture(2), 0.0, 0.4)
    newest.settle("no_room")
    assert newest.counts.skipped == 1
    assert number_of(newest.offer(0.4)) == 2
    newest.settle("not_sent")
    newest.settle("sent")
    assert (newest.counts.read, newest.counts.sent, newest.counts.not_sent) == (2, 0, 1)
    newest.came(picture(3), 0.0, 0.5)
    assert newest.offer(0.5) is None, "one that cannot be sent has had its turn"
