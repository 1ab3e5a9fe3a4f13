"""What a supervisor hears of a service that gets on, hangs, or takes its time to end."""

import threading

import pytest
from streamer_support import PATIENCE_S, until
from structlog.testing import capture_logs

from streamer.following import supervised as loops
from streamer.progress import Progress
from streamer.server.supervised import Supervised


class Heard:
    """A `Notify` that keeps what is said."""

    is_on = True
    every_s = 5.0

    def __init__(self, watchdog_s=30.0):
        self.watchdog_s = watchdog_s
        self.said = []

    def __getattr__(self, name):
        return lambda *values: self.said.append((name, *values))

    def take(self):
        said, self.said = self.said, []
        return said


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Watched:
    """A service with one thread."""

    def __init__(self, clock):
        self.progress = Progress(clock)
        self.counts = dict.fromkeys(("streams", "scored", "dropped", "refused", "queued"), 0)
        self.counts |= dict.fromkeys(("worked", "at_work", "written", "writing"), 0)

    def overdue(self, longest_s):
        return self.progress.overdue(longest_s)

    def tally(self):
        return dict(self.counts)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watched(clock):
    return Watched(clock)


def test_of_steps_within_steps_the_innermost_counts(clock):
    progress = Progress(clock)
    with progress.step("score"):
        clock.now += 2
        with progress.step("publish"):
            clock.now += 3
            assert progress.overdue(0) == [("publish", 3.0)]
            assert progress.overdue(3) == []
        assert progress.overdue(-1) == [("score", 0.0)]
        clock.now += 1
        assert progress.overdue(0) == [("score", 1.0)]
        progress.renew()
        assert progress.overdue(0) == []
    assert progress.overdue(-1) == []


def test_a_step_is_overdue_by_its_own_age_and_the_longest_comes_first(clock):
    progress, begun, end = Progress(clock), threading.Event(), threading.Event()

    def other():
        with progress.step("publish"):
            begun.set()
            assert end.wait(PATIENCE_S)

    thread = threading.Thread(target=other)
    with progress.step("score"):
        clock.now += 2
        thread.start()
        assert begun.wait(PATIENCE_S)
        clock.now += 3
        assert progress.overdue(0) == [("score", 5.0), ("publish", 3.0)]
        assert progress.overdue(3) == [("score", 5.0)]
    end.set()
    thread.join()
    assert progress.overdue(-1) == []


def test_what_is_known_to_take_long_is_overdue_later(clock):
    progress = Progress(clock)
    with progress.step("write", allowed_s=100):
        clock.now += 400
        assert progress.overdue(300) == []
        clock.now += 1
        assert progress.overdue(300) == [("write", 401.0)]


def test_only_steps_that_move_are_counted(clock):
    progress = Progress(clock)
    with progress.step("job"):
        progress.renew()
        assert (progress.moves, progress.at_work) == (0, False)
        with progress.step("score", moves=True), progress.step("read"):
            assert (progress.moves, progress.at_work) == (1, True)
            progress.renew()
            assert progress.moves == 2
    assert (progress.moves, progress.at_work) == (3, False)


def test_a_step_that_fails_is_over(clock):
    progress = Progress(clock)
    with pytest.raises(ZeroDivisionError), progress.step("score"):
        raise ZeroDivisionError
    assert progress.overdue(-1) == []


def test_only_the_own_steps_are_renewed(clock):
    progress = Progress(clock)
    with progress.step("score"):
        clock.now += 5
        other = threading.Thread(target=progress.renew)
        other.start()
        other.join()
        assert progress.overdue(4) == [("score", 5.0)]


def test_a_service_that_waits_for_work_is_alive(watched, clock):
    heard = Heard()
    told = Supervised(watched, heard, clock)
    watched.counts |= {"streams": 1, "scored": 12, "dropped": 3}
    for _ in range(3):
        clock.now += 1e6
        told.tell()
    assert heard.said == [("status", "1 stream, 12 scored, 3 dropped"), ("watchdog",)] * 3


@pytest.mark.parametrize(("watchdog_s", "longest_s"), [(30.0, 300), (2.0, 20), (None, 300)])
def test_a_long_step_is_work_and_one_that_does_not_end_is_none(watched, clock, watchdog_s, longest_s):
    heard = Heard(watchdog_s)
    told = Supervised(watched, heard, clock)
    with watched.progress.step("score"):
        clock.now += longest_s
        told.tell()
        assert heard.take()[-1] == ("watchdog",)
        clock.now += 1
        with capture_logs() as logs:
            told.tell()
            told.tell()
        assert (
            heard.take() == [("status", f"stuck in 'score' for {longest_s + 1} s: 0 streams, 0 scored")] * 2
        )
        assert [(line["event"], line["seconds"]) for line in logs] == [("stuck", {"score": longest_s + 1})]
    told.tell()
    assert heard.take()[-1] == ("watchdog",)


