"""The wire format: what goes out comes back, and no bytes whatever do more than raise WireError."""

import math
import zlib

import cv2
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamer_support import header, picture, png

from streamer import images
from streamer.errors import WireError
from streamer.server.imagezmq_ingest import unpack as unpack_imagezmq
from streamer.wire.codes import CODES
from streamer.wire.frame import FrameMessage, Limits, pack_frame, unpack_frame
from streamer.wire.published import encode_map, pack_message, topic_of, unpack_message

LIMITS = Limits(header_bytes=2048, payload_bytes=100_000, width=400, height=300, pixels=50_000)


def outcome(work):
    """The code of the WireError that `work` raises, or what it returns."""
    try:
        return None, work()
    except WireError as error:
        return error.code, None


names = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=20).filter(
    lambda name: "/" not in name and name != "-" and name.isprintable()
)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8)
finite = plain | st.floats(allow_nan=False, allow_infinity=False)
metas = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        finite,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


@given(names, names | st.integers(-(2**63), 2**63), st.integers(0, 2**62), metas)
def test_a_frame_comes_back_as_it_went(stream, frame_id, seq, meta):
    frame = picture(1, 5, 7)
    message = FrameMessage(stream, frame_id, "raw", frame.tobytes(), seq, 12, (5, 7, 3), meta)
    again = unpack_frame(pack_frame(message), LIMITS)
    assert again == message
    np.testing.assert_array_equal(images.decode(again, LIMITS), frame)


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_no_bytes_do_more_than_raise(parts):
    with pytest.raises(WireError) as caught:
        unpack_frame(parts, LIMITS)
    assert caught.value.code in CODES
    assert "\n" not in caught.value.text


fields = st.sampled_from([*header("a"), "shape", "dtype", "x"])
anything = st.recursive(
    plain | st.floats() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(fields, anything, max_size=4), st.sets(fields, max_size=2), st.binary(max_size=60))
def test_a_twisted_header_is_refused_or_is_a_frame(changes, removed, payload):
    values = {key: value for key, value in {**header("a"), **changes}.items() if key not in removed}
    code, message = outcome(lambda: unpack_frame([msgpack.packb(values), payload], LIMITS))
    assert code in CODES or message.payload == payload
    if message is not None:
        code, _ = outcome(lambda: images.decode(message, LIMITS))
        assert code in CODES


