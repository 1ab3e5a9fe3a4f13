"""The newest picture of a camera, what is left out counted, and a camera that goes and comes."""

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from streamer_support import until

from streamer.errors import StreamerError
from streamer.sources import Device, LiveReader, Picture, SourceLost
from streamer.sources import live as live_module
from streamer.sources import newest as newest_module

PATIENCE_S = 180.0


class Camera(Device):
    """A device whose pictures a test hands over one by one: grey, their number in each pixel."""

    name = "camera:test"

    def __init__(self):
        self.there = threading.Event()
        self.there.set()
        self.opened = self.closed = self.made = 0
        self.tries = []
        self.error = SourceLost("source: camera:test is not there")
        self._next = threading.Condition()
        self._pictures = []

    def open(self):
        self.tries.append(time.monotonic())
        if not self.there.is_set():
            raise self.error
        self.opened += 1

    def read(self, timeout_s):
        with self._next:
            self._next.wait_for(lambda: self._pictures or not self.there.is_set(), timeout_s)
            if not self.there.is_set():
                raise self.error
            return self._pictures.pop(0) if self._pictures else None

    def close(self):
        self.closed += 1

    def facts(self):
        return {"opened": self.opened}

    def takes(self, *ages_s, triggered=False):
        """Take one picture for each age that it is to have."""
        for age_s in ages_s:
            self.made += 1
            frame = np.full((2, 2), self.made, np.uint8)
            with self._next:
                self._pictures.append(
                    Picture(frame, time.time_ns() - round(1e9 * age_s), triggered=triggered)
                )
                self._next.notify_all()

    def goes(self):
        self.there.clear()
        with self._next:
            self._next.notify_all()


@pytest.fixture
def camera():
    return Camera()


@pytest.fixture(autouse=True)
def soon_again(monkeypatch):
    monkeypatch.setattr(live_module, "FIRST_RETRY_S", 0.01)
    # The pictures of these tests come at once and are looked at when a busy machine lets them.
    monkeypatch.setattr(newest_module, "SLACK_S", PATIENCE_S)


def shown(picture):
    return int(picture.frame[0, 0])


def whole(reader, waiting=0):
    figures = reader.figures()
    settled = figures.sent + figures.skipped + figures.too_old + figures.not_sent
    return figures.read == settled + waiting


def test_the_newest_is_handed_out_and_none_twice(camera):
    with LiveReader(camera) as reader:
        camera.takes(0, 0, 0)
        until(lambda: reader.figures().read == 3)
        assert whole(reader, waiting=1)
        assert shown(reader.take(PATIENCE_S)) == 3
        assert reader.take(0.0) is None
        camera.takes(0)
        assert shown(reader.take(PATIENCE_S)) == 4
        figures = reader.figures()
        assert (figures.sent, figures.skipped, figures.state) == (2, 2, "live")
        assert figures.facts == {"opened": 1}
        assert 0 <= figures.age_ms < 1000 * PATIENCE_S


def test_not_more_than_asked_for_are_handed_out(camera):
    with LiveReader(camera, fps=20) as reader:
        start = time.monotonic()
        for number in range(1, 6):
            camera.takes(0)
            assert shown(reader.take(PATIENCE_S)) == number
        # The first one at once: four waits of 50 ms. That they may be longer is no concern here.
        assert time.monotonic() - start >= 0.2


def test_what_is_too_old_is_counted_and_the_next_one_waited_for(camera):
    with LiveReader(camera, max_age_s=1000.0) as reader:
        camera.takes(1001)
        assert reader.take(0.5) is None
        until(lambda: reader.take(0.0) is None and reader.figures().too_old == 1)
        camera.takes(0)
        assert shown(reader.take(PATIENCE_S)) == 2
        assert whole(reader)


def test_what_a_camera_gave_before_it_was_lost_is_not_handed_out_after(camera):
    with LiveReader(camera, fps=0.001) as reader:
        camera.takes(0)
        assert shown(reader.take(PATIENCE_S)) == 1
        camera.takes(0)
        until(lambda: reader.figures().read == 2)
        camera.goes()
        until(lambda: reader.figures().state == "lost")
        figures = reader.figures()
        assert (figures.read, figures.sent, figures.too_old) == (2, 1, 1)


def test_a_picture_that_has_waited_longer_than_it_may_is_left_out_unless_a_trigger_took_it(
    camera, monkeypatch
):
    monkeypatch.setattr(newest_module, "SLACK_S", 0.0)
    camera.may_be_silent = True
    with LiveReader(camera, lost_after_s=0.0) as reader:  # no wait is short enough
        camera.takes(0)
        until(lambda: reader.take(0.0) is None and reader.figures().too_old == 1)
        camera.takes(0, triggered=True)
        until(lambda: reader.figures().read == 2)
        assert shown(reader.take(PATIENCE_S)) == 2
        assert whole(reader)


