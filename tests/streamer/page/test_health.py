"""What is said of a detector and its streams, by a clock of the test's own."""

from types import SimpleNamespace

import pytest
from store_support import a_store, message, verdict

from streamer.page.health import Health
from streamer.page.overview import Overview


class Now:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def health(now):
    return Health(now, lambda: 1_000_000 + now.seconds)


def beat(health, **fields):
    health.heard(message("status", stream="-", **{"uptime_s": 5.0, "state": "ready", **fields}), live=True)


def frames(health, now, count, every, **fields):
    for number in range(count):
        now.seconds += every
        health.heard(verdict(number, latency_ms={"total": float(number)}, **fields), live=True)


def test_a_detector_is_down_after_eleven_silent_seconds(health, now):
    assert not health.look()
    beat(health, version="0.1.0")
    assert health.look()
    assert health.detector()["since"] == 1_001_000_000
    now.seconds += 10.9
    assert health.look()
    now.seconds += 0.2
    assert not health.look()
    assert health.detector()["up"] is False
    assert health.detector()["since"] == 1_001_011_100
    assert (health.detector()["heard"], health.detector()["version"]) == (1_001_000_000, "0.1.0")


def test_what_the_history_gives_makes_nobody_alive(health):
    health.heard(verdict("a"), live=False)
    assert not health.look()
    assert health.stream("line")["last_frame"] is not None
    assert health.stream("line")["p50_ms"] is None


@pytest.mark.parametrize(("every", "patience"), [(0.5, 10.0), (4.0, 20.0)])
def test_a_stream_is_silent_by_its_own_measure(health, now, every, patience):
    frames(health, now, 20, every)
    now.seconds += patience - 0.1
    assert health.silent() == {"line": False}
    now.seconds += 0.2
    assert health.silent() == {"line": True}
    assert health.stream("line")["silent"] is True
    frames(health, now, 1, 0.1)
    assert health.silent() == {"line": False}


def test_of_a_few_frames_nothing_is_said(health, now):
    frames(health, now, 4, 1.0)
    now.seconds += 1000
    assert health.silent() == {}


def test_rates_are_of_the_last_minute(health, now):
    for number in range(30):
        health.heard(message("status", received=10 * number, scored=5 * number), live=True)
        now.seconds += 5
    assert (health.stream("line")["fps_in"], health.stream("line")["fps_scored"]) == (2.0, 1.0)
    health.heard(message("status", received=0, scored=0), live=True)  # the detector began anew
    assert health.stream("line")["fps_in"] is None


def test_quantiles_are_of_the_last_200(health, now):
    frames(health, now, 400, 0.1)
    assert (health.stream("line")["p50_ms"], health.stream("line")["p95_ms"]) == (300.0, 390.0)


def test_warm_up_is_told_by_its_images(health):
    health.heard(message("status", state="warmup", images=3, warmup=8), live=True)
    assert health.stream("line")["warmup"] == [3, 8]
    health.heard(message("status", state="ready", images=8, warmup=8), live=True)
    assert health.stream("line")["warmup"] is None


def test_streams_that_are_kept_are_shown_without_a_detector(tmp_path, health):
    store = a_store(tmp_path)
    store.take_all([verdict("a"), verdict("b", stream="board", label=True)])
    where = SimpleNamespace(scores="tcp://127.0.0.1:1", control="tcp://127.0.0.1:2")
    board, line = Overview(store, health, where).streams()
    assert (board["stream"], line["stream"]) == ("board", "line")
    assert board["today"]["open_alarms"] == 1
    assert line["last_frame"] is not None
    store.close()


def test_a_camera_whose_frames_wait_at_the_detector_is_not_silent(health, now):
    frames(health, now, 20, 0.5)
    health.heard(message("status", received=25, scored=20, queued=5), live=True)
    now.seconds += 60
    assert health.silent() == {"line": False}
    health.heard(message("status", received=25, scored=25, queued=0), live=True)
    assert health.silent() == {"line": True}


