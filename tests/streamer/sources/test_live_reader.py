"""The newest picture of a camera, what is left out counted, and a camera that goes and comes."""

import threading
import time

import numpy as np
import pytest
from streamer_support import until

from streamer.errors import StreamerError
from streamer.sources import Device, LiveReader, Picture, SourceLost, device_of
from streamer.sources import live as live_module

PATIENCE_S = 180.0


class Camera(Device):
    """A device whose pictures a test hands over one by one: grey, their number in each pixel."""

    name = "camera:test"

    def __init__(self):
        self.there = threading.Event()
        self.there.set()
        self.opened = self.closed = self.made = 0
        self.error = SourceLost("source: camera:test is not there")
        self._next = threading.Condition()
        self._pictures = []

    def open(self):
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

    def takes(self, *ages_s):
        """Take one picture for each age that it is to have."""
        for age_s in ages_s:
            self.made += 1
            frame = np.full((2, 2), self.made, np.uint8)
            with self._next:
                self._pictures.append(Picture(frame, time.time_ns() - round(1e9 * age_s)))
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


def shown(picture):
    return int(picture.frame[0, 0])


def whole(reader, waiting=0):
    figures = reader.figures()
    return figures.read == figures.sent + figures.skipped + figures.too_old + waiting


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


def test_a_camera_of_this_machine_that_is_not_there_is_waited_for():
    with LiveReader(device_of("camera:987")) as reader:
        until(lambda: reader.figures().error != "")
        figures = reader.figures()
        assert (figures.state, figures.name) == ("waiting", "camera:987")
        assert "is not there, or another program has it" in figures.error