def test_figures_tell_what_became_of_a_picture_that_was_offered(camera):
    with LiveReader(camera) as reader:
        camera.takes(0)
        assert shown(reader.offer(PATIENCE_S)) == 1
        assert whole(reader, waiting=1)
        reader.settle("no_room")
        assert whole(reader, waiting=1)
        assert shown(reader.offer(PATIENCE_S)) == 1
        reader.settle("not_sent")
        camera.takes(0)
        assert shown(reader.offer(PATIENCE_S)) == 2
        reader.settle("sent")
        reader.gave_up(1)
        figures = reader.figures()
        assert (figures.read, figures.not_sent, figures.sent, figures.given_up) == (2, 1, 1, 1)
        camera.takes(0)
        assert reader.offer(PATIENCE_S) is not None
        camera.takes(0)
        until(lambda: reader.figures().read == 4)
    # Nothing waits any more once it has ended: what waited is counted, and so is what is put back now.
    assert whole(reader, waiting=1)
    reader.settle("no_room")
    assert whole(reader)


def test_what_waits_when_it_is_stopped_is_counted_though_the_camera_is_not_let_go_of_yet(camera, monkeypatch):
    monkeypatch.setattr(live_module, "_STOP_S", 0.0)
    with LiveReader(camera) as reader:
        camera.takes(0)
        until(lambda: reader.figures().read == 1)
        reader.stop()
        assert (reader.figures().skipped, whole(reader)) == (1, True)


def test_the_rate_is_measured_and_is_none_of_a_camera_that_is_lost(camera, monkeypatch):
    moments = iter(1000.0 + tick / 8 for tick in range(100_000))
    with LiveReader(camera) as reader:
        for number in range(1, 6):
            camera.takes(0)
            until(lambda number=number: reader.figures().read == number)
        newest = reader._newest
        newest.connected()
        for _ in range(10):
            newest.came(Picture(np.zeros((2, 2), np.uint8), 0), 0.0, next(moments))
        assert reader.figures().fps == pytest.approx(8.0)
        camera.goes()
        until(lambda: reader.figures().state == "lost")
        assert reader.figures().fps == 0.0


def test_a_camera_that_stays_away_is_tried_less_and_less_often_but_for_ever(camera, monkeypatch):
    monkeypatch.setattr(live_module, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(live_module, "LONGEST_RETRY_S", 0.08)
    camera.goes()
    with LiveReader(camera):
        until(lambda: len(camera.tries) >= 12)
    waits = [later - earlier for earlier, later in zip(camera.tries, camera.tries[1:], strict=False)]
    # That a wait may be longer is no concern; 11 that went on doubling would take 20 s, 20 of them 3 hours.
    for waited, at_least in zip(waits, [0.01, 0.02, 0.04, 0.08, 0.08, 0.08], strict=False):
        assert waited >= at_least


def test_a_camera_is_waited_for_and_brought_back(camera):
    camera.goes()
    with LiveReader(camera) as reader:
        until(lambda: reader.figures().error != "")
        assert reader.figures().state == "waiting"
        camera.there.set()
        camera.takes(0)
        assert shown(reader.take(PATIENCE_S)) == 1
        assert (reader.figures().state, reader.figures().reconnects) == ("live", 0)
        camera.goes()
        until(lambda: reader.figures().state == "lost")
        since_ns = reader.figures().since_ns
        camera.there.set()
        camera.takes(0)
        assert shown(reader.take(PATIENCE_S)) == 2
        figures = reader.figures()
        assert (figures.state, figures.reconnects, camera.opened) == ("live", 1, 2)
        assert figures.since_ns > since_ns
    assert reader.figures().state == "ended"
    assert camera.closed >= 3


def test_silence_is_a_loss_except_where_a_trigger_is_waited_for(camera):
    with LiveReader(camera, lost_after_s=0.01) as reader:
        until(lambda: camera.opened > 2)
        assert "is silent for 0.01 s" in reader.figures().error
    camera.may_be_silent, camera.opened = True, 0
    with LiveReader(camera, lost_after_s=0.01) as reader:
        assert reader.take(1.0) is None
        assert camera.opened == 1


def test_stopping_ends_the_pictures_at_once(camera):
    reader = LiveReader(camera)
    reader.start()
    found = []
    thread = threading.Thread(target=lambda: found.extend(reader.frames()))
    thread.start()
    camera.takes(0)
    until(lambda: reader.figures().sent == 1)
    reader.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [shown(picture) for picture in found] == [1]
    assert reader.take(PATIENCE_S) is None


def test_what_can_never_be_opened_is_raised_where_pictures_are_taken(camera):
    camera.goes()
    camera.error = StreamerError("source: camera:test: there is no such format")
    with LiveReader(camera) as reader:
        with pytest.raises(StreamerError, match="no such format"):
            next(reader.frames())
        assert reader.figures().state == "ended"
        assert "no such format" in reader.figures().error


def test_an_error_of_a_camera_that_gave_pictures_is_a_loss_that_is_tried_again_later(camera, monkeypatch):
    monkeypatch.setattr(live_module, "LONGEST_RETRY_S", 0.05)
    with LiveReader(camera) as reader:
        camera.takes(0)
        assert shown(reader.take(PATIENCE_S)) == 1
        camera.error = StreamerError("source: camera:test: gain: this camera has none to set")
        camera.goes()
        until(lambda: len(camera.tries) >= 4)
        figures = reader.figures()
        assert (figures.state, figures.error) == ("lost", str(camera.error))
        camera.there.set()
        camera.takes(0)
        assert shown(reader.take(PATIENCE_S)) == 2
        assert (reader.figures().state, reader.figures().reconnects) == ("live", 1)
    waits = [later - earlier for earlier, later in pairwise(camera.tries[1:])]
    assert min(waits) >= 0.05
