"""What cannot be sent is said before it is sent, and what became of the rest afterwards."""

import datetime
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import zmq
from click.testing import CliRunner
from PIL import Image
from streamer_support import (
    PATIENCE_MS,
    PATIENCE_S,
    Held,
    backbone,
    control,
    picture,
    png,
    serving,
    small_config,
    until,
    watched,
)

from streamer.errors import WireError
from streamer.fate import by_acks
from streamer.publish import Publisher
from streamer.publish import main as publish_main
from streamer.reliable import ReliablePublisher
from streamer.sender import make_message
from streamer.wire.frame import Limits, pack, pack_frame, unpack, unpack_frame
from streamer.wire.meta import plain_meta

pytestmark = pytest.mark.engines("always")

__all__ = ["backbone"]

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
RING: list = []
RING.append(RING)
LOOP: dict = {}
LOOP["again"] = LOOP


def nested(levels):
    return 1 if levels == 0 else [nested(levels - 1)]


BAD_META = [
    ({"part": {"when": NOW}}, "meta.part.when: got a datetime, expected text"),
    ({"part": [1, {"at": Path("x")}]}, "meta.part[1].at: got a PosixPath"),
    ({1: 2}, "meta: got the key 1, an int, expected text"),
    ({"a": {(1, 2): 3}}, "meta.a: got the key (1, 2), a tuple"),
    ({"n": 2**70}, "meta.n: got 1180591620717411303424, expected -2^63 to 2^64 - 1"),
    ({"n": 10**9000}, "meta.n: got a number of 29898 bits"),
    ({"n": float("nan")}, "meta.n: got nan, expected a finite number"),
    ({"n": np.array([1.0, np.inf])}, "meta.n[1]: got inf"),
    ({"b": b"x"}, "meta.b: got bytes"),
    ({"b": bytearray(b"x")}, "meta.b: got a bytearray"),
    ({"t": "\ud800"}, r"meta.t: got '\ud800'"),
    ({"\ud800": 1}, r"meta: got '\ud800'"),
    ({"p": Image.new("L", (2, 2))}, "meta.p: got an Image"),
    ({"a\nb": {1}}, r"meta.a\nb: got a set"),
    ({"d": nested(7)}, "nested deeper than 8 levels"),
    ({"r": RING}, "nested deeper than 8 levels"),
    (LOOP, "nested deeper than 8 levels"),
    ([1], "meta: got a list, expected a map"),
    ("text", "meta: got a str, expected a map"),
    ({"k" * 200: object()}, "...: got an object"),
]


@pytest.mark.parametrize(("meta", "text"), BAD_META, ids=[text for _, text in BAD_META])
def test_meta_that_no_detector_takes_is_named_by_its_path(meta, text):
    with pytest.raises(WireError) as caught:
        plain_meta(meta)
    assert text in caught.value.text
    assert caught.value.text.isprintable()
    assert caught.value.code == ("not_finite" if "nan" in text or "inf" in text else "bad_value")


def test_meta_of_numpy_and_tuples_becomes_plain_and_passes_the_detector_s_check():
    meta = {"n": np.float32(0.5), "i": np.int64(3), "a": np.arange(2), "b": np.bool_(True), "t": (1, "x")}
    meta |= {"d": nested(6), "big": 2**64 - 1, "s": np.str_("x"), "none": None}
    message = make_message("line", 0, picture(0), "a", meta, capture_ns=np.int64(5), encoding="png")
    taken = unpack_frame(pack_frame(message), Limits())
    assert taken.meta == plain_meta(meta)
    assert taken.meta["a"] == [0, 1]
    assert taken.capture_ns == 5
    assert plain_meta(None) == {}


@pytest.mark.parametrize(
    ("frame", "more", "text"),
    [
        (picture(0), {"capture_ns": -5}, "capture_ns: got -5"),
        (picture(0), {"capture_ns": 1.5}, "capture_ns: got 1.5"),
        (picture(0), {"capture_ns": 2**70}, "capture_ns: got 1180591620717411303424"),
        (picture(0), {"frame_id": "teil_\udcfc"}, r"frame_id: got 'teil_\udcfc'"),
        (picture(0), {"frame_id": 2**70}, "frame_id: got 1180591620717411303424"),
        (bytearray(png(picture(0))), {}, "frame: got a bytearray, expected"),
        (memoryview(png(picture(0))), {}, "frame: got a memoryview, expected"),
        (Image.new("RGB", (4, 4)), {}, "frame: got an Image, expected"),
        (None, {}, "frame: got a NoneType, expected"),
        (picture(0), {"meta": {"x": "y" * 100_000}}, "meta: makes a header of 1"),
        (picture(0), {"meta": {1: 2}}, "meta: got the key 1"),
    ],
)
@pytest.mark.parametrize("kind", ["frames", "reliable"])
def test_both_publishers_hold_a_frame_to_the_detector_s_rules(kind, frame, more, text):
    sender = {"frames": Publisher, "reliable": ReliablePublisher}[kind]
    with Deaf(kind) as endpoint, sender(endpoint, "line", wait_s=PATIENCE_S) as camera:
        with pytest.raises(WireError) as caught:
            camera.send(frame, **more)
        assert caught.value.text.startswith(text)
        assert camera._seq == 0
        getattr(camera, "_open", {}).clear()