@given(st.binary(max_size=300), st.sampled_from(["jpeg", "png"]), st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_image_is_refused_or_decodes_to_a_frame(noise, encoding, at, value):
    whole = images.encode(picture(2), encoding)
    for payload in (noise, whole[: at % len(whole)], whole[:at] + bytes([value]) + whole[at + 1 :]):
        message = FrameMessage("s", 1, encoding, payload)
        code, frame = outcome(lambda message=message: images.decode(message, LIMITS))
        assert code in CODES or (frame.dtype == np.uint8 and frame.ndim == 3)


@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_every_truncation_is_noticed(encoding):
    whole = images.encode(picture(3), encoding)
    assert images.decode(FrameMessage("s", 1, encoding, whole), LIMITS).shape == (48, 64, 3)
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(WireError):
            images.decode(FrameMessage("s", 1, encoding, whole[:length]), LIMITS)


@pytest.mark.parametrize("length", [3_925_873_442, 2**31 - 1, 5000])
def test_no_memory_is_cleared_for_what_a_chunk_only_says_it_holds(length, monkeypatch):
    """OpenCV took 2 s and 4 GB for a picture of 5 kB whose pixels were said to be 3.9 GB long."""
    whole = images.encode(picture(2), "png")
    at = whole.index(b"IDAT") - 4
    assert len(whole) - at < 5000 + 12
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(WireError, match="truncated or damaged") as caught:
        images.decode(
            FrameMessage("s", 1, "png", whole[:at] + length.to_bytes(4, "big") + whole[at + 4 :]), LIMITS
        )
    assert caught.value.code == "undecodable"


@pytest.mark.parametrize("encoding", ["jpeg", "png"])
def test_dimensions_are_checked_before_pixels_are_decoded(encoding, monkeypatch):
    large = images.encode(np.zeros((301, 10, 3), np.uint8), encoding)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(WireError) as caught:
        images.decode(FrameMessage("s", 1, encoding, large), LIMITS)
    assert caught.value.code == "image_too_large"


def test_a_png_that_claims_to_be_huge_is_refused_by_its_header():
    bomb = bytearray(images.encode(picture(0), "png"))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(WireError) as caught:
        images.decode(FrameMessage("s", 1, "png", bytes(bomb)), Limits())
    assert caught.value.code == "image_too_large"


def test_a_shape_that_differs_from_the_image_is_refused():
    message = FrameMessage("s", 1, "png", png(picture(0)), shape=(48, 65, 3))
    with pytest.raises(WireError) as caught:
        images.decode(message, LIMITS)
    assert caught.value.code == "bad_shape"


def test_grey_and_deep_images_become_bgr():
    grey = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20
    payload = cv2.imencode(".png", grey)[1].tobytes()
    frame = images.decode(FrameMessage("s", 1, "png", payload), LIMITS)
    np.testing.assert_array_equal(frame[..., 0], frame[..., 2])
    np.testing.assert_allclose(frame[..., 0], grey / 257, atol=1.01)


@pytest.mark.parametrize("depth", [9, 400])
def test_deep_meta_is_refused(depth):
    meta: dict = {}
    for _ in range(depth):
        meta = {"m": meta}
    with pytest.raises(WireError) as caught:
        unpack_frame([msgpack.packb(header("a", meta=meta)), b"x"], Limits())
    assert caught.value.code in {"bad_value", "bad_header"}


def test_a_header_that_promises_more_than_it_holds_is_refused():
    for promise in (
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
    ):
        with pytest.raises(WireError) as caught:
            unpack_frame([promise, b""], LIMITS)
        assert caught.value.code == "bad_header"


@pytest.mark.parametrize("encoding", ["png16", "float32"])
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 2, width=32), st.floats(0, 2, width=32))
def test_maps_come_back_within_their_precision(encoding, height, width, low, span):
    values = np.linspace(low, low + span, height * width, dtype=np.float32).reshape(height, width)
    entry, payload = encode_map(values, encoding)
    message = unpack_message(pack_message("s/score", {"kind": "score", "anomaly_map": entry}, payload))
    tolerance = 0.0 if encoding == "float32" else span / 131_070 + 3e-7
    assert np.abs(message.anomaly_map - values).max() <= tolerance
    assert entry["min"] == values.min()
    assert entry["max"] == values.max()


@pytest.mark.parametrize("payload", [b"", b"not a png", png(picture(0))])
def test_a_damaged_map_is_an_error(payload):
    entry, _ = encode_map(np.zeros((4, 4), np.float32), "png16")
    message = unpack_message(pack_message("s/score", {"kind": "score", "anomaly_map": entry}, payload))
    with pytest.raises(WireError):
        _ = message.anomaly_map


def test_nan_never_travels():
    parts = pack_message(
        "s/score", {"kind": "score", "raw_score": math.nan, "regions": [[1, 2, 3, 4, np.float32("inf")]]}
    )
    message = unpack_message(parts)
    assert message["raw_score"] is None
    assert message["regions"] == [[1, 2, 3, 4, None]]


def test_a_topic_is_no_prefix_of_another_streams():
    assert not topic_of("line10", "score").startswith(topic_of("line1", ""))


@given(st.lists(st.binary(max_size=100), max_size=3))
def test_no_bytes_break_the_imagezmq_port(parts):
    with pytest.raises(WireError):
        unpack_imagezmq(parts, LIMITS)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (np.zeros((4, 4, 3), np.int16), "bad_dtype"),
        (np.zeros((4, 4, 5), np.uint8), "bad_shape"),
        (np.zeros(4, np.uint8), "bad_shape"),
        (np.zeros((0, 4, 3), np.uint8), "empty_image"),
    ],
)
@pytest.mark.parametrize("encoding", ["raw", "jpeg", "png"])
def test_what_is_no_frame_is_not_sent(frame, code, encoding):
    with pytest.raises(WireError) as caught:
        images.encode(frame, encoding)
    assert caught.value.code == code
