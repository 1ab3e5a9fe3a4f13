"""Frames that come faster than they are scored: dropped and told, or held back; never unfairly."""

import msgpack
import numpy as np
import pytest
import zmq
from streamer_support import (
    PATIENCE_MS,
    Held,
    Screen,
    backbone,
    control,
    header,
    identity_holds,
    picture,
    png,
    serving,
    small_config,
    until,
    watched,
)

__all__ = ["backbone"]


@pytest.mark.parametrize("when_full", ["drop_oldest", "drop_newest"])
def test_drops_are_counted_and_told(backbone, when_full):
    held = Held(backbone)
    transport = {"when_full": when_full, "queue": 4, "batch": 1}
    with watched(held, transport=transport) as (service, screen, camera):
        passed = held.fill(camera)
        for seed in range(3, 20):
            camera.picture(seed)
        camera.all_offered(service)
        held.release()
        told = screen.until(20, "dropped", "score")
        dropped = [fields for fields in told if fields["kind"] == "dropped"]
        kept = range(16, 20) if when_full == "drop_oldest" else range(3, 7)
        scored = [*passed, *(f"line-{seed}" for seed in kept)]
        assert [fields["frame_id"] for fields in told if fields["kind"] == "score"] == scored
        assert {fields["reason"] for fields in dropped} == {when_full}
        assert [fields["frame_id"] for fields in dropped] == [
            f"line-{seed}" for seed in range(20) if f"line-{seed}" not in scored
        ]
        status = control(service, "status")["streams"]["line"]
        assert identity_holds(status)
        assert (status["received"], status["scored"], status["dropped"]) == (20, 7, {when_full: 13})
        # A dropped frame may be sent again.
        camera.send(header(dropped[0]["frame_id"], seq=100), png(picture(50)))
        assert screen.until(1, "score")[0]["frame_id"] == dropped[0]["frame_id"]


def test_block_holds_the_sender_back_and_loses_nothing(backbone):
    held = Held(backbone)
    config = small_config(transport={"queue": 2, "batch": 1})
    with serving(config, held) as service, Screen(service) as screen, zmq.Context() as context:
        camera = context.socket(zmq.PUSH)
        camera.setsockopt(zmq.SNDHWM, 1)
        camera.setsockopt(zmq.LINGER, PATIENCE_MS)
        camera.connect(service.endpoints["frames"])
        frame = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
        fields = {"encoding": "raw", "shape": [600, 800, 3], "dtype": "uint8"}
        sent = 0

        def send_all_that_goes(patience_ms):
            nonlocal sent
            while camera.poll(patience_ms, zmq.POLLOUT):
                # No kernel keeps 300 MB for one connection: the sender must be held back before.
                assert sent < 200, "the sender was never held back"
                camera.send_multipart([msgpack.packb(header(sent, seq=sent, **fields)), frame.tobytes()])
                sent += 1
            return service.ledger.totals()["received"]

        # Three in the pipeline, two in the queue, one in the hand of the receiving thread: no more come in.
        until(lambda: send_all_that_goes(10) == 6)
        assert send_all_that_goes(500) == 6
        held.release()
        assert [fields["frame_id"] for fields in screen.until(sent, "score")] == list(range(sent))
        assert control(service, "status")["dropped"] == {}
        camera.close()


def test_a_fast_stream_does_not_starve_a_slow_one(backbone):
    held = Held(backbone)
    with watched(held, transport={"queue": 64, "batch": 1}) as (service, screen, camera):
        held.fill(camera, stream="fast")
        for seed in range(3, 30):
            camera.picture(seed, stream="fast")
        for seed in range(3):
            camera.picture(seed, stream="slow")
        camera.all_offered(service)
        held.release()
        order = [fields["stream"] for fields in screen.until(33, "score")]
        # Three fast frames were past the queue already; from then on the two take turns, as near as two
        # threads that decode can: 24 of the fast ones came first.
        assert order[:3] == ["fast"] * 3
        assert max(place for place, stream in enumerate(order) if stream == "slow") < 15, order


def test_waiting_frames_never_take_more_than_their_share(backbone):
    frame = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    raw = {"encoding": "raw", "shape": [100, 100, 3], "dtype": "uint8"}
    held = Held(backbone)
    transport = {"when_full": "drop_oldest", "queue": 1000, "batch": 1}
    with watched(held, transport=transport, limits={"queue_bytes": 100_000}) as (service, screen, camera):
        held.fill(camera)
        for number in range(97):
            camera.send(header(number, seq=None, **raw), frame.tobytes())
        camera.all_offered(service)
        assert service.status()["bytes"]["queue"] == 90_000
        held.release()
        scored = [fields["frame_id"] for fields in screen.until(6, "score")]
        assert scored[3:] == [94, 95, 96]
        status = control(service, "status")["streams"]["line"]
        assert (status["received"], status["scored"], status["dropped"]) == (100, 6, {"drop_oldest": 94})
        assert identity_holds(status)
