"""The service end to end: real sockets, real backbone; a camera and a screen of bare pyzmq and msgpack."""

import contextlib
import signal
import threading

import cv2
import msgpack
import numpy as np
import pytest
import yaml
import zmq
from click.testing import CliRunner
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
    start_process,
    until,
)

from musc_online.detector import Detector
from streamer.control import ask
from streamer.errors import StreamerError, WireError
from streamer.published import unpack_message
from streamer.serve import main as serve_main
from streamer.service import Service
from streamer.subscribe import Subscriber

__all__ = ["backbone"]

SCORE_KEYS = {
    "v", "kind", "stream", "frame_id", "seq", "capture_ns", "scored_ns", "raw_score", "rscin_score",
    "pred_score", "pred_label", "threshold", "state", "n_references", "revision", "is_final", "regions",
    "anomaly_map", "latency_ms", "model_id", "meta", "pub_seq",
}  # fmt: skip


def test_scores_are_those_of_the_detector(backbone):
    """What comes over the wire equals a detector fed by hand: scores, maps, order, echoes."""
    config = small_config(transport={"map_encoding": "float32"})
    frames = [picture(seed) for seed in range(6)]
    detector = Detector(config, backbone=backbone)
    expected = []
    for index, frame in enumerate(frames):
        expected.append(detector.step(frame, f"line-{index}"))
        if detector.revise_due:
            detector.revise()
    final = detector.flush()
    with (
        serving(config, backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for index in range(6):
            camera.picture(index, capture_ns=1000 + index, meta={"part_id": index})
        for index, score in enumerate(expected):
            topic, fields, payload = screen.next()
            while fields["kind"] != "score":
                topic, fields, payload = screen.next()
            assert topic == "line/score"
            assert fields.keys() == SCORE_KEYS
            assert (fields["frame_id"], fields["seq"], fields["pub_seq"]) == (f"line-{index}", index, index)
            assert (fields["capture_ns"], fields["meta"]) == (1000 + index, {"part_id": index})
            assert (fields["revision"], fields["is_final"]) == (0, False)
            if index == 0:
                assert fields["raw_score"] is None
                assert payload is None
                continue
            assert fields["raw_score"] == pytest.approx(score.raw_score, abs=1e-5)
            assert fields["n_references"] == index
            message = unpack_message([topic.encode(), msgpack.packb(fields), payload])
            np.testing.assert_allclose(message.anomaly_map, score.anomaly_map, atol=1e-5)
            assert {"queue", "decode", "backbone", "match", "total"} <= fields["latency_ms"].keys()
        assert control(service, "flush", stream="line")["flushed"] == 6
        revisions = []
        while len(revisions) < 6:
            revisions += [fields for fields in screen.until(1, "revision") if fields["is_final"]]
        for fields, score in zip(revisions, final, strict=True):
            assert fields["frame_id"] == score.frame_id
            assert fields["raw_score"] == pytest.approx(score.raw_score, abs=1e-5)
            assert fields["rscin_score"] == pytest.approx(score.rscin_score, abs=1e-4)
            assert fields["meta"] == {"part_id": int(score.frame_id.split("-")[1])}


BAD = {
    "bad_parts": lambda: [msgpack.packb(header("a"))],
    "bad_header": lambda: [b"\xc1", b""],
    "header_too_large": lambda: [msgpack.packb({"x": "y" * 70_000}), b""],
    "unsupported_version": lambda: [msgpack.packb(header("a", v=2)), png(picture(0))],
    "unknown_kind": lambda: [msgpack.packb(header("a", kind="score")), png(picture(0))],
    "unknown_key": lambda: [msgpack.packb(header("a", colour="red")), png(picture(0))],
    "missing_key": lambda: [msgpack.packb({"v": 1, "kind": "frame", "stream": "line"}), b""],
    "bad_value": lambda: [msgpack.packb(header("a", seq=-1)), png(picture(0))],
    "not_finite": lambda: [msgpack.packb(header("a", meta={"x": [float("nan")]})), png(picture(0))],
    "bad_encoding": lambda: [msgpack.packb(header("a", seq=None, encoding="jpeg")), png(picture(0))],
    "bad_dtype": lambda: [
        msgpack.packb(header("a", encoding="raw", shape=[1, 1, 3], dtype="float32")),
        bytes(12),
    ],
    "bad_shape": lambda: [msgpack.packb(header("a", encoding="raw", shape=[2, 2], dtype="uint8")), bytes(4)],
    "empty_image": lambda: [msgpack.packb(header("a", encoding="raw", shape=[0, 4, 3], dtype="uint8")), b""],
    "image_too_large": lambda: [
        msgpack.packb(header("a", encoding="raw", shape=[10**6, 10**6, 3], dtype="uint8")),
        b"",
    ],
    "payload_size": lambda: [
        msgpack.packb(header("a", encoding="raw", shape=[2, 2, 3], dtype="uint8")),
        bytes(11),
    ],
    "undecodable": lambda: [msgpack.packb(header("u", seq=None)), b"no image at all"],
}


def test_every_bad_message_is_one_error_and_costs_no_other_frame(backbone):
    truncated = {
        "png": png(picture(1))[:-40],
        "jpeg": cv2.imencode(".jpg", picture(1))[1].tobytes()[:-30],
    }
    with (
        serving(small_config(), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        codes = [*BAD, "undecodable", "undecodable"]
        for index, code in enumerate(BAD):
            camera.picture(index)
            camera.socket.send_multipart(BAD[code]())
        for encoding, payload in truncated.items():
            camera.send(header(f"cut-{encoding}", seq=1000, encoding=encoding), payload)
        camera.picture(999, seq=1001)
        errors = screen.until(len(codes), "error")
        # A payload that cannot be decoded is found out later than a header that cannot be read.
        assert sorted(fields["code"] for fields in errors) == sorted(codes)
        assert all(fields["text"] and "\n" not in fields["text"] for fields in errors)
        by_code = {fields["code"]: fields for fields in errors}
        assert (by_code["unknown_key"]["stream"], by_code["unknown_key"]["frame_id"]) == ("line", "a")
        assert by_code["bad_header"]["stream"] is None
        status = control(service, "flush") and control(service, "status")
        assert status["scored"] == len(BAD) + 1
        assert sum(status["refused"].values()) == len(codes)
        assert status["queued"] == 0
        assert identity_holds(status)


def test_duplicates_are_refused_and_disorder_is_told(backbone):
    with (
        serving(small_config(), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        camera.picture(5)
        camera.picture(5)
        camera.picture(3)
        camera.picture(6)
        errors = screen.until(2, "error")
        assert [(fields["code"], fields["frame_id"]) for fields in errors] == [
            ("duplicate", "line-5"),
            ("out_of_order", "line-3"),
        ]
        control(service, "flush")
        status = control(service, "status")
        assert (status["scored"], status["refused"], status["warned"]) == (
            3,
            {"duplicate": 1},
            {"out_of_order": 1},
        )
        # An id may come again once its frame has left the ring.
        for seed in range(10, 10 + service.config.ring.capacity):
            camera.picture(seed)
        screen.until(3 + service.config.ring.capacity, "score")
        camera.picture(5, seq=1000)
        assert screen.until(1, "score")[0]["frame_id"] == "line-5"


class Slow:
    """The real backbone, held up: what a queue does when frames come faster than they are scored."""

    def __init__(self, backbone, gate):
        self._backbone, self._gate = backbone, gate

    def __getattr__(self, name):
        return getattr(self._backbone, name)

    def release(self):
        self._gate.set()

    def extract(self, inputs):
        assert self._gate.wait(PATIENCE_MS / 1000)
        return self._backbone.extract(inputs)


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
def test_drops_are_counted_and_told(backbone, when_full):

    gate = threading.Event()
    config = small_config(transport={"when_full": when_full, "queue": 4, "batch": 1})
    with (
        serving(config, Slow(backbone, gate)) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for seed in range(20):
            camera.picture(seed)
        until(lambda: service.accounts.received().get("line") == 20)
        gate.set()
        told = screen.until(20, "dropped", "score")
        dropped = [fields for fields in told if fields["kind"] == "dropped"]
        scored = [fields for fields in told if fields["kind"] == "score"]
        n_dropped = len(dropped)
        assert n_dropped > 5
        assert {fields["reason"] for fields in dropped} == {when_full}
        ids = [fields["frame_id"] for fields in dropped + scored]
        assert sorted(ids) == sorted(f"line-{seed}" for seed in range(20))
        newest = scored[-1]["frame_id"] == "line-19"
        assert newest == (when_full == "drop_oldest")
        status = control(service, "status")
        assert identity_holds(status)
        assert (status["scored"], status["dropped"]) == (20 - n_dropped, {when_full: n_dropped})
        # A dropped frame may be sent again.
        camera.send(header(dropped[0]["frame_id"], seq=100), png(picture(50)))
        assert screen.until(1, "score")[0]["frame_id"] == dropped[0]["frame_id"]


def test_block_holds_the_sender_back_and_loses_nothing(backbone):

    gate = threading.Event()
    config = small_config(transport={"queue": 2, "batch": 1})
    with serving(config, Slow(backbone, gate)) as service, Screen(service) as screen:
        context = zmq.Context()
        camera = context.socket(zmq.PUSH)
        camera.setsockopt(zmq.SNDHWM, 1)
        camera.setsockopt(zmq.LINGER, 10_000)
        camera.setsockopt(zmq.SNDTIMEO, 1000)
        camera.connect(service.endpoints["frames"])
        frame = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
        fields = {"encoding": "raw", "shape": [600, 800, 3], "dtype": "uint8"}
        sent = 0
        with contextlib.suppress(zmq.Again):
            while sent < 200:
                camera.send_multipart([msgpack.packb(header(sent, seq=sent, **fields)), frame.tobytes()])
                sent += 1
        assert 0 < sent < 100, "the sender was never held back"
        assert control(service, "status")["streams"]["line"]["received"] < 20
        gate.set()
        assert [fields["frame_id"] for fields in screen.until(sent, "score")] == list(range(sent))
        camera.close()
        context.term()
        assert control(service, "status")["dropped"] == {}


def test_a_fast_stream_does_not_starve_a_slow_one(backbone):

    gate = threading.Event()
    config = small_config(transport={"queue": 64, "batch": 1})
    with (
        serving(config, Slow(backbone, gate)) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for seed in range(30):
            camera.picture(seed, stream="fast")
        until(lambda: service.accounts.received().get("fast") == 30)
        for seed in range(3):
            camera.picture(seed, stream="slow")
        until(lambda: service.accounts.received().get("slow") == 3)
        gate.set()
        order = [fields["stream"] for fields in screen.until(33, "score")]
        # Some fast frames were past the queue already; from then on the two take turns.
        assert max(index for index, name in enumerate(order) if name == "slow") < 15


def test_streams_have_their_own_ring_and_configuration_up_to_a_limit(backbone):
    config = small_config(
        limits={"streams": 2}, streams=[{"match": "tiny-*", "ring": {"capacity": 3}}], warmup=1
    )
    with (
        serving(config, backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for seed in range(5):
            camera.picture(seed, stream="tiny-1")
            camera.picture(seed, stream="line")
        scores = screen.until(10, "score")
        references = {
            name: [fields["n_references"] for fields in scores if fields["stream"] == name]
            for name in ("tiny-1", "line")
        }
        assert references == {"tiny-1": [0, 1, 2, 2, 2], "line": [0, 1, 2, 3, 4]}
        camera.picture(0, stream="third")
        (error,) = screen.until(1, "error")
        assert (error["code"], error["stream"]) == ("too_many_streams", "third")
        streams = control(service, "status")["streams"]
        assert {name: streams[name].get("capacity") for name in streams} == {
            "tiny-1": 3,
            "line": 12,
            "-": None,
        }


def test_streams_without_a_usable_frame_take_neither_a_place_nor_memory(backbone):
    with (
        serving(small_config(limits={"streams": 2}), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        for index in range(20):
            camera.send(header("a", stream=f"junk{index}"), b"no image")
            assert screen.until(1, "error")[0]["code"] == "undecodable"
        camera.picture(0, stream="line")
        assert screen.until(1, "score")[0]["stream"] == "line"
        status = control(service, "status")
        assert len(status["streams"]) <= 3
        assert status["received"] == 21
        assert status["refused"] == {"undecodable": 20}
        assert identity_holds(status)


def test_a_ring_that_does_not_fit_beside_the_others_is_refused(backbone):
    room = Detector(small_config(), backbone=backbone)
    room.step(picture(0), 0)
    enough_for_one = int(1.5 * room.status()["bytes"])
    config = small_config(limits={"total_bytes": enough_for_one})
    with (
        serving(config, backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        camera.picture(0, stream="first")
        assert screen.until(1, "score")[0]["stream"] == "first"
        camera.picture(0, stream="second")
        (error,) = screen.until(1, "error")
        assert (error["code"], error["stream"]) == ("no_room", "second")
        camera.picture(1, stream="first")
        assert screen.until(1, "score")[0]["frame_id"] == "first-1"


def test_a_backbone_that_raises_costs_only_its_frame(backbone):
    class Moody:
        def __getattr__(self, name):
            return getattr(backbone, name)

        def extract(self, inputs):
            if any(float(one.std()) < 1e-6 for one in inputs):
                raise RuntimeError("no structure at all")
            return backbone.extract(inputs)

    with (
        serving(small_config(), Moody()) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        grey = np.full((20, 20, 3), 128, np.uint8)
        black = np.zeros((20, 20, 3), np.uint8)
        camera.picture(0)
        camera.send(header("grey", seq=1), png(grey))
        camera.send(header("black", seq=2), png(black))
        camera.picture(3)
        received = screen.until(4, "score", "error")
        scored = [fields["frame_id"] for fields in received if fields["kind"] == "score"]
        refused = {fields["frame_id"]: fields["code"] for fields in received if fields["kind"] == "error"}
        assert scored == ["line-0", "line-3"] or set(scored) >= {"line-0", "line-3"}
        assert set(refused.values()) <= {"backbone_failed"}
        assert identity_holds(control(service, "status"))


def test_the_control_socket_survives_nonsense(backbone):
    with serving(small_config(), backbone) as service:
        context = zmq.Context()
        socket = context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        socket.connect(service.endpoints["control"])
        answers = []
        for request in ([b"\xc1"], [b"a", b"b"], [msgpack.packb([1])], [msgpack.packb({"kind": ["x"]})],
                        [msgpack.packb({"kind": "flush", "stream": 5})], [msgpack.packb({"kind": "history"})],
                        [msgpack.packb({"kind": "history", "topic": "a", "first": 2**64 - 1})],
                        [msgpack.packb({"kind": "nonsense"})]):  # fmt: skip
            socket.send_multipart(request)
            answers.append(msgpack.unpackb(socket.recv()))
        assert [answer["ok"] for answer in answers] == [False] * 8
        assert all(answer["code"] and answer["text"] for answer in answers)
        assert control(service, "status")["ok"]
        socket.close()
        context.term()
        with pytest.raises(WireError, match="expected one of"):
            control(service, "dance")


def test_reset_empties_the_ring(backbone):
    with (
        serving(small_config(), backbone) as service,
        Screen(service) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        camera.picture(0)
        camera.picture(1)
        screen.until(2, "score")
        assert control(service, "reset", stream="line")["reset"] == 1
        camera.picture(1, seq=2)
        (score,) = screen.until(1, "score")
        assert (score["n_references"], score["raw_score"]) == (0, None)


def test_stop_scores_what_was_accepted(backbone):
    config = small_config(transport={"queue": 64})
    service = Service(config, backbone)
    service.start()
    with Subscriber(service.endpoints["scores"], "line", wait_s=10, timeout_s=3) as subscriber:
        subscriber_up(service, subscriber)
        with Camera(service.endpoints["frames"]) as camera:
            for seed in range(20):
                camera.picture(seed)
            until(lambda: service.accounts.received().get("line") == 21)
            service.stop()
        ids = [message["frame_id"] for message in subscriber if message.kind == "score"]
    assert ids == [f"line-{seed}" for seed in range(20)]
    assert service.accounts.totals()["queued"] == 0


def subscriber_up(service, subscriber):
    """The handshake is over; the subscription is in once a heartbeat of the stream arrives."""
    with Camera(service.endpoints["frames"]) as camera:
        camera.send(header("bad", stream="line"), b"no image")
        while (message := subscriber.receive()) is not None and message.kind != "status":
            pass
    assert message is not None


def test_a_port_in_use_is_one_line(backbone):
    with serving(small_config(), backbone) as service:
        taken = service.endpoints["scores"]
        second = Service(small_config(transport={"scores": taken}), backbone)
        with pytest.raises(StreamerError, match=f"transport.scores: cannot bind {taken}"):
            second.start()


@pytest.mark.parametrize("endpoint", ["tcp://*:0", "tcp://0.0.0.0:*"])
def test_a_bind_open_to_the_network_needs_keys(backbone, endpoint):
    service = Service(small_config(transport={"frames": endpoint}), backbone)
    with pytest.raises(StreamerError, match="open to the network in plaintext"):
        service.start()


def test_a_server_process_from_first_frame_to_sigterm(backbone, tmp_path):
    process, endpoints = start_process(tmp_path)
    try:
        with (
            Subscriber(endpoints["scores"], timeout_s=30, wait_s=30) as subscriber,
            Camera(endpoints["frames"]) as camera,
        ):
            while (message := subscriber.receive()) is not None and message.kind != "status":
                pass
            for seed in range(4):
                camera.picture(seed)
                camera.send({"v": 1}, b"")
            scores = []
            while len(scores) < 4 and (message := subscriber.receive()) is not None:
                scores += [message] if message.kind == "score" else []
            assert [score["frame_id"] for score in scores] == [f"line-{seed}" for seed in range(4)]
            status = ask({"kind": "status"}, endpoints["control"], timeout_s=30)
            assert (status["received"], status["scored"]) == (8, 4)
            camera.picture(9)
            until(lambda: ask({"kind": "status"}, endpoints["control"], timeout_s=30)["received"] == 9)
            process.send_signal(signal.SIGTERM)
            while (message := subscriber.receive()) is not None and message.kind != "score":
                pass
            assert message is not None
            assert message["frame_id"] == "line-9"
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transprot": {}}, "did you mean 'transport'?"),
        ({"ring": {"capacity": 100_000}}, "ring.max_bytes"),
        ({"transport": {"frames": "nonsense"}}, "transport.frames: got nonsense"),
        ({"security": {"keys": "nowhere"}}, "python -m streamer.keys"),
        ({"streams": [{"match": "a", "ring": {"capacty": 3}}]}, "did you mean 'capacity'?"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(tmp_path, values, message):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(**values)))
    done = CliRunner().invoke(serve_main, ["--config", str(config)])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
