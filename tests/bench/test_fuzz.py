"""No message ends anything: drawn by hypothesis at the readers, by bench.fuzz at the ports of a service."""

import json
import math

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from streamer_support import (
    PATIENCE_MS,
    PATIENCE_S,
    Camera,
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
)

from bench.fuzz import attacks
from bench.fuzz.messages import Malformed
from bench.fuzz.ports import Attacker, Regulars
from bench.load.watch import Watch
from streamer import images
from streamer.errors import WireError
from streamer.server import imagezmq_ingest
from streamer.wire.codes import CODES
from streamer.wire.frame import FrameMessage, Limits, unpack_frame

__all__ = ["backbone"]

LIMITS = Limits(header_bytes=4096, payload_bytes=100_000, width=200, height=200, pixels=20_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
)
PACKABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
)


def read(parts, unpack):
    """What the service does with a message before the backbone sees it."""
    try:
        message = unpack(parts, LIMITS)
        frame = images.decode(message, LIMITS)
    except WireError as error:
        assert error.code in CODES  # noqa: PT017 - most messages are bad, some are not
        assert "\n" not in error.text  # noqa: PT017
        return None
    assert isinstance(message, FrameMessage)
    assert frame.shape[0] * frame.shape[1] <= LIMITS.pixels
    return frame


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_any_bytes(parts):
    read(parts, unpack_frame)
    read(parts, imagezmq_ingest.unpack)


FIELDS = st.sampled_from([*sorted(header("a")), "shape", "dtype", "bit_depth", "more"])
RAW = st.fixed_dictionaries(
    {
        "shape": st.lists(st.integers(0, 5), min_size=2, max_size=3),
        "dtype": st.sampled_from(["uint8", "uint16", "float32"]),
        "bit_depth": st.sampled_from([None, "auto", 8, 10, 12, 14, 16, "float"]),
    }
)


@given(FIELDS, PACKABLE, st.binary(max_size=50))
def test_any_value_in_a_good_header(field, value, payload):
    assert read([msgpack.packb(header("a")), png(picture(0))], unpack_frame) is not None
    good = {**header("a"), field: value}
    read([msgpack.packb(good), payload], unpack_frame)
    read([msgpack.packb(good), png(picture(0))], unpack_frame)


@given(RAW, st.binary(max_size=400))
def test_any_pixels_of_any_depth(said, noise):
    itemsize = {"uint8": 1, "uint16": 2, "float32": 4}[said["dtype"]]
    payload = (noise * 400)[: math.prod(said["shape"]) * itemsize]
    frame = read([msgpack.packb(header("a", encoding="raw", **said)), payload], unpack_frame)
    if frame is not None:
        assert frame.shape == (*said["shape"][:2], 3)
        assert frame.dtype == np.uint8
    assert frame is not None or said["dtype"] != "uint8" or not payload or said["shape"][2:] == [5]


@given(JSON, JSON, JSON)
def test_any_json_from_imagezmq(text, dtype, shape):
    read(
        [json.dumps({"msg": text, "dtype": dtype, "shape": shape}).encode(), bytes(12)],
        imagezmq_ingest.unpack,
    )


@given(st.data())
def test_any_damage_to_a_file(data):
    encoding = data.draw(st.sampled_from(["png", "jpeg"]))
    whole = bytearray(images.encode(picture(1), encoding))
    assert read([msgpack.packb(header("a", encoding=encoding)), bytes(whole)], unpack_frame) is not None
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    read([msgpack.packb(header("a", encoding=encoding)), bytes(whole[:cut])], unpack_frame)


def test_the_fuzzer_draws_all_sorts_and_the_same_again():
    def codes(seed):
        found, draw = [], Malformed(seed, "fuzz")
        for _ in range(600):
            try:
                images.decode(unpack_frame(draw.frame(), Limits()), Limits())
                found.append("good")
            except WireError as error:
                found.append(error.code)
        return found

    assert codes(3) == codes(3)
    assert len(set(codes(3))) >= 12
    assert codes(3).count("good") < 20


def test_every_attack_is_found_by_its_name():
    assert "peers" in attacks.NAMES
    assert all(callable(attacks.find(name)) for name in attacks.NAMES)


def test_a_service_under_attack_scores_what_is_good(backbone, tmp_path):
    with Attacker(1) as attacker:
        config = small_config(
            transport={"imagezmq": "tcp://127.0.0.1:*", "imagezmq_subscribe": [attacker.publishes_at]},
            snapshot={"path": str(tmp_path)},
        )
        with serving(config, backbone) as service:
            watch = Watch(service.endpoints["scores"], Regulars.PREFIX)
            watch.start()
            watch.wait_up(PATIENCE_S)
            attacker.connect(service.endpoints)

            class Alive:
                @property
                def pid(self):
                    assert service.failure is None
                    return 1

            with Regulars(service.endpoints, 1) as regulars:
                for number in range(600):
                    attacker.send(Alive())
                    if number % 60 == 0:
                        regulars.send()
                regulars.flush()
            until(lambda: sum(len(watch.scored(stream)) for stream in regulars.streams) == 20)
            until(lambda: sum(service.ledger.totals()["refused"].values()) > 300)
            control(service, "flush")
            watch.stop()
            status = control(service, "status")
            assert [sorted(watch.scored(stream)) for stream in regulars.streams] == [list(range(10))] * 2
            assert service.failure is None
            assert identity_holds(status)
            assert "internal" not in status["refused"]


@pytest.mark.parametrize(
    "text",
    [
        '{"msg": "\\ud800", "dtype": "uint8", "shape": [2, 2, 3]}',
        '{"msg": "a", "shape": [' + "9" * 40 + ", 1, 3]}",
        '{"msg": "a", "shape": ' + "[" * 900 + "]" * 900 + "}",
    ],
)
def test_json_that_no_header_can_say(text):
    with pytest.raises(WireError) as caught:
        imagezmq_ingest.unpack([text.encode(), bytes(12)], LIMITS)
    assert caught.value.code in CODES


@pytest.mark.parametrize("port", ["imagezmq", "control"])
def test_a_request_without_an_envelope_stops_no_port(backbone, port):
    config = small_config(transport={"imagezmq": "tcp://127.0.0.1:*"})
    context = zmq.Context()
    with serving(config, backbone) as service, Screen(service, "line/") as screen:
        guest = context.socket(zmq.DEALER)
        guest.connect(service.endpoints[port])
        for seed in range(5):
            guest.send(b"no envelope")
            with Camera(service.endpoints["frames"]) as camera:
                camera.picture(seed)
            assert screen.until(1, "score")[0]["frame_id"] == f"line-{seed}"
        assert control(service, "status")["scored"] == 5
        guest.send_multipart([b"", b"no request"])
        assert guest.poll(PATIENCE_MS)
        context.destroy(linger=0)
