"""Following a detector: real services, real gaps, and one that says what no detector says."""

import itertools
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import msgpack
import pytest
import zmq
from store_support import a_store, jpeg, picture_message, verdict
from streamer_support import (
    PATIENCE_MS,
    PATIENCE_S,
    Camera,
    backbone,
    control,
    serving,
    small_config,
    until,
    watched,
)

from streamer.following import follower, patience
from streamer.following.messages import KINDS
from streamer.page import health
from streamer.page.follow import Follower
from streamer.page.hub import Hub
from streamer.page.pictures import jpeg_size
from streamer.page.queries import Queries
from streamer.process import free_port

__all__ = ["backbone"]


@contextmanager
def following(folder, endpoints, **options):
    """A page's store and follower, stopped in the orderly way; what it tells is in `told`."""
    store = a_store(folder, time.time_ns, **options)
    hub, told = Hub(), []
    tell, hub.tell = hub.tell, lambda updates, cursor=None: (told.extend(updates), tell(updates, cursor))
    where = SimpleNamespace(scores=endpoints["scores"], control=endpoints["control"])
    follower = Follower(store, hub, where, None)
    follower.start()
    try:
        yield SimpleNamespace(store=store, queries=Queries(store), follower=follower, told=told, hub=hub)
    finally:
        follower.stop()
        assert not follower.is_alive()
        store.close()


def ids(page):
    return sorted(frame["frame_id"] for frame in page.queries.scores(limit=200)["frames"])


def told_of(page, kind):
    return [one.header for one in list(page.told) if one.header["type"] == kind]


def names(*numbers):
    return sorted(f"line-{number}" for number in numbers)


def test_what_is_published_is_kept_and_told(backbone, tmp_path):
    options = {"transport": {"map_encoding": "grid"}, "revise": {"every": 2, "window": 12}}
    options["output"] = {"picture": {"of": "all", "side": 32}}
    with watched(backbone, small_config(**options)) as (service, screen, camera):
        camera.picture(0)
        screen.until(1, "score")
        with following(tmp_path, service.endpoints) as page:
            until(lambda: ids(page) == names(0))  # from before it came
            for seed in range(1, 6):
                camera.picture(seed, meta={"part_id": seed})
            until(lambda: ids(page) == names(*range(6)))
            control(service, "false_alarm", stream="line", frame_id="line-5", who="anna")
            control(service, "flush", stream="line")
            until(lambda: all(frame["final"] for frame in page.queries.scores()["frames"]))
            published = {fields["frame_id"]: fields for fields in screen.until(5, "score")}
            for frame_id, fields in published.items():
                frame = page.queries.frame("line", f"s:{frame_id}")
                assert frame["first"]["raw"] == fields["raw_score"]
                assert frame["map"]["rows"] == frame["map"]["cols"] == 4
                assert (frame["captured"], frame["part_id"]) == (
                    fields["capture_ns"] // 1000 / 1000,
                    frame_id[-1],
                )
            # Pictures are not kept: that of the first frame went out before anybody heard.
            until(lambda: len(list(tmp_path.rglob("*.jpg"))) == 5)
            for seed in range(1, 6):
                assert jpeg_size(page.queries.picture_path("line", f"s:line-{seed}").read_bytes()) == (24, 32)
                assert page.queries.frame("line", f"s:line-{seed}")["shape"] == [48, 64]
            words = page.queries.frame("line", "s:line-5")["words"]
            assert [(word["what"], word["who"]) for word in words] == [("false_alarm", "anna")]
            assert {header["frame"]["key"] for header in told_of(page, "score")} >= {
                f"s:line-{n}" for n in range(1, 6)
            }
            assert told_of(page, "operator")
            until(lambda: page.follower.health()[0]["scored"] == 6)
            detector, (stream,) = page.follower.detector(), page.follower.health()
            assert (detector["up"], detector["read_only"], detector["gaps"]) == (True, False, [])
            assert (stream["today"]["inspected"], stream["map"], stream["picture"]) == (6, True, True)
            assert stream["threshold"] == control(service, "status")["streams"]["line"]["threshold"]
            assert page.store.bad == 0


def gaps_of(page, topic):
    return [gap for gap in page.follower.detector()["gaps"] if gap["topic"] == topic]


