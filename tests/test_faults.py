"""What goes wrong in a plant, done for real: processes killed, messages cut off, clocks that jump."""

import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from streamer_support import (
    PATIENCE_MS,
    Camera,
    Screen,
    backbone,
    control,
    header,
    identity_holds,
    picture,
    png,
    serving,
    settings,
    small_config,
)

from bench.load import Plan, measure
from bench.server_process import ServerProcess
from musc_online import snapshot
from streamer import images
from streamer.ask import ask
from streamer.snapshot_files import file_name
from streamer.subscribe import Subscriber

__all__ = ["backbone"]


def until(condition):
    end = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def one_thread(monkeypatch):
    """Processes that are started do not fight for the cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_three_kills_of_the_detector_under_load_lose_nothing(backbone, one_thread, tmp_path):
    config = tmp_path / "load.yaml"
    config.write_text("{backbone: {image_size: 56}, ring: {capacity: 12, matcher: faiss}, warmup: 2}")
    plan = Plan(publishers=2, fps=40.0, seconds=1.5, size=48, reliable=True, kills=3)
    figures = measure(plan, config)
    assert figures["holds"], figures["checks"]
    assert (figures["kills"], figures["sent"], figures["scored"]) == (3, 120, 120)
    assert (figures["lost"], figures["scored_twice"]) == (0, 0)
    assert figures["resent"] > 0, "the kills were not noticed"


SAID = ("frame_id", "raw_score", "rscin_score", "pred_label", "threshold", "n_references", "revision", "meta")


def test_a_killed_and_a_stopped_detector_go_on_as_if_nothing_had_happened(backbone, one_thread, tmp_path):
    values = settings(transport={"batch": 1}, revise={"every": 3}, backbone={"precision": "float32"})
    with serving(small_config(**values), backbone) as service:
        expected = [played(service.endpoints, range(start, start + 4)) for start in (0, 4)]
    values["snapshot"] = {"path": str(tmp_path / "rings"), "every_s": 3600}
    said = []
    with ServerProcess(tmp_path, values) as server:
        said.append(played(server.endpoints, range(4)))
        ask({"kind": "snapshot"}, server.endpoints["control"], timeout_s=30)
        server.kill()
        server.start()
        said.append(played(server.endpoints, range(4, 8)))
        assert server.terminate() == 0
        assert "Traceback" not in server.log
    assert snapshot.read(tmp_path / "rings" / file_name("line")).state["arrivals"] == 8
    for ours, theirs in zip(said, expected, strict=True):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


def played(endpoints, seeds):
    """Scores and revisions of these frames."""
    said = []
    with (
        Subscriber(endpoints["scores"], timeout_s=60, wait_s=30) as subscriber,
        Camera(endpoints["frames"]) as camera,
    ):
        heard = False
        while not heard:
            message = subscriber.receive()
            assert message is not None, "no heartbeat"
            heard = message.kind == "status"
        for seed in seeds:
            camera.picture(seed, meta={"part": seed})
            while not said or said[-1]["frame_id"] != f"line-{seed}" or said[-1].kind != "score":
                said.append(subscriber.receive())
                said = [message for message in said if message.kind in {"score", "revision"}]
    return [{name: message[name] for name in SAID if name != "meta"} for message in said]


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


def zmtp(endpoint, socket_type):
    """A connection that has shaken hands by hand, as the ZMTP 3.0 specification (RFC 23) writes it."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    raw = socket.create_connection((host, int(port)), 30)
    raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    kind = b"\x0bSocket-Type" + struct.pack(">I", len(socket_type)) + socket_type
    ready = b"\x05READY" + kind
    raw.sendall(b"\x04" + bytes([len(ready)]) + ready)
    received = b""
    while len(received) < 70 or b"READY" not in received:
        received += raw.recv(1000)
    return raw


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\x01\x05hello",  # a first part, more to follow, and nothing follows
        b"\x01\x05hel",  # half a part
        b"\x03" + struct.pack(">Q", 2**62),  # the length of a part larger than any memory
        b"\x01\x00" * 2000,  # thousands of empty parts without an end
    ],
)
@pytest.mark.parametrize("port", ["frames", "reliable"])
def test_half_sent_messages_cost_nobody_anything(backbone, bytes_sent, port):
    kind = {"frames": b"PUSH", "reliable": b"DEALER"}[port]
    with serving(small_config(), backbone) as service, Screen(service) as screen:
        with zmtp(service.endpoints[port], kind) as raw, Camera(service.endpoints["frames"]) as camera:
            raw.sendall(bytes_sent)
            camera.picture(1)
            screen.until(1, "score")
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(2)
            assert screen.until(1, "score")[0]["frame_id"] == "line-2"
        status = control(service, "status")
        assert (status["received"], status["scored"]) == (2, 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_frozen_subscriber_holds_nobody_up(backbone, number):
    config = small_config(transport={"subscriber_queue": 5})
    with serving(config, backbone) as service, Screen(service, "line/") as screen:
        command = [
            sys.executable,
            "-m",
            "streamer.subscribe",
            "--json",
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


def test_frames_of_changing_size_share_a_ring(backbone):
    sizes = [(48, 64), (1, 1), (7, 900), (900, 7), (333, 500), (2, 3)]
    with (
        serving(small_config(), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for index, (height, width) in enumerate(sizes):
            frame = picture(index, height, width)
            encoding = ("png", "jpeg", "raw")[index % 3]
            more = {"shape": [height, width, 3], "dtype": "uint8"} if encoding == "raw" else {}
            camera.send(header(index, seq=index, encoding=encoding, **more), images.encode(frame, encoding))
        scores = screen.until(len(sizes), "score")
        assert [fields["n_references"] for fields in scores] == list(range(len(sizes)))
        control(service, "flush")
        finals = {fields["frame_id"]: fields for fields in screen.until(len(sizes), "revision")}
        for index, (height, width) in enumerate(sizes):
            assert finals[index]["is_final"]
            assert all(0 <= x <= x + w <= width and 0 <= y <= y + h <= height
                       for x, y, w, h, _ in finals[index]["regions"])  # fmt: skip


def test_a_backbone_out_of_memory_costs_only_the_frames_it_had(backbone):
    class Short:
        def __init__(self):
            self.left = 3

        def __getattr__(self, name):
            return getattr(backbone, name)

        def extract(self, inputs):
            self.left -= 1
            if self.left in {0, -1}:
                raise MemoryError("cannot allocate")
            return backbone.extract(inputs)

    with (
        serving(small_config(transport={"batch": 1}), Short()) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for seed in range(6):
            camera.picture(seed)
        messages = screen.until(6, "score", "error")
        codes = [fields.get("code") for fields in messages]
        # The third is tried once more by itself, in case a neighbour in its batch was the trouble.
        assert codes == [None, None, "backbone_failed", None, None, None]
        assert identity_holds(control(service, "status"))


def test_a_second_ring_that_does_not_fit_is_refused_and_the_first_goes_on(backbone):
    with serving(small_config(), backbone) as service, Camera(service.endpoints["frames"]) as camera:
        camera.picture(0)
        until(lambda: control(service, "status")["bytes"]["rings"] > 0)
        ring = control(service, "status")["bytes"]["rings"]
    config = small_config(limits={"total_bytes": int(1.5 * ring)})
    with (
        serving(config, backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        camera.picture(0)
        assert screen.until(1, "score")[0]["stream"] == "line"
        camera.picture(0, stream="second")
        (error,) = screen.until(1, "error")
        assert (error["code"], error["stream"]) == ("no_room", "second")
        camera.picture(1)
        assert screen.until(1, "score")[0]["n_references"] == 1
        status = control(service, "status")
        assert status["bytes"]["rings"] <= 1.5 * ring
        assert identity_holds(status)


def test_waiting_frames_never_take_more_than_their_share(backbone):
    frame = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    raw = {"encoding": "raw", "shape": [100, 100, 3], "dtype": "uint8"}
    config = small_config(
        limits={"queue_bytes": 100_000}, transport={"when_full": "drop_oldest", "queue": 1000, "batch": 1}
    )
    gate = threading.Event()

    class Held:
        def __getattr__(self, name):
            return getattr(backbone, name)

        def extract(self, inputs):
            assert gate.wait(PATIENCE_MS / 1000)
            return backbone.extract(inputs)

    with serving(config, Held()) as service, Camera(service.endpoints["frames"]) as camera:
        for number in range(100):
            camera.send(header(number, seq=number, **raw), frame.tobytes())
        until(lambda: service.accounts.received().get("line") == 100)
        assert service.status()["bytes"]["queue"] == 90_000
        gate.set()
        control(service, "flush")
        status = control(service, "status")
        assert status["dropped"]["drop_oldest"] == 100 - status["scored"] > 80
        assert identity_holds(status)


def test_clocks_that_jump_change_no_score(backbone, monkeypatch):
    steps = iter([0, -3600, 7200, -(10**6), 10**9, -(10**9), 5, 0])
    real = time.time_ns
    with (
        serving(small_config(), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for seed, step in enumerate(steps):
            monkeypatch.setattr(time, "time_ns", lambda step=step: real() + step * 10**9)
            camera.send(header(seed, seq=seed, capture_ns=None), png(picture(seed)))
            (score,) = screen.until(1, "score")
            assert (score["frame_id"], score["n_references"], score["pub_seq"]) == (seed, seed, seed)
            assert all(value >= 0 for value in score["latency_ms"].values())
            assert score["capture_ns"] <= score["scored_ns"]
        camera.send(header("tomorrow", seq=100, capture_ns=real() + 10**14), png(picture(50)))
        assert screen.until(1, "score")[0]["frame_id"] == "tomorrow"
        screen.until(2, "status")


def test_a_full_disk_under_the_history_stops_no_score(backbone, tmp_path):
    config = small_config(history={"path": str(tmp_path / "history.sqlite")})
    with (
        serving(config, backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        camera.picture(0)
        screen.until(1, "score")
        # SQLite's own limit of pages stands for the disk's: the same error, at the same place.
        service.history._database.execute("PRAGMA max_page_count = 1")
        for seed in range(1, 30):
            camera.picture(seed, meta={"text": "x" * 2000})
        assert len(screen.until(29, "score")) == 29
        assert control(service, "status")["state"] == "degraded"
        service.history._database.execute("PRAGMA max_page_count = 1000000")
        camera.picture(40)
        screen.until(1, "score")
        assert control(service, "status")["state"] == "ready"
