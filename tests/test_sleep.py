"""Streams without frames sleep on disk: their memory and place are free, and no score is another for it."""

import signal
import weakref

import msgpack
import pytest
import zmq
from click.testing import CliRunner
from streamer_support import (
    Camera,
    Screen,
    backbone,
    control,
    header,
    identity_holds,
    picture,
    png,
    serving,
    start_process,
    until,
)
from test_snapshots_served import SAID, cut, play, tampered
from test_snapshots_served import config as base_config
from test_stream import detector, images
from test_watching import scrape

from musc_online import snapshot
from musc_online.errors import CapacityError
from streamer import snapshots
from streamer.ask import ask
from streamer.errors import WireError
from streamer.snapshot_files import file_name
from streamer.status import main as status_main

__all__ = ["backbone"]

N_FRAMES = 16
"""More than the ring of 12 holds."""


def config(folder, *, after_s=3600, limits=None, **sections):
    return base_config(folder, limits={"sleep_after_s": after_s, **(limits or {})}, **sections)


def nap(service, stream="line"):
    """Let the hour pass for a stream; whether it sleeps now."""
    line = service.lines.get(stream)
    until(lambda: line.idle)
    line.used_at = float("-inf")
    service.sleep.look()
    return line.asleep


def state(service, stream="line"):
    return control(service, "status")["streams"][stream]


def told(service, stream="line"):
    """Codes of the errors of a stream, oldest first."""
    kept = control(service, "history", topic=f"{stream}/error")["messages"]
    return [msgpack.unpackb(entry["header"])["code"] for entry in kept]


def said(service, after_frame=lambda seed: None):
    """Everything that is said of 16 frames and at a flush; `after_frame` is called between them."""
    heard = []
    with Screen(service, "line/") as screen, Camera(service.endpoints["frames"]) as camera:
        for seed in range(N_FRAMES):
            camera.picture(seed, capture_ns=1000 + seed, meta={"part": seed})
            while not heard or (heard[-1]["kind"], heard[-1]["seq"]) != ("score", seed):
                heard += screen.until(1, "score", "revision")
            after_frame(seed)
        assert control(service, "flush", stream="line")["flushed"] == 12
        while (heard[-1]["seq"], heard[-1]["is_final"]) != (N_FRAMES - 1, True):
            heard += screen.until(1, "score", "revision")
    return [{name: fields[name] for name in SAID} for fields in heard]


@pytest.fixture(scope="module")
def undisturbed(backbone):
    with serving(base_config(), backbone) as service:
        return said(service)


def test_an_idle_stream_gives_its_memory_back_and_goes_on_as_if_it_had_not(backbone, tmp_path, undisturbed):
    def wait(seed):
        line = service.lines.get("line")
        if seed not in {3, 13}:
            return
        until(lambda: line.state["state"] == "asleep")
        status = control(service, "status")
        assert (status["state"], status["asleep"], status["bytes"]["rings"]) == ("ready", 1, 0)
        shown = status["streams"]["line"]
        assert (shown["images"], shown["bytes"], shown["scored"]) == (min(seed + 1, 12), 0, seed + 1)
        assert identity_holds(status)

    with serving(config(tmp_path, after_s=0.3), backbone) as service:
        assert said(service, wait) == undisturbed
        assert identity_holds(control(service, "status"))


@pytest.mark.parametrize("naps", [{0}, {5, 6, 12}, set(range(N_FRAMES))], ids=["once", "thrice", "ever"])
def test_what_is_said_does_not_depend_on_naps(backbone, tmp_path, undisturbed, naps):
    def after(seed):
        if seed in naps:
            ring = weakref.ref(service.lines.get("line").detector.ring)
            assert nap(service)
            assert ring() is None

    with serving(config(tmp_path), backbone) as service:
        assert said(service, after) == undisturbed


@pytest.mark.parametrize("kind", ["pin", "unpin", "forget", "false_alarm", "flush"])
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
        assert (answer["status"], answer["frame_id"]) == ("scored", "line-2")
        shown = state(service)
        assert (shown["state"], shown["scored"], shown["refused"]) == ("asleep", 3, {"duplicate": 2})
        assert identity_holds(shown)


def ring_bytes(service):
    return control(service, "status")["bytes"]["rings"]


def one_ring(backbone, folder):
    with serving(config(folder), backbone) as service:
        play(service, [0])
        return ring_bytes(service)


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
        assert told(service, "a") == [code, code]


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
        assert told(service) == ["snapshot_failed"]
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