def test_a_page_that_was_away_asks_for_what_it_missed(backbone, tmp_path):
    with watched(backbone) as (service, screen, camera):
        camera.picture(0)
        with following(tmp_path, service.endpoints) as page:
            until(lambda: ids(page) == names(0))
        for seed in range(1, 5):
            camera.picture(seed)
        screen.until(5, "score")
        before = control(service, "status")
        with following(tmp_path, service.endpoints) as page:
            until(lambda: ids(page) == names(*range(5)))
            until(lambda: gaps_of(page, "line/score"))  # each topic has its own, in any order
            (gap,) = gaps_of(page, "line/score")
            assert (gap["first"], gap["last"], gap["lost"], gap["filled"]) == (1, 4, 0, 4)
            camera.picture(5)
            until(lambda: ids(page) == names(*range(6)))
        after = control(service, "status")
        assert (before["received"], after["received"], after["scored"]) == (5, 6, 6)


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_detector_that_comes_again(backbone, tmp_path, monkeypatch, on_disk):
    monkeypatch.setattr(health, "DOWN_S", 3.0)
    history = {"path": str(tmp_path / "h.sqlite")} if on_disk else {}
    transport = {key: free_port() for key in ("scores", "control")}  # nobody takes them meanwhile
    with watched(backbone, small_config(history=history, transport=transport)) as (service, screen, camera):
        endpoints = dict(service.endpoints)
        with following(tmp_path / "before", endpoints) as page:
            for seed in range(3):
                camera.picture(seed)
            until(lambda: ids(page) == names(0, 1, 2))
    with following(tmp_path / "before", endpoints) as page:
        until(lambda: page.follower.detector()["up"] is False)
        with watched(backbone, small_config(history=history, transport=transport)) as (
            service,
            screen,
            camera,
        ):
            for seed in range(3, 8):
                camera.picture(seed)
            screen.until(5, "score")
            until(lambda: ids(page) == names(*range(8)))
            until(lambda: page.follower.detector()["up"])
            assert page.store.last_pub_seq()["line/score"] == (7 if on_disk else 4)
            assert sum(one["lost"] for one in page.follower.detector()["gaps"]) == 0
            anew = [one for one in page.queries.audit() if one["what"] == "counted_anew"]
            assert bool(anew) is not on_disk
        until(
            lambda: (
                [one["until"] for one in page.queries.alarms() if one["cause"] == "detector"][:1] == [None]
            )
        )
    with following(tmp_path / "before", endpoints) as page:
        assert ids(page) == names(*range(8))


class Impostor:
    """A publisher that says whatever it is told to, and may answer for the history."""

    def __init__(self, answers):
        self.context = zmq.Context()
        self.scores, self.control = self.context.socket(zmq.XPUB), self.context.socket(zmq.REP)
        self.endpoints = {}
        for name, socket in (("scores", self.scores), ("control", self.control)):
            socket.linger, socket.rcvtimeo, socket.sndhwm = 0, PATIENCE_MS, 0
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            self.endpoints[name] = f"tcp://127.0.0.1:{port}"
        self._ending = threading.Event()
        self._answers = answers
        self._thread = threading.Thread(target=self._answer)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
        self.context.destroy(linger=0)

    def wait(self):
        assert self.scores.recv() == b"\1"

    def send(self, message, payload=None):
        parts = [message.topic.encode(), msgpack.packb(dict(message))]
        self.scores.send_multipart(parts if payload is None else [*parts, payload])

    def _answer(self):
        while not self._ending.is_set():
            if self._answers is not None and self.control.poll(50):
                request = msgpack.unpackb(self.control.recv())
                self.control.send(msgpack.packb(self._answers(request)))
            self._ending.wait(0.01)


HOSTILE = [
    None, True, -1, 2**63, 2**64 - 1, 1e308, float("nan"), float("inf"), "", "x" * 100_000, "\ud800",
    b"bytes", [], {}, [[]], [None] * 5000, {"a": {"b": [1] * 3000}}, [[1, 2, 3, 4, float("nan")]],
    {"encoding": "grid"}, {"encoding": "png16", "shape": [16384, 16384], "min": 0, "max": "x"},
    "../../etc/passwd", "<img onerror=x>",
]  # fmt: skip


KEYS = (*verdict("a"), "group", "since", "n_frames", "what", "before", "code", "streams", "uptime_s")


def nothing(request):
    return {"v": 1, "ok": True, "kind": "history", "messages": [], "more": False}


