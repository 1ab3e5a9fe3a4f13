"""Subscribers: the iterator, the command line, and that a dead one slows nobody."""

import json

import msgpack
import pytest
import zmq
from click.testing import CliRunner
from streamer_support import (
    PATIENCE_MS,
    PATIENCE_S,
    Camera,
    Screen,
    backbone,
    control,
    header,
    serving,
    small_config,
    until,
    watched,
)

from streamer.subscribe import Subscriber, subscribe
from streamer.subscribe import main as subscribe_main

pytestmark = pytest.mark.engines("always")

__all__ = ["backbone"]


def test_a_stream_is_heard_alone_and_maps_come_along(backbone):
    with serving(small_config(), backbone) as service, Camera(service.endpoints["frames"]) as camera:
        camera.send(header("opens the stream", "line1"), b"")
        with Subscriber(
            service.endpoints["scores"], "line1", wait_s=PATIENCE_S, timeout_s=PATIENCE_S
        ) as subscriber:
            while subscriber.receive().kind != "status":
                pass
            for seed in range(3):
                camera.picture(seed, stream="line10")
                camera.picture(seed, stream="line1", seq=None)
            scores = []
            while len(scores) < 3:
                message = subscriber.receive()
                assert message["stream"] == "line1"
                scores += [message] if message.kind == "score" else []
        assert scores[0].anomaly_map is None
        assert scores[2].anomaly_map.shape == (56, 56)
        assert scores[2].anomaly_map.max() == scores[2]["raw_score"]


def test_the_iterator_ends_in_silence(backbone):
    with serving(small_config(transport={"heartbeat_s": 60.0}), backbone) as service:
        endpoint = service.endpoints["scores"]
        assert list(subscribe(endpoint, "nobody", timeout_s=0.2)) == []


def test_the_command_line_writes_json_lines(backbone):
    with serving(small_config(), backbone) as service:
        arguments = ["--endpoint", service.endpoints["scores"], "--json", "--kind", "status", "--count", "2"]
        done = CliRunner().invoke(subscribe_main, arguments)
        assert done.exit_code == 0
        assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["status", "status"]


def test_a_dead_subscriber_slows_nobody(backbone):
    """One that never reads: its own queue drops what it missed; every frame is scored and others hear it."""
    n_frames = 60
    # A map is a megabyte: more in all than the kernel and the queue together keep for one who reads nothing.
    sections = {
        "output": {"map_size": 512},
        "transport": {"subscriber_queue": 16, "map_encoding": "float32", "heartbeat_s": 1.0},
    }
    with (
        watched(backbone, topic="line/", **sections) as (service, screen, camera),
        zmq.Context() as context,
        context.socket(zmq.SUB) as dead,
    ):
        dead.setsockopt(zmq.RCVHWM, 1)
        dead.setsockopt(zmq.RCVBUF, 65536)
        dead.setsockopt(zmq.LINGER, 0)
        dead.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        dead.connect(service.endpoints["scores"])
        dead.setsockopt(zmq.SUBSCRIBE, b"")
        assert dead.recv_multipart()[0].endswith(b"/status"), "it was alive once"
        for seed in range(n_frames):
            camera.picture(seed)
            assert screen.until(1, "score")[0]["frame_id"] == f"line-{seed}"
        assert control(service, "status")["scored"] == n_frames
        heard, fields = 0, {}
        while (fields.get("kind"), fields.get("scored")) != ("status", n_frames):
            fields = msgpack.unpackb(dead.recv_multipart()[1])
            heard += fields["kind"] == "score"
        assert heard < n_frames, "nothing was ever held back for it"


def test_a_subscriber_that_was_away_sees_the_gap_and_fills_it(backbone):
    with serving(small_config(), backbone) as service, Camera(service.endpoints["frames"]) as camera:
        with Screen(service) as screen:
            camera.picture(0)
            last = screen.until(1, "score")[0]["pub_seq"]
        for seed in (1, 2):
            camera.picture(seed)
        until(lambda: service.ledger.totals()["scored"] == 3)
        with Screen(service) as screen:
            camera.picture(3)
            now = screen.until(1, "score")[0]["pub_seq"]
        assert now - last == 3
        answer = control(service, "history", topic="line/score", first=last + 1, last=now - 1)
        assert [one["pub_seq"] for one in answer["messages"]] == [1, 2]
