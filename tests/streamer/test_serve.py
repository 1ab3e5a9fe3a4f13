"""The service end to end: real sockets, real backbone; a camera and a screen of bare pyzmq and msgpack."""

import threading

import msgpack
import numpy as np
import pytest
import zmq
from streamer_support import (
    CAPTURED_NS,
    PATIENCE_MS,
    Camera,
    Screen,
    backbone,
    control,
    header,
    picture,
    serving,
    small_config,
    until,
    watched,
)

from musc_online.detector import Detector
from streamer import images
from streamer.errors import WireError
from streamer.server import handlers
from streamer.server.service import Service
from streamer.wire.published import unpack_message

__all__ = ["backbone"]

SCORE_KEYS = {
    "v", "kind", "stream", "frame_id", "seq", "capture_ns", "scored_ns", "raw_score", "rscin_score",
    "pred_score", "pred_label", "threshold", "state", "n_references", "revision", "is_final", "regions",
    "known_defect", "anomaly_map", "late", "latency_ms", "model_id", "meta", "pub_seq",
}  # fmt: skip


def test_scores_are_those_of_the_detector(backbone):
    """What comes over the wire equals a detector fed by hand: scores, maps, order, echoes."""
    config = small_config(transport={"map_encoding": "float32", "batch": 1})
    frames = [picture(seed) for seed in range(6)]
    detector = Detector(config, backbone=backbone)
    expected = []
    for index, frame in enumerate(frames):
        expected.append(detector.step(frame, f"line-{index}"))
        if detector.revise_due:
            detector.revise()
    final = detector.flush()
    with watched(backbone, config) as (service, screen, camera):
        for index in range(6):
            camera.picture(index, capture_ns=CAPTURED_NS + index, meta={"part_id": index})
        for index, score in enumerate(expected):
            topic, fields, payload = screen.next()
            while fields["kind"] != "score":
                topic, fields, payload = screen.next()
            assert topic == "line/score"
            assert fields.keys() == SCORE_KEYS
            assert (fields["frame_id"], fields["seq"], fields["pub_seq"]) == (f"line-{index}", index, index)
            assert (fields["capture_ns"], fields["meta"]) == (CAPTURED_NS + index, {"part_id": index})
            assert (fields["revision"], fields["is_final"]) == (0, False)
            if index == 0:
                assert fields["raw_score"] is None
                assert payload is None
                continue
            assert fields["raw_score"] == pytest.approx(score.raw_score, abs=1e-5)
            assert fields["n_references"] == index
            message = unpack_message([topic.encode(), msgpack.packb(fields), payload])
            np.testing.assert_allclose(message.anomaly_map, score.anomaly_map, atol=1e-5)
            latency = fields["latency_ms"]
            phases = [latency[name] for name in ("queue", "decode", "wait", "backbone", "score")]
            assert sum(phases) == pytest.approx(latency["total"], abs=0.01)  # each is rounded to 0.001
            assert 0 < latency["match"] <= latency["score"]
        assert control(service, "flush", stream="line")["flushed"] == 6
        revisions = []
        while len(revisions) < 6:
            revisions += [fields for fields in screen.until(1, "revision") if fields["is_final"]]
        for fields, score in zip(revisions, final, strict=True):
            assert fields["frame_id"] == score.frame_id
            assert fields["raw_score"] == pytest.approx(score.raw_score, abs=1e-5)
            assert fields["rscin_score"] == pytest.approx(score.rscin_score, abs=1e-4)
            assert fields["meta"] == {"part_id": int(score.frame_id.split("-")[1])}


def test_reset_empties_the_ring(backbone):
    with watched(backbone) as (service, screen, camera):
        camera.picture(0)
        camera.picture(1)
        screen.until(2, "score")
        assert control(service, "reset", stream="line")["reset"] == 1
        camera.picture(1, seq=2)
        (score,) = screen.until(1, "score")
        assert (score["n_references"], score["raw_score"]) == (0, None)


def test_frames_of_changing_size_share_a_ring(backbone):
    sizes = [(48, 64), (1, 1), (7, 900), (900, 7), (333, 500), (2, 3)]
    with watched(backbone) as (service, screen, camera):
        for index, (height, width) in enumerate(sizes):
            frame = picture(index, height, width)
            encoding = ("png", "jpeg", "raw")[index % 3]
            more = {"shape": [height, width, 3], "dtype": "uint8"} if encoding == "raw" else {}
            camera.send(header(index, seq=index, encoding=encoding, **more), images.encode(frame, encoding))
        scores = screen.until(len(sizes), "score")
        assert [fields["n_references"] for fields in scores] == list(range(len(sizes)))
        control(service, "flush")
        finals = {}
        while len(finals) < len(sizes):
            (fields,) = screen.until(1, "revision")
            if fields["is_final"]:
                finals[fields["frame_id"]] = fields
        for index, (height, width) in enumerate(sizes):
            assert all(0 <= x <= x + w <= width and 0 <= y <= y + h <= height
                       for x, y, w, h, _ in finals[index]["regions"])  # fmt: skip


@pytest.mark.parametrize("kind", ["forget", "reset", "flush"])
def test_a_request_given_up_is_not_done_behind_its_asker(backbone, monkeypatch, kind):
    """Whoever is told `busy` may ask again, or think better of it."""
    frame = {"frame_id": "line-1"} if kind == "forget" else {}
    with watched(backbone) as (service, screen, camera):
        camera.picture(0)
        camera.picture(1)
        screen.until(2, "score")
        go_on = threading.Event()
        service.pipeline.run_between_frames(lambda: go_on.wait(PATIENCE_MS / 1000))
        with monkeypatch.context() as patch:
            patch.setattr(handlers, "_PATIENCE_S", 0.0)
            try:
                with pytest.raises(WireError) as refusal:
                    control(service, kind, stream="line", **frame)
            finally:
                go_on.set()
        assert refusal.value.code == "busy"
        camera.picture(2)
        told = screen.until(1, "score", "revision")
        assert [(fields["kind"], fields["n_references"]) for fields in told] == [("score", 2)]


def test_stop_scores_what_was_accepted(backbone):
    service = Service(small_config(transport={"queue": 64}), backbone)
    service.start()
    with Screen(service, "line/") as screen:
        try:
            with Camera(service.endpoints["frames"]) as camera:
                for seed in range(20):
                    camera.picture(seed)
                until(lambda: service.ledger.totals()["received"] == 20)
        finally:
            service.stop()
        scored = [fields["frame_id"] for fields in screen.until(20, "score")]
    assert scored == [f"line-{seed}" for seed in range(20)]
    assert service.ledger.totals()["queued"] == 0


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
