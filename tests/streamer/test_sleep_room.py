"""What sleepers leave room for, and what happens when there is none: to sleep, to save, or to wake."""

import pytest
from sleep_support import config, nap, one_ring, ring_bytes, state, told
from snapshot_support import play
from stream_support import detector, images
from streamer_support import (
    Camera,
    Screen,
    backbone,
    control,
    identity_holds,
    serving,
    until,
)

from musc_online import snapshot
from musc_online.errors import CapacityError
from streamer.errors import WireError
from streamer.server import snapshots
from streamer.server.snapshot_files import file_name

__all__ = ["backbone"]


@pytest.mark.parametrize("short_of", ["total_bytes", "streams"])
def test_sleepers_make_room_and_wait_for_it(backbone, tmp_path, short_of):
    enough_for_one = {"streams": 1}
    if short_of == "total_bytes":
        enough_for_one = {"total_bytes": int(1.5 * one_ring(backbone, tmp_path / "other"))}
    code = {"total_bytes": "no_room", "streams": "too_many_streams"}[short_of]
    with (
        serving(config(tmp_path, limits=enough_for_one), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        play(service, range(4), "a")
        camera.picture(0, "b")
        assert screen.until(1, "error")[0]["code"] == code
        assert nap(service, "a")
        play(service, range(4), "b")
        for seed in (4, 4):  # refused twice: an id that was refused is free again
            camera.picture(seed, "a")
            (error,) = screen.until(1, "error")
            assert (error["code"], error["stream"], error["frame_id"]) == (code, "a", f"a-{seed}")
        with pytest.raises(WireError) as refusal:
            control(service, "flush", stream="a")
        assert refusal.value.code == code
        flushed = control(service, "flush")
        assert (flushed["flushed"], flushed["asleep"]) == (4, ["a"])
        shown = state(service, "a")
        assert (shown["state"], shown["refused"], shown["images"]) == ("asleep", {code: 2}, 4)
        assert nap(service, "b")
        assert play(service, [4], "a")[0]["n_references"] == 4
        status = control(service, "status")
        assert identity_holds(status)
        assert all(identity_holds(stream) for stream in status["streams"].values())
        assert told(service, 2, "a") == [code, code]


def test_only_so_many_sleep(backbone, tmp_path):
    with serving(config(tmp_path, limits={"sleeping": 1}), backbone) as service:
        play(service, range(2), "a")
        play(service, range(2), "b")
        assert nap(service, "a")
        assert not nap(service, "b")
        assert play(service, [2], "b")[0]["n_references"] == 2
        control(service, "reset", stream="a")
        assert nap(service, "b")


@pytest.mark.parametrize("trouble", ["disk", "memory"])
def test_a_ring_that_cannot_be_saved_stays_awake_and_it_is_told(backbone, tmp_path, trouble, monkeypatch):
    def full(*_):
        raise MemoryError

    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        path = tmp_path / file_name("line")
        with monkeypatch.context() as patch:
            if trouble == "memory":
                patch.setattr(snapshots.snapshot, "capture", full)
            else:
                path.mkdir()  # where the file should go: what the kernel refuses, for whatever reason
                (path / "x").touch()
            assert not nap(service)
            service.sleep.look()  # not tried again at once
        assert told(service, 1) == ["snapshot_failed"]
        status = control(service, "status")
        assert (status["state"], status["asleep"], status["bytes"]["rings"] > 0) == ("degraded", 0, True)
        if trouble == "disk":
            (path / "x").unlink()
            path.rmdir()
        assert play(service, [3])[0]["n_references"] == 3
        assert nap(service)
        assert control(service, "status")["state"] == "ready"
        assert play(service, [4])[0]["n_references"] == 4


def test_no_memory_to_wake_is_told_and_tried_again(backbone, tmp_path, monkeypatch):
    def full(*_):
        raise MemoryError

    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        assert nap(service)
        with Camera(service.endpoints["frames"]) as camera, monkeypatch.context() as patch:
            patch.setattr(snapshots.snapshot, "restore", full)
            camera.picture(3)
            until(lambda: state(service)["refused"] == {"internal": 1})
        assert (state(service)["state"], ring_bytes(service)) == ("asleep", 0)
        assert play(service, [3])[0]["n_references"] == 3


def test_a_ring_too_large_for_the_moment_is_not_taken_for_damage():
    tokens, class_tokens = images(0, 3)
    matched = detector(8, ring={"matcher": "faiss"})
    for image in range(3):
        matched.step_tokens(tokens[:, image], class_tokens[image], image)
    saved = snapshot.capture(matched)
    free = detector(8, ring={"matcher": "auto"})
    room = type(free.config.ring.max_bytes)(matched.status()["bytes"] // 2)
    ring = free.config.ring.model_copy(update={"max_bytes": room})
    free.config = free.config.model_copy(update={"ring": ring})
    with pytest.raises(CapacityError, match=r"ring\.max_bytes allows"):
        snapshot.restore(free, saved)
    assert free.ring is None