def test_a_restart_leaves_sleepers_asleep(backbone, tmp_path, undisturbed):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(4))
        play(service, range(2), "awake")
        assert nap(service)
        before = state(service)
    with serving(config(tmp_path), backbone) as service, Screen(service, "line/") as screen:
        after = state(service)
        assert {name: after[name] for name in before if name != "max_bytes"} == {
            name: value for name, value in before.items() if name != "max_bytes"
        }
        assert (after["state"], after["images"], state(service, "awake")["state"]) == ("asleep", 4, "warmup")
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(2)
            assert screen.until(1, "error")[0]["code"] == "duplicate"
            camera.picture(4)
            (score,) = screen.until(1, "score")
        expected = next(fields for fields in undisturbed if fields["seq"] == 4)
        assert (score["raw_score"], score["n_references"]) == (expected["raw_score"], 4)
        assert identity_holds(control(service, "status"))
    with serving(base_config(tmp_path, limits={"sleep_after_s": None}), backbone) as service:
        assert control(service, "status")["asleep"] == 0
        assert state(service)["images"] == 5


def test_what_does_not_fit_at_a_restart_sleeps(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3), "a")
        play(service, range(3), "b")
        total = int(0.75 * ring_bytes(service))
    with serving(config(tmp_path, limits={"total_bytes": total}), backbone) as service:
        status = control(service, "status")
        assert (status["asleep"], status["scored"], status["streams"].keys()) == (1, 6, {"a", "b"})
        sleeper = next(name for name, stream in status["streams"].items() if stream["state"] == "asleep")
        assert nap(service, "ab".replace(sleeper, ""))
        assert play(service, [3], sleeper)[0]["n_references"] == 3


def test_reset_while_asleep_and_a_nap_after_it(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        assert nap(service)
        control(service, "reset", stream="line")
        assert list(tmp_path.iterdir()) == []
        assert (state(service)["state"], state(service)["images"]) == ("warmup", 0)
        assert [fields["n_references"] for fields in play(service, range(2))] == [0, 1]
        assert nap(service)
        assert play(service, [2])[0]["n_references"] == 2


@pytest.mark.parametrize(
    ("damage", "code"), [(cut, "snapshot_refused"), (lambda path: path.unlink(), "snapshot_lost")]
)
def test_a_ring_that_came_to_harm_asleep_is_told(backbone, tmp_path, damage, code):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        assert nap(service)
        damage(tmp_path / file_name("line"))
        assert [fields["n_references"] for fields in play(service, range(3, 5))] == [0, 1]
        assert told(service) == [code]
        assert play(service, [0])[0]["n_references"] == 2  # its id went with the ring


def test_a_header_that_came_to_harm_is_told_at_the_restart(backbone, tmp_path):
    with serving(config(tmp_path), backbone) as service:
        play(service, range(3))
        assert nap(service)
    tampered(tmp_path / file_name("line"), lambda state: state.pop("slots"))
    with serving(config(tmp_path), backbone) as service:
        assert (told(service), control(service, "status")["asleep"]) == (["snapshot_refused"], 0)
        assert play(service, [3])[0]["n_references"] == 0


def test_a_score_nobody_saw_survives_a_nap_and_a_restart(backbone, tmp_path):
    def unpublish(state):
        state["extra"]["unpublished"] = [state["extra"]["scored"].pop()]

    with serving(config(tmp_path), backbone) as service:
        first = play(service, range(4))[3]
    tampered(tmp_path / file_name("line"), unpublish)
    for _ in range(2):
        with serving(config(tmp_path), backbone) as service:
            control(service, "pin", stream="line", frame_id="line-0")
            assert nap(service)
    with serving(config(tmp_path), backbone) as service:
        assert play(service, [3])[0]["raw_score"] == first["raw_score"]
        assert state(service)["images"] == 4


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


def test_a_process_killed_while_a_stream_sleeps(tmp_path, backbone):
    sections = {
        "snapshot": {"path": str(tmp_path / "rings"), "every_s": 3600},
        "limits": {"sleep_after_s": 0.3},
        "history": {"path": str(tmp_path / "history.sqlite")},
    }
    for last in (False, True):
        process, endpoints = start_process(tmp_path, **sections)

        def stream(control=endpoints["control"]):
            return ask({"kind": "status"}, control, timeout_s=60)["streams"].get("line", {})

        try:
            if last:
                assert (stream()["state"], stream()["images"]) == ("asleep", 3)
            with Camera(endpoints["frames"]) as camera:
                for seed in range(3):
                    camera.picture(seed + 3 * last)
            until(
                lambda count=3 + 3 * last: (
                    (stream().get("state"), stream().get("scored")) == ("asleep", count)
                )
            )
            assert stream()["images"] == 3 + 3 * last
            process.send_signal(signal.SIGTERM if last else signal.SIGKILL)
            assert process.wait(60) == (0 if last else -signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