def test_an_end_is_given_more_time_as_long_as_counts_move(watched, clock):
    heard = Heard()
    told = Supervised(watched, heard, clock)
    clock.now += 1e6
    told.stopping()
    watched.counts |= {"queued": 2}
    told.tell()
    assert heard.take() == [
        ("stopping",), ("status", "ending: 0 streams, 0 scored, 2 waiting"), ("watchdog",), ("extend", 60.0),
    ]  # fmt: skip
    clock.now += 300
    told.tell()
    assert heard.take()[-1] == ("extend", 60.0)
    clock.now += 1
    watched.counts["queued"] = 0
    watched.counts["refused"] += 1  # who is turned away asks again, until the end
    told.tell()
    assert heard.take()[-1] == ("watchdog",)
    watched.counts["written"] += 1
    told.tell()
    assert heard.take()[-1] == ("extend", 60.0)


def test_an_end_is_given_the_time_that_a_ring_takes_a_slow_disk(watched, clock):
    heard = Heard()
    told = Supervised(watched, heard, clock)
    told.stopping()
    watched.counts["writing"] = 1
    with watched.progress.step("write a snapshot", allowed_s=5000):
        for _ in range(5):
            clock.now += 1000
            told.tell()
            assert heard.take()[-1] == ("extend", 60.0)
        clock.now += 301
        told.tell()
        assert heard.take()[-1][1].startswith("stuck in 'write a snapshot' for 5301 s")


def test_frames_that_wait_while_nobody_works_on_any_are_stuck(watched, clock):
    heard = Heard()
    told = Supervised(watched, heard, clock)
    clock.now += 1e6  # nothing came
    watched.counts["queued"] = 40
    told.tell()
    assert heard.take()[-1] == ("watchdog",)
    clock.now += 301
    watched.counts |= {"dropped": 7, "refused": 2}  # more come, and go
    told.tell()
    assert heard.take() == [
        ("status", "stuck in 'queue' for 301 s: 0 streams, 0 scored, 7 dropped, 2 refused, 40 waiting")
    ]
    watched.counts["worked"] += 1
    told.tell()
    assert heard.take()[-1] == ("watchdog",)


def test_frames_that_wait_for_one_that_is_long_in_the_making_are_not_stuck(watched, clock):
    """A picture may take `limits.decode_s`, and one that wakes a stream replays a journal first."""
    heard = Heard()
    told = Supervised(watched, heard, clock)
    watched.counts |= {"queued": 40, "at_work": 1}
    for _ in range(3):
        clock.now += 1e6
        told.tell()
        assert heard.take()[-1] == ("watchdog",)


def test_the_thread_speaks_at_once_and_ends_when_told(watched):
    heard = Heard()
    told = Supervised(watched, heard)
    told.start()
    until(lambda: ("watchdog",) in heard.said)
    told.stop()
    assert not told.is_alive()


class Follower:
    alive = True
    asked = None

    def gets_on(self, longest_s):
        self.asked = longest_s
        return self.alive


def test_a_loop_speaks_now_and_then_and_not_for_a_follower_that_hangs(clock):
    heard, follower = Heard(), Follower()
    told = loops.Supervised(heard, follower, lambda: "the detector is heard", clock)
    told.ready()
    assert heard.take() == [("ready",), ("status", "the detector is heard"), ("watchdog",)]
    told.turn()
    assert heard.take() == []
    clock.now += heard.every_s
    follower.alive = False
    told.turn()
    assert heard.take() == [("status", "stuck: the thread that listens to the detector")]
    assert follower.asked == 300
    clock.now += heard.every_s
    follower.alive = True
    told.turn()
    told.stopping()
    assert heard.take() == [("status", "the detector is heard"), ("watchdog",), ("stopping",)]


def test_a_loop_does_not_speak_for_a_disk_that_hangs(clock):
    heard, progress = Heard(), Progress(clock)
    told = loops.Supervised(heard, Follower(), lambda: "heard", clock, [Progress(clock), progress])
    with progress.step("write files"):
        clock.now += 300
        told.turn()
        assert heard.take()[-1] == ("watchdog",)
        clock.now += heard.every_s
        told.turn()
        assert heard.take() == [("status", "stuck: 'write files' for 305 s")]
    clock.now += heard.every_s
    told.turn()
    assert heard.take()[-1] == ("watchdog",)
