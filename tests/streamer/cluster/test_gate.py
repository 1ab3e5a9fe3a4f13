"""A gate on real Ray: what its lines' deaths cost, what rings may take, what it refuses."""

import os
import signal

import pytest
from streamer_support import backbone, control, serving, small_config, until, watched

from streamer.errors import WireError
from streamer.server.threads import FairLock

__all__ = ["backbone"]

on_ray = pytest.mark.parametrize("engine", [pytest.param("ray", marks=pytest.mark.slow)], indirect=True)


def scores(screen, camera, seeds):
    for seed in seeds:
        camera.picture(seed, capture_ns=1)
    return [(one["frame_id"], one["raw_score"]) for one in screen.until(len(seeds), "score")]


def kill_line(service, stream="line"):
    os.kill(service.status()["engine"]["lines"][stream]["pid"], signal.SIGKILL)


@on_ray
def test_a_line_that_is_killed_is_back_with_all_it_knew(backbone, tmp_path, engine):
    kept = {"path": str(tmp_path / "rings"), "journal": True}
    with watched(backbone, snapshot=kept) as (service, screen, camera):
        found = scores(screen, camera, range(4))
        kill_line(service)
        found += scores(screen, camera, range(4, 8))
        status = control(service, "status")
    assert status["engine"]["lines"]["line"]["restarts"] == 1
    assert (status["streams"]["line"]["arrivals"], status["scored"], status["queued"]) == (8, 8, 0)
    assert len({frame_id for frame_id, _ in found}) == 8
    with watched(backbone, snapshot={"path": str(tmp_path / "others"), "journal": True}) as (
        _,
        screen,
        camera,
    ):
        assert scores(screen, camera, range(8)) == found


@on_ray
def test_a_ring_that_was_on_no_disk_is_told_to_be_lost(backbone, engine):
    with watched(backbone) as (service, screen, camera):
        scores(screen, camera, range(3))
        kill_line(service)
        camera.picture(3)
        (error,) = screen.until(1, "error")
        assert error["code"] == "ring_lost"
        assert "of 3 frames 0 were on disk" in error["text"]
        screen.until(1, "score")
        assert control(service, "status")["streams"]["line"]["images"] == 1


@on_ray
def test_a_word_after_a_death_is_done_once_and_as_it_was_said(backbone, tmp_path, engine):
    kept = {"path": str(tmp_path / "rings"), "journal": True}
    with watched(backbone, snapshot=kept) as (service, screen, camera):
        scores(screen, camera, range(4))
        control(service, "pin", stream="line", frame_id="line-1")
        kill_line(service)
        answer = control(service, "forget", stream="line", frame_id="line-3")
        assert (answer["frame_id"], answer["images"], answer["pinned"]) == ("line-3", 3, 1)


@on_ray
def test_streams_that_open_together_keep_to_what_all_rings_may_take(backbone, engine):
    with watched(backbone) as (service, screen, camera):
        scores(screen, camera, range(1))
        one = control(service, "status")["bytes"]["rings"]
    with watched(backbone, limits={"total_bytes": 2 * one - 1}) as (service, screen, camera):
        for stream in ("a", "b", "c"):
            camera.picture(0, stream)
        answers = screen.until(3, "score", "error")
        assert sorted(one.get("code", "scored") for one in answers) == ["no_room", "no_room", "scored"]
        assert control(service, "status")["bytes"]["rings"] == one


@on_ray
def test_a_stream_is_moved_and_goes_on(backbone, tmp_path, engine):
    kept = {"path": str(tmp_path / "rings"), "journal": True}
    with watched(backbone, snapshot=kept) as (service, screen, camera):
        scores(screen, camera, range(3))
        (node,) = service.status()["engine"]["nodes"]
        answer = control(service, "move", stream="line", node=node["id"])
        assert (answer["from"], answer["to"]) == (node["id"], node["id"])
        scores(screen, camera, range(3, 5))
        assert control(service, "status")["streams"]["line"]["arrivals"] == 5
        with pytest.raises(WireError, match="expected one of"):
            control(service, "move", stream="line", node="nowhere")
        with pytest.raises(WireError, match="the last one"):
            control(service, "drain", node=node["id"])


@on_ray
def test_resets_beside_snapshots_end_nobody(backbone, tmp_path, engine):
    """A snapshot asked a line that had ended meanwhile, and the thread died of it."""
    kept = {"path": str(tmp_path / "rings"), "journal": True, "every_s": 0.01}
    with watched(backbone, snapshot=kept) as (service, screen, camera):
        for number in range(20):
            camera.picture(number)
            screen.until(1, "score")
            control(service, "reset", stream="line")
        assert service.failure is None


def test_one_process_has_nowhere_to_move_to(backbone):
    with serving(small_config(), backbone) as service, pytest.raises(WireError, match=r"engine\.name to ray"):
        control(service, "drain", node="x")


def test_who_waited_for_a_turn_in_vain_holds_up_nobody():
    lock = FairLock()
    assert lock.take()
    assert not lock.take(0.01)
    assert not lock.take(0.01)
    lock.give()
    assert lock.take(0.01)
    lock.give()
    until(lambda: lock.take(0.0))
