"""Places among `limits.streams`: who takes one, keeps it, and what happens while two threads ask for one."""

import errno
from pathlib import Path

import pytest
from sleep_support import config, nap, told
from snapshot_support import play
from streamer_support import (
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    control,
    identity_holds,
    picture,
    serving,
    small_config,
    until,
)

from musc_online.config import load
from musc_online.detector import Detector
from streamer.errors import StreamerError, WireError
from streamer.reliable import ReliablePublisher
from streamer.server.outcomes import Ledger
from streamer.server.scoring import Scoring
from streamer.server.snapshot_files import SUFFIX
from streamer.server.stream import Claim, QueuedFrame
from streamer.server.streams import Streams
from streamer.wire.frame import FrameMessage

__all__ = ["backbone"]


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def streams(ledger, tmp_path):
    values = {"limits": {"streams": 2, "sleeping": 8}, "snapshot": {"path": str(tmp_path)}}
    return Streams(load(values), None, ledger.close)


def claimed(stream, frame_id="a"):
    return stream.claim(QueuedFrame(FrameMessage(stream.name, frame_id, "png", b""), stream, 0)) is Claim.NEW


def awake(streams):
    return [stream.name for stream in streams.known() if stream.detector is not None]


def test_a_stream_just_admitted_keeps_its_place_while_a_sleeper_wakes(streams, ledger):
    streams.admit("first").detector = object()
    sleeper = streams.put_to_sleep("sleeper")
    new = streams.admit("new")
    ledger.receive("new")
    with pytest.raises(WireError, match="sleeper"), streams.opening(sleeper):
        pytest.fail("there was no place")
    assert claimed(new)
    ledger.score("new")
    assert streams.get("new") is new
    assert ledger.streams()["new"] | {"queued": 0, "received": 1, "scored": 1} == ledger.streams()["new"]


def test_a_stream_without_a_usable_frame_makes_place_for_the_next(streams):
    streams.admit("first").detector = object()
    streams.admit("useless")
    assert streams.admit("next").name == "next"
    assert streams.get("useless") is None


def test_sleepers_that_were_reset_take_places_like_others(streams):
    sleepers = [streams.put_to_sleep(f"s{index}") for index in range(4)]
    for stream in sleepers:
        stream.reset()
    refused = 0
    for index in range(4):
        try:
            stream = streams.admit(f"s{index}")
            frame = QueuedFrame(FrameMessage(stream.name, "a", "png", b""), stream, 0)
            assert stream.claim(frame) is Claim.NEW
            with streams.opening(stream):
                stream.detector = object()
            stream.release(frame, stream.resets)
        except WireError as error:
            refused += error.code == "too_many_streams"
        assert len(awake(streams)) <= 2
    assert (len(awake(streams)), refused) == (2, 2)


def test_a_ring_that_cannot_be_read_for_once_is_neither_lost_nor_replaced(backbone, tmp_path, monkeypatch):
    opened = Path.open

    def out_of_descriptors(path, *args, **kwargs):
        if path.name.endswith(SUFFIX):
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(path, *args, **kwargs)

    with (
        serving(config(tmp_path), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for seed in range(3):
            camera.picture(seed)
        screen.until(3, "score")
        assert nap(service)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", out_of_descriptors)
            camera.picture(3)
            assert screen.until(1, "error")[0]["code"] == "snapshot_unreadable"
        assert control(service, "status")["streams"]["line"]["state"] == "asleep"
        camera.picture(3)
        assert screen.until(1, "score")[0]["n_references"] == 3
        assert told(service, 1) == ["snapshot_unreadable"]
        assert identity_holds(control(service, "status"))
    assert not list(tmp_path.glob("*.refused-*"))


def test_a_reliable_sender_comes_again_until_there_is_a_place(backbone, tmp_path):
    with (
        serving(config(tmp_path, limits={"streams": 1}), backbone) as service,
        Screen(service, "a/") as screen,
    ):
        play(service, range(2), "a")
        assert nap(service, "a")
        play(service, range(2), "b")
        with ReliablePublisher(service.endpoints["reliable"], "a", resend_s=0.05) as camera:
            camera.send(picture(2), "a-2")
            with pytest.raises(StreamerError, match="1 frames not acknowledged"):
                camera.flush(0.5)
            until(lambda: "too_many_streams" in control(service, "status")["streams"]["a"]["refused"])
            assert nap(service, "b")
            camera.flush(PATIENCE_S)
            assert (camera.acknowledged, camera.refused) == (1, {})
        assert screen.until(3, "score")[-1]["n_references"] == 2
        # A copy sent just before the ack came may still be on its way.
        until(lambda: service.ledger.totals()["queued"] == 0)
        assert all(identity_holds(stream) for stream in control(service, "status")["streams"].values())


def test_nothing_is_written_for_a_stream_that_may_not_sleep(backbone, tmp_path):
    with (
        serving(config(tmp_path, limits={"sleeping": 1}), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for stream in ("one", "two"):
            camera.picture(0, stream)
        screen.until(2, "score")
        assert nap(service, "one")
        assert not nap(service, "two")
        assert control(service, "status")["snapshot"]["written"] == 1


def test_a_stop_does_not_wait_for_all_who_are_due(backbone, tmp_path):
    with (
        serving(config(tmp_path), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        camera.picture(0)
        screen.until(1, "score")
        service.sleep.stop()
        assert not nap(service)


def test_a_flush_of_all_leaves_sleepers_and_goes_on_after_a_failure(backbone, tmp_path, monkeypatch):
    flush = Detector.flush

    def first_fails(detector):
        monkeypatch.setattr(Detector, "flush", flush)
        raise MemoryError("a ring")

    with serving(config(tmp_path), backbone) as service:
        for stream, count in (("asleep", 2), ("failing", 3), ("fine", 4)):
            play(service, range(count), stream)
        assert nap(service, "asleep")
        monkeypatch.setattr(Detector, "flush", first_fails)
        with pytest.raises(
            WireError, match=r"not done for stream 'failing' \(MemoryError.*; 4 scores are final"
        ):
            control(service, "flush")
        answer = control(service, "flush")
        assert (answer["flushed"], answer["asleep"]) == (3, ["asleep"])
        assert control(service, "status")["asleep"] == 1
        assert control(service, "flush", stream="asleep")["flushed"] == 2
        assert control(service, "status")["asleep"] == 0


def test_frames_are_scored_between_the_rings_of_a_flush(backbone, monkeypatch):
    flush, order = Scoring.flush, []

    def flush_and_receive(scoring, stream):
        order.append(stream.name)
        if len(order) == 1:
            camera.picture(9, "b")
            until(lambda: service.pipeline._extracted.qsize() == 1)
        elif service.ledger.streams()["b"]["received"] == 2:
            order.append(service.streams.get("b").state["images"])
        return flush(scoring, stream)

    with serving(small_config(), backbone) as service, Camera(service.endpoints["frames"]) as camera:
        for stream in ("a", "b"):
            play(service, [0], stream)
        monkeypatch.setattr(Scoring, "flush", flush_and_receive)
        control(service, "flush")
        assert order == ["a", "b", 2]