def test_a_camera_is_what_its_publisher_says(health, now):
    frames(health, now, 1, 1.0)
    assert health.stream("line")["camera"] is None
    said = {"state": "lost", "since_ns": 5_000_000, "source": "rtsp://cam", "text": "no route", "counts": {}}
    health.heard(message("source", stream="line", **said), live=True)
    assert health.stream("line")["camera"] == {
        "state": "lost", "since": 5.0, "source": "rtsp://cam", "text": "no route",
    }  # fmt: skip
    health.heard(message("source", stream="new", **{**said, "state": "waiting"}), live=True)
    assert (health.stream("new")["camera"]["state"], health.stream("new")["state"]) == ("waiting", None)
    assert health.streams() == ["line", "new"]


def test_heartbeats_say_of_cameras_too_and_that_nothing_is_said_any_more(health, now):
    said = {"state": "waiting", "since_ns": 5_000_000, "source": "rtsp://cam", "text": ""}
    beat(health, sources={"new": said})
    assert health.stream("new")["camera"]["state"] == "waiting"
    health.heard(message("status", stream="line", source={**said, "state": "live"}), live=True)
    assert health.stream("line")["camera"]["state"] == "live"
    beat(health)  # of a detector of before, that knows no cameras
    assert health.stream("new")["camera"]["state"] == "waiting"
    beat(health, sources={})
    health.heard(message("status", stream="line", source=None), live=True)
    assert (health.stream("new")["camera"], health.stream("line")["camera"]) == (None, None)


def test_a_heartbeat_names_states_and_what_was_said_of_them_stays(health):
    """It says no more, so that it stays within what can be read; each camera has messages of its own."""
    said = {"source": "rtsp://cam", "text": "no route", "counts": {}}
    health.heard(message("source", stream="new", state="lost", since_ns=5_000_000, **said), live=True)
    beat(health, sources={"new": {"state": "lost", "since_ns": 5_000_000}})
    assert health.stream("new")["camera"] == {
        "state": "lost", "since": 5.0, "source": "rtsp://cam", "text": "no route",
    }  # fmt: skip
    beat(health, sources={"new": {"state": "unknown", "since_ns": 9_000_000}})
    assert health.stream("new")["camera"] == {
        "state": "unknown", "since": 9.0, "source": "rtsp://cam", "text": None,
    }  # fmt: skip


def test_a_camera_that_a_detector_knows_no_more_is_shown_no_more(health):
    health.heard(message("source", stream="ghost", state="ended", since_ns=1), live=True)
    health.heard(verdict("a", stream="line"), live=True)
    beat(health, sources={}, sources_left_out=3)
    assert health.streams() == ["line", "ghost"], "it may be among those that were left out"
    beat(health, sources={}, sources_left_out=0)
    assert health.streams() == ["line"]


def test_what_was_said_of_a_camera_to_a_detector_of_before_is_not_shown_for_ever(health, now):
    said = {"state": "live", "since_ns": 5_000_000, "source": "rtsp://cam", "text": ""}
    beat(health, uptime_s=1000.0, sources={})
    for name in ("line", "goes on"):
        health.heard(message("status", stream=name, state="ready", source=said), live=True)
    now.seconds += 10
    beat(health, uptime_s=1010.0, sources={})
    assert health.stream("line")["camera"]["state"] == "live"
    now.seconds += 10
    health.heard(message("source", stream="goes on", **said), live=True)
    now.seconds += 1
    beat(health, uptime_s=5.0, sources={})
    assert health.stream("line")["camera"] is None
    assert health.stream("goes on")["camera"]["state"] == "live", "it was said to this one"


def test_odd_words_of_a_camera_are_no_reason_to_fall(health):
    beat(health, sources=[1])
    beat(health, sources={"x" * 500: {"state": 7, "since_ns": "y"}, "-": {}, "z": 3})
    health.heard(message("source", stream="line", state={"a": 1}), live=True)
    assert health.stream("line")["camera"] == {"state": None, "since": None, "source": None, "text": None}
    assert sorted(map(len, health.streams())) == [1, 4, 128]
