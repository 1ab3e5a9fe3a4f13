"""The bridge's follower on a real service: a full disk, a detector without a history, one behind keys."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from streamer_support import Camera, backbone, control, serving, small_config, until, watched
from structlog.testing import capture_logs

from streamer import auth
from streamer.bridges import follow
from streamer.bridges.common import Tell
from streamer.bridges.follow import BridgeFollower
from streamer.bridges.queue import Queue
from streamer.bridges.telling import Telling
from streamer.following import presence

__all__ = ["backbone"]


@contextmanager
def following(folder, endpoints, keys=None, pictures=False, **rules):
    """A queue that fills, and nobody who empties it."""
    queue = Queue(folder, "tcp", max_items=10**6, max_bytes=10**9)
    telling = Telling(Tell(**{"revisions": "all", **rules}), maps=False)
    where = SimpleNamespace(scores=endpoints["scores"], control=endpoints["control"])
    follower = BridgeFollower(where, keys, queue, telling, pictures=pictures, wake=lambda: None)
    follower.start()
    try:
        yield queue
    finally:
        follower.stop()
        assert not follower.is_alive()
        queue.close()


def ids(queue):
    return [item.header["frame_id"] for item in queue.first() if item.header.get("kind") == "score"]


def said(queue):
    return [item.header["detector"] for item in queue.first() if item.kind == "availability"]


def names(*numbers):
    return [f"line-{number}" for number in numbers]


def test_a_disk_that_was_full_is_caught_up_with_although_nothing_more_comes(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "_LOOK_S", 0.1)
    with (
        serving(small_config(), backbone) as service,
        following(tmp_path, service.endpoints) as queue,
        Camera(service.endpoints["frames"]) as camera,
        capture_logs() as lines,
    ):
        camera.picture(0)
        until(lambda: ids(queue) == names(0))
        with queue._lock:
            pages = queue._database.execute("PRAGMA page_count").fetchone()[0]
            queue._database.execute(f"PRAGMA max_page_count = {pages}")
        for seed in range(1, 4):
            camera.picture(seed, meta={"note": "x" * 12_000})
        until(lambda: queue.failed is not None)
        until(lambda: control(service, "status")["scored"] == 4)
        with queue._lock:
            queue._database.execute("PRAGMA max_page_count = 1000000")
        until(lambda: ids(queue) == names(*range(4)))
        assert queue.failed is None
        events = [line["event"] for line in lines]
        assert events.index("bridge_queue_failed") < events.index("bridge_queue_works_again")


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_detector_that_comes_again(backbone, tmp_path, monkeypatch, on_disk):
    monkeypatch.setattr(presence, "DOWN_S", 2.0)
    history = {"path": str(tmp_path / "h.sqlite")} if on_disk else {}
    with watched(backbone, small_config(history=history)) as (service, screen, camera):
        endpoints = dict(service.endpoints)
        with following(tmp_path, endpoints) as queue:
            for seed in range(3):
                camera.picture(seed)
            until(lambda: ids(queue) == names(0, 1, 2))
    transport = {key: endpoints[key] for key in ("scores", "control")}
    with following(tmp_path, endpoints) as queue:
        with watched(backbone, small_config(history=history, transport=transport)) as (
            service,
            screen,
            camera,
        ):
            for seed in range(3, 6):
                camera.picture(seed)
            screen.until(3, "score")
            until(lambda: ids(queue) == names(*range(6)))
            assert queue.topics()["line/score"][0] == (5 if on_disk else 2)
            assert queue.counters()["lost"] == 0
            until(lambda: said(queue)[-1] == "up")
        until(lambda: said(queue)[-1] == "down")


def test_what_the_history_no_longer_has_is_told_as_lost(backbone, tmp_path):
    # While a detector learns it revises nothing: revisions would push the last score out as well.
    config = small_config(history={"max_messages": 3}, warmup=12)
    with watched(backbone, config) as (service, screen, camera):
        with following(tmp_path, service.endpoints) as queue:
            camera.picture(0)
            until(lambda: ids(queue) == names(0))
        for seed in range(1, 9):
            camera.picture(seed)
        screen.until(9, "score")
        with following(tmp_path, service.endpoints) as queue:
            until(lambda: ids(queue)[-1:] == names(8))
            until(lambda: any(item.kind == "dropped" for item in queue.first()))
            lost = [item.header for item in queue.first() if item.kind == "dropped"]
            (hole,) = [one for one in lost if one["topic"] == "line/score"]
            assert hole["first"] == 1
            assert hole["lost"] == 9 - len(ids(queue))


def test_a_bridge_has_a_key_of_its_own_role(backbone, tmp_path):
    auth.create_keys(tmp_path / "keys", {"mqtt": "bridges", "camera": "publishers"})
    clients = tmp_path / "keys" / "clients"
    keys = auth.load_client(clients / "mqtt.key_secret", tmp_path / "keys" / "server.key")
    with serving(small_config(security={"keys": str(tmp_path / "keys")}), backbone) as service:
        (tmp_path / "q").mkdir()
        with following(tmp_path / "q", service.endpoints, keys) as queue:
            until(lambda: [item.header for item in queue.first()] == [{"detector": "up"}])
