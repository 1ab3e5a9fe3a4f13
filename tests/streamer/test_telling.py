"""How a camera is, told by its reader from a thread of its own: changes at once, and that it has ended."""

import threading
import time

import numpy as np
import pytest
from streamer_support import until

from streamer.errors import StreamerError, WireError
from streamer.live import live_pictures
from streamer.sources.device import Picture, SourceLost
from streamer.sources.live import LiveReader, SourceFigures
from streamer.sources.telling import counts_of, telling


class HandCamera:
    """A camera that is there, gives pictures and goes away as the test says."""

    name = "hand:1"

    def __init__(self):
        self.there, self.pictures = threading.Event(), 0
        self._given = 0

    def open(self):
        if not self.there.is_set():
            raise SourceLost("source: hand:1 is not there")

    def read(self, timeout_s):
        if not self.there.wait(0):
            raise SourceLost("source: hand:1 was unplugged")
        if self._given == self.pictures:
            time.sleep(0.01)
            return None
        self._given += 1
        return Picture(np.zeros((4, 4, 3), np.uint8), time.time_ns())

    def close(self):
        pass

    def facts(self):
        return {"packets_lost": 3, "model": "H-1", "exposure_us": 1500.4, "broken": float("nan"), "sent": 99}


class Heard:
    """A publisher's `tell_source`; `deaf` takes nothing, as one whose detector is down."""

    def __init__(self):
        self.said, self.deaf, self.refused = [], False, 0

    def tell_source(self, state, **fields):
        if self.deaf:
            return False
        if self.refused:
            self.refused -= 1
            raise WireError("bad_value", "counts: got what no detector takes")
        self.said.append({"state": state, **fields})
        return True

    def states(self):
        """Without what was only said again."""
        return [one["state"] for i, one in enumerate(self.said)
                if i == 0 or one["state"] != self.said[i - 1]["state"]]  # fmt: skip


@pytest.fixture
def camera():
    return HandCamera()


def test_every_change_is_told_and_the_end(camera):
    heard = Heard()
    with LiveReader(camera) as reader, telling(reader, heard):
        until(lambda: heard.states() == ["waiting"])
        camera.pictures = 1
        camera.there.set()
        until(lambda: heard.states() == ["waiting", "live"])
        assert reader.take(180.0) is not None
        camera.there.clear()
        until(lambda: heard.states()[-1] == "lost")
        camera.pictures = 2
        camera.there.set()
        until(lambda: heard.states()[-1] == "live")
    assert heard.states() == ["waiting", "live", "lost", "live", "ended"]
    assert {one["source"] for one in heard.said} == {"hand:1"}
    lost = next(one for one in heard.said if one["state"] == "lost")
    assert lost["text"] == "source: hand:1 was unplugged"
    assert lost["age_ms"] >= 0.0
    assert heard.said[-1]["counts"]["reconnects"] == 1
    assert heard.said[0]["since_ns"] <= lost["since_ns"] <= time.time_ns()


def test_it_is_said_again_though_nothing_changes(camera, monkeypatch):
    monkeypatch.setattr("streamer.sources.telling.EVERY_S", 0.0)
    heard = Heard()
    with LiveReader(camera) as reader, telling(reader, heard):
        until(lambda: len(heard.said) >= 3)
    assert {one["since_ns"] for one in heard.said[:3]} == {heard.said[0]["since_ns"]}


def test_what_a_detector_that_was_down_did_not_hear_is_said_when_it_is_back(camera):
    heard = Heard()
    heard.deaf = True
    with LiveReader(camera) as reader, telling(reader, heard):
        until(lambda: reader.figures().error != "")
        heard.deaf = False
        until(lambda: heard.states() == ["waiting"])


def test_words_that_would_be_refused_cost_only_themselves(camera):
    heard = Heard()
    heard.refused = 1
    with LiveReader(camera) as reader, telling(reader, heard):
        until(lambda: heard.said)
    assert heard.said[0] == {
        "state": "waiting", "text": "what else is known of the source cannot be told",
    }  # fmt: skip


def test_nothing_is_told_of_a_folder():
    heard = Heard()
    with telling(None, heard):
        pass
    assert heard.said == []


def test_counts_are_whole_numbers_and_not_too_many(camera):
    figures = SourceFigures("x", read=4, sent=2, facts=camera.facts())
    of_reader = {"read": 4, "sent": 2, "skipped": 0, "too_old": 0, "not_sent": 0, "given_up": 0}
    assert counts_of(figures) == of_reader | {"reconnects": 0, "packets_lost": 3, "exposure_us": 1500}
    many = SourceFigures("x", facts={f"c{number}": number for number in range(99)})
    assert len(counts_of(many)) == 32


class Deaf:
    """A sender that has no room."""

    given_up = 0

    def has_room(self, timeout_s):
        return False


def first_picture(camera, reader):
    camera.pictures = 1
    camera.there.set()
    assert reader.take(180.0) is not None


def fails(camera, error, when):
    """What is told of a camera whose publisher ends by an error: `before` its first picture, or `after`."""
    heard, reader = Heard(), LiveReader(camera)

    def publish():
        with telling(reader, heard), reader:
            if when == "after":
                first_picture(camera, reader)
            raise error

    with pytest.raises(type(error)):
        publish()
    return heard


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [
    StreamerError("source: hand:1: gain: this camera has none to set"), MemoryError("in /home/eye"),
])  # fmt: skip
def test_a_publisher_that_fails_is_not_said_to_have_ended(camera, error, when):
    heard = fails(camera, error, when)
    assert "ended" not in heard.states()
    last = heard.said[-1]
    assert last["state"] == {"before": "waiting", "after": "lost"}[when]
    of_it = {StreamerError: str(error), MemoryError: "its publisher failed: MemoryError"}
    assert last["text"] == of_it[type(error)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_one_that_is_stopped_is(camera, error):
    assert fails(camera, error, "after").states()[-1] == "ended"


def test_a_camera_that_can_never_be_read_is_not_said_to_have_ended(camera, monkeypatch):
    monkeypatch.setattr("streamer.sources.telling.EVERY_S", 0.0)
    heard, error = Heard(), StreamerError("source: hand:1: there is no such format")
    camera.open = lambda: (_ for _ in ()).throw(error)
    with LiveReader(camera) as reader, telling(reader, heard):
        until(lambda: heard.said and heard.said[-1]["text"] == str(error))
    assert heard.states() == ["waiting"]


def test_why_a_camera_can_never_be_read_is_said_though_the_detector_has_no_room(camera):
    camera.open = lambda: (_ for _ in ()).throw(StreamerError("source: hand:1: there is no such format"))
    with pytest.raises(StreamerError, match="no such format"):
        list(live_pictures(LiveReader(camera), Deaf(), lambda line: None))