class Deaf:
    """Somebody listens, and reads nothing."""

    def __init__(self, kind):
        self._context = zmq.Context()
        self._socket = self._context.socket({"frames": zmq.PULL, "reliable": zmq.ROUTER}[kind])
        self._socket.linger = 0

    def __enter__(self):
        return f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"

    def __exit__(self, *_):
        self._socket.close()
        self._context.term()


def test_a_payload_above_the_limit_is_refused_here_and_the_limit_can_be_named():
    frame = np.zeros((100, 100, 3), np.uint8)
    with Deaf("frames") as endpoint:
        limits = Limits(payload_bytes=29_999)
        with Publisher(
            endpoint, "line", encoding="raw", limits=limits, wait_s=PATIENCE_S, linger_s=0
        ) as camera:
            with pytest.raises(WireError, match="payload: got 30000 bytes, expected at most 29999"):
                camera.send(frame)
            camera.send(frame[:50])


def test_a_refusal_without_an_id_ends_the_wait_of_that_frame_alone(backbone):
    """The detector takes smaller headers than the sender knows of: it cannot read whose they are."""
    config = small_config(limits={"header_bytes": 1024})
    with (
        serving(config, backbone) as service,
        ReliablePublisher(service.endpoints["reliable"], "line", resend_s=0.3, window=4) as camera,
    ):
        for number in range(8):
            big = {"x": "y" * 5000} if number in {2, 3} else {}
            camera.send(picture(number), f"f{number}", meta=big, timeout_s=PATIENCE_S)
        camera.flush(PATIENCE_S)
        assert camera.refused == {"f2": "header_too_large", "f3": "header_too_large"}
        assert camera.acknowledged == 6
        assert control(service, "status")["scored"] == 6


def test_a_detector_that_hangs_up_on_one_frame_ends_the_wait_of_that_frame_alone(backbone):
    """libzmq does so with a part far above the detector's limits, of which the sender knows nothing."""
    config = small_config(limits={"payload_bytes": 20_000, "header_bytes": 20_000})
    with (
        serving(config, backbone) as service,
        ReliablePublisher(
            service.endpoints["reliable"], "line", encoding="raw", resend_s=0.3, window=4
        ) as camera,
    ):
        for number in range(8):
            huge = number in {2, 3}
            frame = picture(number, 400, 600) if huge else picture(number)
            camera.send(frame, f"f{number}", timeout_s=PATIENCE_S)
        camera.flush(PATIENCE_S)
        assert camera.refused == {"f2": "hung_up", "f3": "hung_up"}
        assert camera.acknowledged == 6
        assert control(service, "status")["scored"] == 6


def test_a_sender_above_the_rate_loses_nothing(backbone):
    """Such a refusal has no id either, and is none for ever."""
    config = small_config(limits={"rate": 20.0})
    with (
        serving(config, backbone) as service,
        ReliablePublisher(service.endpoints["reliable"], "line", resend_s=0.2, window=40) as camera,
    ):
        for number in range(40):
            camera.send(picture(number), number)
        camera.flush(PATIENCE_S)
        assert (camera.acknowledged, camera.refused) == (40, {})
        assert control(service, "status")["refused"]["rate_limited"] > 0


def test_an_answer_without_an_id_is_matched_by_its_seq():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.rcvtimeo, router.linger = PATIENCE_MS, 0
        port = router.bind_to_random_port("tcp://127.0.0.1")
        camera = ReliablePublisher(f"tcp://127.0.0.1:{port}", "line", resend_s=PATIENCE_S)
        for frame_id in ("a", "b", "c"):
            camera.send(picture(0), frame_id)
        for _ in range(3):
            sender, header, _ = router.recv_multipart()
            seq = unpack(header, 1000)["seq"]
            refused = {"kind": "ack", "frame_id": None, "seq": seq, "status": "refused", "code": "bad_value"}
            named = refused | {"frame_id": "b", "status": "scored", "code": ""}
            router.send_multipart([sender, pack(named if seq == 1 else refused)])
        camera.close(PATIENCE_S)
        assert (camera.acknowledged, camera.refused) == (1, {"a": "bad_value", "c": "bad_value"})


@pytest.fixture
def folder(tmp_path):
    for index in range(8):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture(index))
    return tmp_path


