"""What a supervisor hears of a service that gets on, hangs, or takes its time to end."""

import threading

import pytest
from streamer_support import PATIENCE_S, Camera, Held, backbone, serving, small_config, until
from structlog.testing import capture_logs

from streamer.following import supervised as loops
from streamer.progress import Progress
from streamer.server.supervised import Supervised

__all__ = ["backbone"]


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
        self.counts = dict.fromkeys(("streams", "scored", "dropped", "refused", "queued", "written"), 0)

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


def test_a_step_is_overdue_by_its_own_age_and_the_longest_comes_first(clock):
    progress = Progress(clock)
    with progress.step("score"):
        clock.now += 2
        with progress.step("publish"):
            clock.now += 3
            assert progress.overdue(0) == [("score", 5.0), ("publish", 3.0)]
            assert progress.overdue(3) == [("score", 5.0)]
        progress.renew()
        clock.now += 1
        assert progress.overdue(0) == [("score", 1.0)]
    assert progress.overdue(-1) == []


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
    told.tell()
    assert heard.take()[-1] == ("watchdog",)
    watched.counts["written"] += 1
    told.tell()
    assert heard.take()[-1] == ("extend", 60.0)


def test_the_thread_speaks_at_once_and_ends_when_told(watched):
    heard = Heard()
    told = Supervised(watched, heard)
    told.start()
    until(lambda: ("watchdog",) in heard.said)
    told.stop()
    assert not told.is_alive()


def hanging(work):
    """`work` behind a gate, and the gate."""
    gate = threading.Event()

    def hang(*values):
        assert gate.wait(PATIENCE_S)
        return work(*values)

    return hang, gate


def test_whatever_hangs_is_seen(backbone):
    """Each thread of a real service in turn: backbone, matching, publishing, receiving."""
    held = Held(backbone)

    def at(step):
        return any(name == step for name, _ in service.overdue(0.0))

    with serving(small_config(), held) as service, Camera(service.endpoints["frames"]) as camera:
        camera.picture(0)
        until(lambda: at("extract"))
        assert not at("score")
        held.release()
        until(lambda: service.ledger.totals()["scored"] == 1)
        parts = {
            "score": (service.pipeline, "_score"),
            "publish": (service._outbox, "_publish"),
            "receive": (service._receiver, "_read"),
        }
        for seed, (name, (part, method)) in enumerate(parts.items(), 1):
            work = getattr(part, method)
            hang, gate = hanging(work)
            setattr(part, method, hang)
            camera.picture(seed)
            until(lambda name=name: at(name))
            setattr(part, method, work)
            gate.set()
            until(lambda seed=seed: service.ledger.totals()["scored"] == 1 + seed)
        hang, gate = hanging(lambda: None)
        service.pipeline.run_between_frames(hang)
        until(lambda: at("job"))
        gate.set()
        until(lambda: not service.overdue(0.0))


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