def test_what_no_detector_says_is_passed_over(tmp_path):
    with Impostor(nothing) as detector, following(tmp_path, detector.endpoints) as page:
        detector.wait()
        combinations = itertools.product((*KINDS, "status"), KEYS, HOSTILE)
        for number, (kind, key, value) in enumerate(combinations):
            message = verdict(f"{kind}-{key}-{number}", kind, pub_seq=number)
            message[key] = value
            with suppress(UnicodeEncodeError):  # msgpack does not pack it for an impostor either
                detector.send(message, jpeg() if kind == "picture" else bytes(64))
        for parts in (
            [],
            [b"x"],
            [b"line/score", b"\xc1"],
            [b"\xff/score", msgpack.packb({"v": 1})],
            [b""] * 4,
        ):
            detector.scores.send_multipart([b"line/score", *parts])
            if parts:
                detector.scores.send_multipart(parts)
        detector.send(verdict("the last one", pub_seq=10**6))
        detector.send(picture_message("the last one", jpeg()), jpeg())

        def last():
            return [frame["picture"] for frame in page.queries.scores(q="the last one")["frames"]]

        until(lambda: last() == [True])
        assert page.store.bad > 1000
        assert page.store.failed is None
        page.follower.health()
        page.follower.detector()


BROKEN = {"topic": "line/score", "header": b"\xc1"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": None},
        {"messages": [1, None, {}]},
        {"messages": [BROKEN] * 9},
        {"messages": [{"topic": 5, "header": 7, "map": "x"}], "more": True},
        {"ok": False, "code": "busy", "text": "no"},
        {"more": True},
    ],
)
def test_a_history_that_answers_nonsense_holds_nothing_up(tmp_path, wrong):
    def answers(request):
        return {**nothing(request), **wrong}

    with Impostor(answers) as detector, following(tmp_path, detector.endpoints) as page:
        detector.wait()
        detector.send(verdict("a", pub_seq=0))
        detector.send(verdict("b", pub_seq=5))
        until(lambda: ids(page) == ["a", "b"])


def test_without_answers_what_comes_goes_on_and_is_told_as_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "ANSWER_S", 0.3)
    with Impostor(None) as detector, following(tmp_path, detector.endpoints) as page:
        detector.wait()
        detector.send(verdict("a", pub_seq=0))
        detector.send(verdict("b", pub_seq=5))
        until(lambda: ids(page) == ["a", "b"])
        until(lambda: page.follower.detector()["gaps"])
        (gap,) = page.follower.detector()["gaps"]
        assert (gap["topic"], gap["first"], gap["last"], gap["lost"], gap["filled"]) == (
            "line/score",
            1,
            4,
            4,
            0,
        )
        assert page.follower.detector()["read_only"]


def test_a_history_that_answers_later_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(follower, "_PROBE_S", 0.1)
    refuse, refused = threading.Event(), threading.Event()
    refuse.set()
    kept = [verdict(one, pub_seq=number) for number, one in enumerate("abc")]

    def answers(request):
        if refuse.is_set():
            refused.set()
            return {"v": 1, "ok": False, "code": "busy", "text": "not now"}
        found = [one for one in kept if one.topic == request["topic"] and one["pub_seq"] >= request["first"]]
        listed = [{"topic": one.topic, "header": msgpack.packb(dict(one)), "map": None} for one in found]
        return {**nothing(request), "messages": listed}

    with Impostor(answers) as detector, following(tmp_path, detector.endpoints) as page:
        detector.wait()
        detector.send(kept[0])
        until(lambda: ids(page) == ["a"])
        assert refused.wait(PATIENCE_S)
        refuse.clear()
        until(lambda: not page.follower.detector()["read_only"])
        until(lambda: ids(page) == ["a", "b", "c"])


def test_a_disk_that_was_full_is_caught_up_with(backbone, tmp_path):
    with (
        serving(small_config(), backbone) as service,
        following(tmp_path, service.endpoints) as page,
        Camera(service.endpoints["frames"]) as camera,
    ):
        camera.picture(0)
        until(lambda: ids(page) == names(0))
        page.store._database.execute(
            f"PRAGMA max_page_count = {page.store._database.execute('PRAGMA page_count').fetchone()[0]}"
        )
        for seed in range(1, 4):
            camera.picture(seed, meta={"note": "x" * 12_000})
        until(
            lambda: {header["frame"]["frame_id"] for header in told_of(page, "score")} >= set(names(1, 2, 3))
        )
        assert page.follower.detector()["store"]["failed"] == "database or disk is full"
        page.store._database.execute("PRAGMA max_page_count = 1000000")
        camera.picture(4)
        until(lambda: ids(page) == names(*range(5)))
        until(lambda: page.store.failed is None)  # said when all of it is done