def published(service, folder, *more):
    port = "reliable" if "--reliable" in more else "frames"
    arguments = ["--source", str(folder), "--stream", "line", "--endpoint", service.endpoints[port]]
    done = CliRunner().invoke(publish_main, [*arguments, "--control", service.endpoints["control"], *more])
    return done.exit_code, done.stderr.splitlines()


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("reliable", [True, False])
def test_what_was_refused_is_told_by_code_and_in_the_exit_status(backbone, folder, reliable):
    for path in sorted(folder.iterdir())[:6]:
        cut(path)
    with serving(small_config(), backbone) as service:
        status, said = published(service, folder, *["--reliable"] * reliable)
        named = ": 0.png, 1.png, 2.png, 3.png, 4.png and 1 more" if reliable else ""
        assert said == [f"8 frames sent to line: 2 scored, 6 refused (undecodable{named})"]
        assert status == 1
        # And what was scored before: a reliable frame is known, a plain one is a duplicate.
        again, said = published(service, folder / "7.png", *["--reliable"] * reliable)
        lost = "1 scored" if reliable else "0 scored, 1 refused (duplicate)"
        assert (again, said) == (0 if reliable else 1, [f"1 frame sent to line: {lost}"])


def test_dropped_frames_are_told_and_what_to_do(backbone, folder):
    held = Held(backbone)
    config = small_config(transport={"when_full": "drop_oldest", "queue": 1, "batch": 1})
    with serving(config, held) as service:
        found = []
        thread = threading.Thread(target=lambda: found.append(published(service, folder)))
        thread.start()
        until(lambda: service.ledger.totals()["received"] == 8)
        held.release()
        thread.join(PATIENCE_S)
        ((status, said),) = found
        dropped = service.ledger.totals()["dropped"]["drop_oldest"]
    assert dropped > 0
    assert said == [
        f"8 frames sent to line: {8 - dropped} scored, {dropped} dropped (drop_oldest)",
        "they came faster than they are scored: send with --reliable, or fewer with --fps",
    ]
    assert status == 1


def test_all_scored_is_exit_status_0_and_unknown_is_said(backbone, folder):
    with serving(small_config(), backbone) as service:
        assert published(service, folder) == (0, ["8 frames sent to line: 8 scored"])
        arguments = ["--source", str(folder), "--stream", "b", "--endpoint", service.endpoints["frames"]]
        done = CliRunner().invoke(publish_main, arguments)
        assert done.exit_code == 0
        assert done.stderr.startswith("8 frames sent to b; whether they were scored is not known here")


def test_a_stream_without_a_place_is_told_too(backbone, folder):
    with watched(backbone, limits={"streams": 1}) as (service, screen, camera):
        camera.picture(0, stream="first")
        screen.until(1, "score")
        status, said = published(service, folder)
        assert (status, said) == (1, ["8 frames sent to line: 0 scored, 8 refused (too_many_streams)"])


def test_skip_bad_goes_on_and_names_them(backbone, folder):
    cut(folder / "1.png")
    (folder / "2.bmp").write_text("text")
    with serving(small_config(), backbone) as service:
        status, said = published(service, folder)
        assert status == 2
        assert said[-1].startswith(f"error: source: {folder / '2.bmp'} is no image that can be used")
        assert said[0] == "2 frames sent to line: 1 scored, 1 refused (undecodable)"
        control(service, "reset", stream="line")
        status, said = published(service, folder, "--skip-bad", "--payload-bytes", "20000")
        assert status == 0, said
        assert said[0].startswith(
            "warning: 2 left out: 1.png (is no image that can be used (the png is trunc"
        )
        assert "2.bmp (is no image that can be used (no image that OpenCV can read))" in said[0]
        assert said[1:] == ["7 frames sent to line: 7 scored"]
        too_large = max(folder.glob("*.png"), key=lambda path: path.stat().st_size)
        limit = str(too_large.stat().st_size - 1)
        status, said = published(service, too_large, "--payload-bytes", limit)
        assert (status, len(said)) == (2, 1)
        assert said[0].startswith(f"error: source: {too_large.name} cannot be sent: payload: got")


def test_a_folder_of_nothing_that_can_be_read_ends(folder):
    for path in folder.iterdir():
        path.write_text("text")
    with Deaf("frames") as endpoint:
        arguments = [
            "--source",
            str(folder),
            "--stream",
            "line",
            "--endpoint",
            endpoint,
            "--skip-bad",
            "--loop",
        ]
        done = CliRunner().invoke(publish_main, arguments)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == f"error: source: {folder}: none of 8 images can be read"


def test_a_fate_names_only_the_first_few_ids():
    fate = by_acks(1, {"a\nb": "busy", **dict.fromkeys(range(7), "bad_shape")})
    assert str(fate) == r"1 scored, 1 refused (busy: a\nb), 7 refused (bad_shape: 0, 1, 2, 3, 4 and 2 more)"
    assert not fate.all_scored
