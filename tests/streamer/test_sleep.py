"""Streams without frames sleep on disk: their memory and place are free, and no score is another for it."""

import weakref

import msgpack
import pytest
import zmq
from click.testing import CliRunner
from sleep_support import N_FRAMES, config, nap, said, state, undisturbed
from snapshot_support import play
from streamer_support import (
    Camera,
    Screen,
    backbone,
    control,
    header,
    identity_holds,
    picture,
    png,
    scrape,
    serving,
    until,
)

from musc_online import snapshot
from streamer.server import snapshots
from streamer.server.snapshot_files import SUFFIX
from streamer.status import main as status_main

pytestmark = pytest.mark.engines

__all__ = ["backbone", "undisturbed"]


def test_an_idle_stream_gives_its_memory_back_and_goes_on_as_if_it_had_not(backbone, tmp_path, undisturbed):
    def wait(seed):
        stream = service.streams.get("line")
        if seed not in {3, 13}:
            return
        until(lambda: stream.state["state"] == "asleep")
        status = control(service, "status")
        assert (status["state"], status["asleep"], status["bytes"]["rings"]) == ("ready", 1, 0)
        shown = status["streams"]["line"]
        assert (shown["images"], shown["bytes"], shown["scored"]) == (min(seed + 1, 12), 0, seed + 1)
        assert identity_holds(status)

    with serving(config(tmp_path, after_s=0.3), backbone) as service:
        assert said(service, wait) == undisturbed
        assert identity_holds(control(service, "status"))


@pytest.mark.parametrize("naps", [{0}, {5, 6, 12}, set(range(N_FRAMES))], ids=["once", "thrice", "ever"])
@pytest.mark.one_process
def test_what_is_said_does_not_depend_on_naps(backbone, tmp_path, undisturbed, naps):
    def after(seed):
        if seed in naps:
            ring = weakref.ref(service.streams.get("line").detector.ring)
            assert nap(service)
            assert ring() is None

    with serving(config(tmp_path), backbone) as service:
        assert said(service, after) == undisturbed


@pytest.mark.parametrize(
    "kind",
    [
        "pin",
        "flush",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("unpin", "forget", "false_alarm")),
    ],
)
def test_a_request_for_the_ring_wakes_it(backbone, tmp_path, kind):
    request = {"stream": "line"} if kind == "flush" else {"stream": "line", "frame_id": "line-2"}
    answers, scores = [], []
    for sleeps in (False, True):
        with serving(config(tmp_path / str(sleeps)), backbone) as service:
            play(service, range(4))
            assert not sleeps or nap(service)
            answers.append(control(service, kind, **request))
            assert state(service)["state"] != "asleep"
            assert not sleeps or nap(service)
            fields = play(service, range(4, 6))[-1]
            scores.append((fields["raw_score"], fields["threshold"], fields["n_references"]))
            pinned = state(service)["pinned"]
            assert pinned == (kind == "pin")
    assert answers[0] == answers[1]
    assert scores[0] == scores[1]


def test_a_duplicate_is_known_without_waking(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service, Screen(service, "line/error") as screen:
        play(service, range(3))
        assert nap(service)
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(1)
            assert screen.until(1, "error")[0]["code"] == "duplicate"
        context = zmq.Context()
        with context.socket(zmq.DEALER) as sender:
            sender.linger = 0
            sender.connect(service.endpoints["reliable"])
            sender.send_multipart([msgpack.packb(header("line-2")), png(picture(2))])
            assert sender.poll(60_000)
            answer = msgpack.unpackb(sender.recv())
        context.term()
        assert (answer["status"], answer["code"], answer["frame_id"]) == ("scored", "duplicate", "line-2")
        shown = state(service)
        assert (shown["state"], shown["scored"], shown["refused"]) == ("asleep", 3, {"duplicate": 2})
        assert identity_holds(shown)


@pytest.mark.one_process
def test_a_frame_that_comes_while_the_file_is_written_keeps_it_awake(backbone, tmp_path, monkeypatch):
    write = snapshot.write

    def slow(copy, path):
        play(service, [3])
        write(copy, path)

    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        monkeypatch.setattr(snapshots.snapshot, "write", slow)
        assert not nap(service)
        monkeypatch.undo()
        assert play(service, [4])[0]["n_references"] == 4
        assert nap(service)
        assert play(service, [5])[0]["n_references"] == 5


def test_reset_while_asleep_and_a_nap_after_it(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        assert nap(service)
        control(service, "reset", stream="line")
        assert list(tmp_path.glob(f"*{SUFFIX}")) == []
        assert (state(service)["state"], state(service)["images"]) == ("warmup", 0)
        assert [fields["n_references"] for fields in play(service, range(2))] == [0, 1]
        assert nap(service)
        assert play(service, [2])[0]["n_references"] == 2


def test_status_and_prometheus_show_it(backbone, tmp_path):
    with serving(config(tmp_path, metrics={"endpoint": "127.0.0.1:0"}), backbone) as service:
        play(service, range(3))
        assert nap(service)
        figures = scrape(service)
        assert figures['musc_bytes{where="rings"}'] == figures["musc_degraded"] == "0.0"
        assert figures["musc_streams_asleep"] == "1.0"
        assert figures['musc_stream_state{state="asleep",stream="line"}'] == "1.0"
        assert figures['musc_ring_images{stream="line"}'] == "3.0"
        shown = CliRunner().invoke(status_main, ["--endpoint", service.endpoints["control"]])
        assert (shown.exit_code, "asleep" in shown.stdout) == (0, True)
