"""The bridge's follower on a real service: a full disk, a detector without a history, one behind keys."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from following_support import TOPICS, Detector
from relay_support import Relay
from store_support import message, picture_message, verdict
from streamer_support import Camera, backbone, control, serving, small_config, until, watched
from structlog.testing import capture_logs

from streamer import auth
from streamer.bridges import follow
from streamer.bridges.common import Tell
from streamer.bridges.follow import BridgeFollower
from streamer.bridges.queue import Queue
from streamer.bridges.telling import Telling
from streamer.following import patience, presence, topics
from streamer.following.taken import Came, Taken

__all__ = ["backbone"]


@contextmanager
def following(folder, endpoints, keys=None, pictures=False, patience_s=600.0, **rules):
    """A queue that fills, and nobody who empties it."""
    queue = Queue(folder, "tcp", max_items=10**6, max_bytes=10**9)
    telling = Telling(Tell(**{"revisions": "all", **rules}), maps=False)
    where = SimpleNamespace(scores=endpoints["scores"], control=endpoints["control"])
    follower = BridgeFollower(
        where, keys, queue, telling, pictures=pictures, wake=lambda: None, patience_s=patience_s
    )
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


def holes(queue):
    """Of each topic what was told as lost."""
    lost = [item.header for item in queue.first() if item.kind == "dropped"]
    return {one["topic"]: (one["first"], one["last"], one["lost"]) for one in lost}


def test_what_the_history_no_longer_has_is_told_as_lost_although_nothing_more_comes(backbone, tmp_path):
    # The revisions of the last frames push out all scores.
    config = small_config(history={"max_messages": 3}, revise={"every": 1, "window": 12})
    with watched(backbone, config) as (service, screen, camera):
        with following(tmp_path, service.endpoints) as queue:
            camera.picture(0)
            until(lambda: ids(queue) == names(0))
        for seed in range(1, 9):
            camera.picture(seed)
        screen.until(9, "score")
        until(lambda: not control(service, "history", topic="line/score")["messages"])
        assert control(service, "history", topic="line/score")["next"] == 9
        with capture_logs() as lines, following(tmp_path, service.endpoints) as queue:
            until(lambda: holes(queue).get("line/score") == (1, 8, 8))
            until(lambda: queue.counters()["lost"] >= 8)
            assert queue.topics()["line/score"] == (8, None)
            until(lambda: "bridge_lost" in [one["event"] for one in lines if one["log_level"] == "warning"])
            camera.picture(9)
            until(lambda: ids(queue) == names(0, 9))


@pytest.mark.parametrize("gives_up", [False, True])
def test_a_history_that_is_away_for_a_while(backbone, tmp_path, monkeypatch, gives_up):
    monkeypatch.setattr(patience, "ANSWER_S", 0.2)
    with watched(backbone, small_config()) as (service, screen, camera):
        with following(tmp_path, service.endpoints) as queue:
            camera.picture(0)
            until(lambda: ids(queue) == names(0))
        for seed in range(1, 4):
            camera.picture(seed)
        screen.until(4, "score")
        with Relay(service.endpoints["control"]) as relay, capture_logs() as lines:
            relay.hold()
            endpoints = {**service.endpoints, "control": relay.endpoint}
            with following(tmp_path, endpoints, patience_s=0.5 if gives_up else 600.0) as queue:
                until(lambda: said(queue) == ["up", "up"])  # it listens
                until(lambda: "bridge_history_away" in [one["event"] for one in lines])
                camera.picture(4)
                camera.picture(0, stream="another")  # which misses nothing
                until(lambda: "another-0" in ids(queue))
                if gives_up:
                    until(lambda: ids(queue) == [*names(0), "another-0", *names(4)])
                    until(lambda: holes(queue)["line/score"] == (1, 3, 3))
                else:
                    assert ids(queue) == [*names(0), "another-0"]
                    relay.release()
                    until(lambda: ids(queue) == [*names(0), "another-0", *names(1, 2, 3, 4)])
                    assert queue.counters()["lost"] == 0
        levels = {one["event"]: one["log_level"] for one in lines}
        assert levels["bridge_history_away"] == "warning"
        assert levels.get("bridge_history_given_up") == ("warning" if gives_up else None)
        assert ("bridge_history_back" in levels) is not gives_up
        assert [one["event"] for one in lines].count("bridge_history_away") == 1


@contextmanager
def idle(folder, pictures=False):
    """A follower of nobody, whose thread does not run."""
    queue = Queue(folder, "tcp", max_items=10**6, max_bytes=10**9)
    where = SimpleNamespace(scores="tcp://127.0.0.1:9", control="tcp://127.0.0.1:9")
    telling = Telling(Tell(revisions="all"), maps=False)
    follower = BridgeFollower(where, None, queue, telling, pictures=pictures, wake=lambda: None)
    try:
        yield follower, queue
    finally:
        follower.stop()
        queue.close()


def test_what_revises_a_score_that_is_missing_waits_for_it(tmp_path):
    with idle(tmp_path) as (follower, queue):
        for number, one in enumerate([verdict("a"), verdict("b", "revision")]):
            follower._keep(follower._gaps.live(one, 0))
            assert [item.header["kind"] for item in queue.first()] == ["score"], number
        topic, first = follower._gaps.next_request()
        assert (topic, first) == ("line/score", 1)
        follower._keep(follower._gaps.answer(topic, [(1, verdict("b", pub_seq=1))], more=False))
        assert [item.header["kind"] for item in queue.first()] == ["score", "score", "revision"]


def test_a_fault_while_a_score_is_held_for_its_picture_tells_it_once(tmp_path):
    with idle(tmp_path, pictures=True) as (follower, queue):
        follower.presence.heard(message("status", picture={"of": "all"}), live=True)
        follower._keep(follower._gaps.live(verdict("a"), 0))
        assert queue.first() == []
        follower._begin_again()
        while (request := follower._gaps.next_request()) is not None:
            messages = [(0, verdict("a"))] if request == ("line/score", 0) else []
            follower._keep(follower._gaps.answer(request[0], messages, more=False), quiet=True)
        follower._keep(Taken([Came(picture_message("a", b"jpeg"), live=True)]))
        follower._keep(follower._gaps.live(verdict("b", pub_seq=1), 1), quiet=True)
        assert [item.header["frame_id"] for item in queue.first()] == ["a", "b"]


def test_a_hole_that_is_filled_page_by_page_is_told_once_whenever_the_bridge_is_killed(tmp_path):
    with idle(tmp_path) as (follower, queue):
        follower._keep(follower._gaps.live(verdict("p0"), 0))
    pages = [[(n, verdict(f"p{n}", pub_seq=n)) for n in page] for page in ((30, 31), (32, 33), (35, 36))]
    for page in pages:  # killed after each
        with idle(tmp_path) as (follower, queue):
            follower._gaps.check_all()
            request = follower._gaps.next_request()
            assert request is not None
            follower._keep(follower._gaps.answer("line/score", page, more=True))
            told = [item.header for item in queue.first()]
            assert queue.counters()["lost"] == sum(one.get("lost", 0) for one in told)
    assert [one.get("lost", one.get("frame_id")) for one in told] == [
        "p0",
        29,
        *(f"p{n}" for n in range(30, 34)),
        1,
        "p35",
        "p36",
    ]


def catch_up(follower, detector, beats=0):
    """All that is asked for is answered and kept, also what is asked for after some heartbeats."""
    follower._patience.answered("probe")
    for beat in range(beats + 1):
        if beat:
            follower._gaps.tails.beat()
        while (request := follower._gaps.next_request()) is not None:
            messages, more, following = detector.fetch(*request)
            answer = follower._gaps.answer(request[0], messages, more, following)
            follower._keep(answer, quiet=True)
        follower._ask()


def scored(most=4):
    """A detector that has scored frames of two streams, of which its history has the last ones."""
    detector = Detector(most)
    for _ in range(10):
        detector.score("line")
        detector.score("left")
    return detector


def test_a_new_bridge_missed_nothing_of_before_until_it_has_caught_up_and_after_that_all_that_is_gone(
    tmp_path,
):
    detector = scored()
    with idle(tmp_path) as (follower, queue):
        follower._gaps.check_all(TOPICS)
        topic, first = follower._gaps.next_request()
        follower._keep(follower._gaps.answer(topic, *detector.fetch(topic, first)))
        assert list(queue.topics()) == [topic]  # and is stopped
    with idle(tmp_path) as (follower, queue):
        follower._gaps.check_all(TOPICS)
        catch_up(follower, detector, beats=1)
        assert not queue.was_whole  # there may be streams that it has not heard of
        catch_up(follower, detector, beats=2)
        assert holes(queue) == {}
        assert queue.was_whole
    for _ in range(6):
        detector.say("event", "left", 0, 0)
    with idle(tmp_path) as (follower, queue):
        follower._gaps.check_all(TOPICS)
        catch_up(follower, detector, beats=3)
        assert holes(queue) == {"left/event": (0, 1, 2)}


def test_a_new_bridge_whose_disk_was_full_missed_nothing_of_before_either(tmp_path):
    detector = scored()
    with idle(tmp_path) as (follower, queue):
        follower._gaps.check_all(TOPICS)
        topic = ""
        while topic != "left/score":
            topic, first = follower._gaps.next_request()
            answer = follower._gaps.answer(topic, *detector.fetch(topic, first))
            if topic != "left/score":  # which is not kept
                follower._keep(answer)
        assert list(queue.topics()) == ["line/score"]
        follower._begin_again()
        follower._gaps.check_all(TOPICS)
        catch_up(follower, detector, beats=3)
        assert holes(queue) == {}
        assert set(queue.topics()) == {"line/score", "left/score"}


def test_a_bridge_has_not_caught_up_while_the_first_score_of_a_stream_waits_for_its_picture(tmp_path):
    with idle(tmp_path, pictures=True) as (follower, queue):
        follower.presence.heard(message("status", picture={"of": "all"}), live=True)
        follower._keep(follower._gaps.live(verdict("a"), 0))
        catch_up(follower, Detector(), beats=3)
        assert not queue.was_whole
        follower._keep(Taken([Came(picture_message("a", b"jpeg"), live=True)]))
        catch_up(follower, Detector())
        assert queue.was_whole


def test_verdicts_of_very_many_streams_are_all_told_also_after_a_restart(tmp_path, monkeypatch):
    monkeypatch.setattr(topics, "_TOPICS", 20)
    for start in range(2):
        with idle(tmp_path) as (follower, _):
            for number in range(100):
                one = verdict(start, stream=f"lot-{number}", pub_seq=start)
                follower._keep(follower._gaps.live(one, start))
                while (request := follower._gaps.next_request()) is not None:
                    found = [(start, one)] if request[0] == one.topic else []
                    follower._keep(follower._gaps.answer(request[0], found, more=False, following=0))
                if follower._gaps.are_many:
                    follower._gaps.forget(follower._unkept())
            assert not follower._gaps.are_many
            assert follower.n_left_out == 0
    told = [(item.stream, item.header["frame_id"]) for item in queue_of(tmp_path)]
    assert told == [(f"lot-{number}", start) for start in range(2) for number in range(100)]


def test_what_finds_no_room_is_counted_told_and_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(topics, "_TOPICS", 2)
    with idle(tmp_path) as (follower, queue), capture_logs() as lines:
        for number in range(6):  # each with a hole before it, and nobody answers
            follower._keep(follower._gaps.live(verdict("b", stream=f"lot-{number}", pub_seq=1), 1))
        follower._look()
        assert follower.n_left_out == 2
        assert [one["messages"] for one in lines if one["event"] == "bridge_too_many_topics"] == [2]
        while (request := follower._gaps.next_request()) is not None:
            stream, _, kind = request[0].partition("/")
            kept = [(n, verdict("ab"[n], stream=stream, pub_seq=n)) for n in range(2) if kind == "score"]
            follower._keep(follower._gaps.answer(request[0], kept, more=False))
        assert sorted((item.stream, item.header["frame_id"]) for item in queue.first()) == [
            (f"lot-{number}", frame) for number in range(6) for frame in "ab"
        ]


def queue_of(folder):
    """All items of a queue that nobody uses."""
    queue = Queue(folder, "tcp", max_items=10**6, max_bytes=10**9)
    found = []
    while items := queue.first():
        found += items
        queue.delivered(items)
    queue.close()
    return found


def test_a_bridge_has_a_key_of_its_own_role(backbone, tmp_path):
    auth.create_keys(tmp_path / "keys", {"mqtt": "bridges", "camera": "publishers"})
    clients = tmp_path / "keys" / "clients"
    keys = auth.load_client(clients / "mqtt.key_secret", tmp_path / "keys" / "server.key")
    with serving(small_config(security={"keys": str(tmp_path / "keys")}), backbone) as service:
        (tmp_path / "q").mkdir()
        with following(tmp_path / "q", service.endpoints, keys) as queue:
            until(lambda: [item.header for item in queue.first()] == [{"detector": "up"}])
