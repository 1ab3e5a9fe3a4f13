"""Processes killed or frozen, for real: detector, publisher, subscriber. What was accepted is never lost."""

import signal
import subprocess
import sys
import threading

import pytest
from streamer_support import (
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    control,
    one_thread,
    picture,
    png,
    server_process,
    serving,
    settings,
    small_config,
    until,
)

from bench.load.command import measure
from bench.load.plan import Plan
from musc_online import snapshot
from streamer.ask import ask
from streamer.process import ServerProcess
from streamer.reliable import ReliablePublisher
from streamer.server.snapshot_files import file_name

pytestmark = pytest.mark.engines

__all__ = ["backbone", "one_thread"]


@pytest.mark.slow
def test_two_kills_of_the_detector_under_load_lose_nothing(backbone, one_thread, tmp_path):
    config = tmp_path / "load.yaml"
    config.write_text("{backbone: {image_size: 56}, ring: {capacity: 12, matcher: faiss}, warmup: 2}")
    # Faster than any server scores: frames are unacknowledged at every kill, and have to be sent again.
    plan = Plan(publishers=2, fps=600.0, seconds=0.1, size=48, reliable=True, kills=("gate",) * 2)
    figures = measure(plan, config)
    assert figures["holds"], figures["checks"]
    assert (figures["kills"], figures["sent"], figures["scored"]) == (2, 120, 120)
    assert (figures["lost"], figures["scored_twice"]) == (0, 0)
    # That a publisher notices a kill and sends again is held by the next test, where it cannot be in time.


@pytest.mark.slow
def test_a_reliable_publisher_outlives_a_killed_detector(backbone, one_thread, tmp_path):
    """kill -9 under load: every frame is acknowledged, and scored once as far as the history knows."""
    n_frames = 60
    outcome, cameras = [], []

    def send(endpoint):
        with ReliablePublisher(endpoint, "line", window=8, resend_s=0.5, wait_s=PATIENCE_S) as camera:
            cameras.append(camera)
            for seed in range(n_frames):
                camera.send(picture(seed), f"f{seed}", timeout_s=PATIENCE_S)
                if seed == 20:
                    busy.set()
                if seed == 50:  # never done before the kill, however fast this is
                    assert killed.wait(PATIENCE_S)
            camera.flush(PATIENCE_S)
            outcome.append((camera.acknowledged, camera.refused))

    busy, killed = threading.Event(), threading.Event()
    history, ring = {"path": str(tmp_path / "h.sqlite")}, {"capacity": 100}
    with server_process(tmp_path, history=history, ring=ring) as server:
        sender = threading.Thread(target=send, args=(server.endpoints["reliable"],), daemon=True)
        sender.start()
        assert busy.wait(PATIENCE_S)
        server.kill()
        killed.set()
        until(lambda: cameras[0].resent > 0)  # nobody acknowledges the rest: it is sent again
        server.start()
        sender.join(PATIENCE_S)
        assert outcome == [(n_frames, {})]
        answer = ask(
            {"kind": "history", "topic": "line/score"}, server.endpoints["control"], timeout_s=PATIENCE_S
        )
        assert [one["pub_seq"] for one in answer["messages"]] == list(range(n_frames))


SAID = ("frame_id", "raw_score", "rscin_score", "pred_label", "threshold", "n_references", "revision")


def test_a_killed_and_a_stopped_detector_go_on_as_if_nothing_had_happened(backbone, one_thread, tmp_path):
    values = settings(transport={"batch": 1}, revise={"every": 3}, backbone={"precision": "float32"})
    with serving(small_config(**values), backbone) as service:
        expected = [played(service, range(start, start + 4)) for start in (0, 4)]
    values["snapshot"] = {"path": str(tmp_path / "rings"), "every_s": 3600}
    said = []
    with ServerProcess(tmp_path, values) as server:
        said.append(played(server, range(4)))
        ask({"kind": "snapshot"}, server.endpoints["control"], timeout_s=PATIENCE_S)
        server.kill()
        server.start()
        said.append(played(server, range(4, 8)))
        assert server.terminate() == 0
        assert "Traceback" not in server.log
    assert snapshot.read(tmp_path / "rings" / file_name("line")).state["arrivals"] == 8
    for ours, theirs in zip(said, expected, strict=True):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


def played(service, seeds):
    """Scores and revisions of these frames, up to the score of the last."""
    said = []
    with Screen(service) as screen, Camera(service.endpoints["frames"]) as camera:
        for seed in seeds:
            camera.picture(seed)
            while not said or (said[-1]["frame_id"], said[-1]["kind"]) != (f"line-{seed}", "score"):
                said += screen.until(1, "score", "revision")
    return [{name: fields[name] for name in SAID} for fields in said]


PUBLISHER = """
import sys, zmq, msgpack
socket = zmq.Context().socket(zmq.PUSH)
socket.connect(sys.argv[1])
payload = open(sys.argv[2], "rb").read()
for number in range(3):
    fields = {"v": 1, "kind": "frame", "stream": "line", "frame_id": number, "encoding": "png", "meta": {}}
    socket.send_multipart([msgpack.packb(fields), payload])
socket.send(msgpack.packb({**fields, "frame_id": "half"}), zmq.SNDMORE)
print("half way", flush=True)
sys.stdin.read()
"""


def test_a_publisher_killed_in_the_middle_of_a_message(backbone, tmp_path):
    (tmp_path / "frame.png").write_bytes(png(picture(1)))
    with serving(small_config(), backbone) as service, Screen(service) as screen:
        command = [sys.executable, "-c", PUBLISHER, service.endpoints["frames"], str(tmp_path / "frame.png")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as publisher:
            assert publisher.stdout.readline() == b"half way\n"
            assert [fields["frame_id"] for fields in screen.until(3, "score")] == [0, 1, 2]
            publisher.send_signal(signal.SIGKILL)
            publisher.wait()
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(7)
        (score,) = screen.until(1, "score", "error")
        assert score["frame_id"] == "line-7"
        assert control(service, "status")["received"] == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_frozen_subscriber_holds_nobody_up(backbone, number):
    config = small_config(transport={"subscriber_queue": 5})
    with serving(config, backbone) as service, Screen(service, "line/") as screen:
        command = [
            sys.executable,
            "-m",
            "streamer.subscribe",
            "--json",
            "--kind=status",  # the first thing to hear is a heartbeat
            "--kind=score",
            "--endpoint",
            service.endpoints["scores"],
        ]
        subscriber = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert subscriber.stdout.readline(), "it never heard anything"
            subscriber.send_signal(number)
            with Camera(service.endpoints["frames"]) as camera:
                for seed in range(40):
                    camera.picture(seed)
                    assert screen.until(1, "score")[0]["frame_id"] == f"line-{seed}"
        finally:
            subscriber.kill()
            subscriber.wait()
            subscriber.stdout.close()
