"""Small JPEGs behind the scores: of which frames, how large, once; and what they must not change or cost."""

import cv2
import msgpack
import numpy as np
import old_subscriber
import pytest
from journal_support import Line, frames
from snapshot_support import config as snapshot_config
from snapshot_support import play
from streamer_support import (
    CAPTURED_NS,
    PATIENCE_S,
    Camera,
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
    watched,
)

from musc_online.config import PictureConfig, load
from musc_online.errors import ConfigError
from streamer.describe import describe
from streamer.errors import WireError
from streamer.server import pictures
from streamer.server.streams import Streams
from streamer.subscribe import SHOWN, Subscriber

pytestmark = pytest.mark.engines

__all__ = ["backbone"]

ALARMING = {"rule": "fixed", "value": 1e-6}
"""A threshold that every frame exceeds, once the warm-up is over."""
WARMUP = 2


def told(screen, **counts):
    """Every message but heartbeats, up to the one with which so many of each kind have come."""
    found = []
    while any(len(of_kind(found, kind)) < count for kind, count in counts.items()):
        _, fields, payload = screen.next()
        if fields["kind"] != "status":
            found.append((fields, payload))
    return found


def shown_frames(camera, seeds, shape=(90, 160)):
    for seed in seeds:
        camera.send(header(f"f{seed}", seq=seed, capture_ns=CAPTURED_NS + seed), png(picture(seed, *shape)))


def of_kind(found, kind):
    return [(fields, payload) for fields, payload in found if fields["kind"] == kind]


def test_the_picture_of_every_frame_follows_its_score(backbone):
    with watched(backbone, topic="line/", output={"picture": {"of": "all", "side": 64}}) as (
        service,
        screen,
        camera,
    ):
        shown_frames(camera, range(4))
        camera.send(header("small", seq=4), png(picture(9, 20, 30)))
        camera.send(header("broken", seq=5), b"no picture")
        found = told(screen, picture=5, error=1)
        assert of_kind(found, "error")[0][0]["code"] == "undecodable"
        status = control(service, "status")
        kept = control(service, "history", topic="line/picture")["messages"]
        assert len(control(service, "history", topic="line/score")["messages"]) == 5
    order = [(fields["kind"], fields["frame_id"]) for fields, _ in found]
    order = [one for one in order if one[0] in {"score", "picture"}]
    ids = [*(f"f{seed}" for seed in range(4)), "small"]
    assert order == [(kind, frame_id) for frame_id in ids for kind in ("score", "picture")]
    for number, (fields, jpeg) in enumerate(of_kind(found, "picture")[:4]):
        assert fields == {
            "v": 1,
            "kind": "picture",
            "pub_seq": number,
            "stream": "line",
            "frame_id": f"f{number}",
            "seq": number,
            "capture_ns": CAPTURED_NS + number,
            "shape": [90, 160],
            "size": [36, 64],
            "encoding": "jpeg",
        }
        seen = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        sent = cv2.resize(picture(number, 90, 160), (64, 36), interpolation=cv2.INTER_AREA)
        assert np.abs(seen.astype(int) - sent).mean() < 6
    fields, jpeg = of_kind(found, "picture")[4]
    assert (fields["shape"], fields["size"]) == ([20, 30], [20, 30]), "never enlarged"
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (20, 30, 3)
    assert kept == []
    assert status["streams"]["line"]["picture"] == {"of": "all", "side": 64, "quality": 80}
    assert identity_holds(status)


def test_of_alarms_only_anomalous_frames_have_one(backbone):
    sections = {"threshold": ALARMING, "warmup": WARMUP, "output": {"picture": {"of": "alarms"}}}
    with watched(backbone, topic="line/", **sections) as (service, screen, camera):
        shown_frames(camera, range(6))
        found = told(screen, score=6, picture=4)
    labels = [fields["pred_label"] for fields, _ in of_kind(found, "score")]
    assert labels == [None, None, True, True, True, True]
    sent = [fields["frame_id"] for fields, _ in of_kind(found, "picture")]
    assert sent == ["f2", "f3", "f4", "f5"]
    none = {"threshold": {"rule": "fixed", "value": 1.9}, "output": {"picture": {"of": "alarms"}}}
    with watched(backbone, topic="line/", **none) as (service, screen, camera):
        shown_frames(camera, range(4))
        found = told(screen, score=4)
        control(service, "flush")
        while not found[-1][0]["is_final"]:
            found += told(screen, revision=1)
    assert of_kind(found, "picture") == []


SCORED = ("frame_id", "seq", "raw_score", "rscin_score", "pred_score", "pred_label", "threshold", "state",
          "regions", "n_references", "anomaly_map")  # fmt: skip


def test_pictures_change_no_score(backbone):
    said = []
    for of in ("none", "alarms", "all"):
        sections = {"threshold": ALARMING, "transport": {"batch": 1}, "output": {"picture": {"of": of}}}
        with watched(backbone, topic="line/score", **sections) as (_, screen, camera):
            shown_frames(camera, range(5))
            found = told(screen, score=5)
            said.append([({key: fields[key] for key in SCORED}, map_) for fields, map_ in found])
    assert said[0] == said[1] == said[2]


def test_streams_have_their_own(backbone):
    streams = [
        {"match": "a", "output": {"picture": {"of": "all"}}},
        {"match": "b", "output": {"picture": {"of": "none"}, "regions": False}},
        {"match": "c", "output": {"picture": {"of": "all", "quality": 5}}},
    ]
    config = small_config(output={"picture": {"side": 40, "quality": 90}}, streams=streams)
    made = Streams(config, None, pytest.fail)
    wanted = {name: made.config_of(name).output for name in "abcd"}
    assert wanted["a"].picture == PictureConfig(of="all", side=40, quality=90)
    assert wanted["b"].picture == PictureConfig(of="none", side=40, quality=90)
    assert wanted["c"].picture == PictureConfig(of="all", side=40, quality=5)
    assert (wanted["b"].regions, wanted["d"].regions) == (False, True)
    with watched(backbone, config) as (_, screen, camera):
        for name in "abcd":
            camera.send(header("one", name), png(picture(1, 50, 80)))
        camera.send(header("two", "c", 1), png(picture(2, 50, 80)))
        found = told(screen, score=5, picture=3)
    sent = {(fields["stream"], fields["frame_id"]): len(jpeg) for fields, jpeg in of_kind(found, "picture")}
    assert sent.keys() == {("a", "one"), ("c", "one"), ("c", "two")}
    assert sent["a", "one"] > sent["c", "one"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"of": "some"}, "output.picture.of: got 'some', input should be 'none', 'alarms' or 'all'"),
        ({"side": 31}, "output.picture.side: got 31, input should be greater than or equal to 32"),
        ({"side": 4097}, "output.picture.side: got 4097, input should be less than or equal to 4096"),
        ({"quality": 0}, "output.picture.quality: got 0"),
        ({"quality": 101}, "output.picture.quality: got 101"),
        ({"qualty": 80}, "qualty"),
    ],
)
def test_what_cannot_be_configured_is_told(value, says):
    with pytest.raises(ConfigError, match=says):
        load({"output": {"picture": value}})


@pytest.mark.parametrize(
    ("shape", "side", "size"),
    [
        ((1080, 1920), 480, (270, 480)),
        ((1920, 1080), 480, (480, 270)),
        ((480, 480), 480, (480, 480)),
        ((481, 481), 480, (480, 480)),
        ((10, 16384), 32, (1, 32)),
        ((16384, 1), 4096, (4096, 1)),
        ((1, 1), 32, (1, 1)),
    ],
)
def test_the_longer_side_is_bounded_and_nothing_is_enlarged(shape, side, size):
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    made = pictures.make(frame, PictureConfig(of="all", side=side))
    assert made.size == size
    assert cv2.imdecode(np.frombuffer(made.jpeg, np.uint8), cv2.IMREAD_COLOR).shape[:2] == size


@pytest.mark.one_process
def test_a_picture_that_cannot_be_made_is_told_and_costs_nothing_else(backbone, monkeypatch):
    """No frame is known that OpenCV makes no JPEG of: the error is raised in its place."""
    real = cv2.imencode

    def imencode(kind, image, options=()):
        if kind == ".jpg" and image.shape[1] == 33:
            raise cv2.error("no\nmemory")
        return real(kind, image, options)

    monkeypatch.setattr(pictures.cv2, "imencode", imencode)
    with watched(backbone, topic="line/", output={"picture": {"of": "all"}}) as (service, screen, camera):
        widths = [33, 33, 40, 33, 40]
        for seed, width in enumerate(widths):
            camera.send(header(f"f{seed}", seq=seed), png(picture(seed, 30, width)))
        found = told(screen, score=5, picture=2)
        status = control(service, "status")
    assert [fields["frame_id"] for fields, _ in of_kind(found, "score")] == [f"f{seed}" for seed in range(5)]
    assert [fields["frame_id"] for fields, _ in of_kind(found, "picture")] == ["f2", "f4"]
    errors = [fields for fields, _ in of_kind(found, "error")]
    assert [(error["frame_id"], error["code"]) for error in errors] == [
        ("f0", "picture_failed"),
        ("f3", "picture_failed"),
    ]
    assert (
        errors[0]["text"]
        == "output.picture: none of this frame (error: no memory); it is scored all the same"
    )
    assert status["streams"]["line"]["warned"] == {"picture_failed": 3}
    assert (status["scored"], status["state"]) == (5, "ready")


def test_a_frame_that_comes_again_has_no_second_picture(backbone, tmp_path):
    made = snapshot_config(
        tmp_path,
        journal=True,
        output={"picture": {"of": "all"}},
        history={"path": str(tmp_path / "h.sqlite")},
    )
    with serving(made, backbone) as service, Screen(service, "line/") as screen:
        play(service, range(3))
        with Camera(service.endpoints["frames"]) as camera:
            camera.picture(1)
            camera.picture(3)
            found = told(screen, picture=4, error=1)
        assert of_kind(found, "error")[0][0]["code"] == "duplicate"
        sent = [fields["frame_id"] for fields, _ in of_kind(found, "picture")]
        assert sent == ["line-0", "line-1", "line-2", "line-3"]
    with (
        serving(made, backbone) as service,
        Screen(service, "line/") as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        camera.picture(2)
        camera.picture(7)
        assert [fields["kind"] for fields in screen.until(3, "picture", "error", "score")] == [
            "error",
            "score",
            "picture",
        ]
        camera.picture(8)
        (fields,) = screen.until(1, "picture")
        assert (fields["frame_id"], fields["pub_seq"]) == ("line-8", 1), "counted anew since the restart"


def test_what_a_journal_replays_sends_no_picture_until_its_score_is_told(tmp_path):
    sections = {"output": {"map_size": 16, "picture": {"of": "all"}}}
    line = Line(tmp_path, frames(3, 6), **sections)
    made = pictures.Picture(b"jpeg", (3, 4))
    for number in range(3):
        assert line.frame(number, picture=made) is not None
    line.outlet.held = True
    line.frame(3, picture=made)
    assert [fields["frame_id"] for fields in line.outlet.of("picture")] == ["f0", "f1", "f2"]
    again = Line(tmp_path, line.parts, **sections)
    assert again.outlet.of("picture") == []
    assert again.frame(3, picture=made) is not None, "its score was not told yet: neither was its picture"
    assert [fields["frame_id"] for fields in again.outlet.of("picture")] == ["f3"]


@pytest.mark.one_process
def test_pictures_of_frames_that_wait_are_bounded_and_go_out_with_them(backbone):
    held = Held(backbone)
    sections = {"transport": {"batch": 1}, "output": {"picture": {"of": "all"}}}
    with watched(held, topic="line/", **sections) as (service, screen, camera):
        ids = held.fill(camera)
        assert service.ledger.totals()["scored"] == 0
        held.release()
        found = [fields["frame_id"] for fields in screen.until(3, "picture")]
    assert found == ids


def test_a_program_gets_them_by_name_and_a_person_in_a_line(backbone):
    assert "picture" not in SHOWN
    with (
        serving(small_config(output={"picture": {"of": "all", "side": 32}}), backbone) as service,
        Subscriber(
            service.endpoints["scores"], "line", kinds=["picture"], timeout_s=PATIENCE_S
        ) as subscriber,
        Subscriber(service.endpoints["scores"], kinds=["status"], timeout_s=PATIENCE_S) as beats,
        Camera(service.endpoints["frames"]) as camera,
        Screen(service) as screen,
    ):
        assert beats.receive().kind == "status"
        for seed in range(3):
            camera.picture(seed)
        screen.until(3, "score")
        message = subscriber.receive()
        assert (message.kind, message["frame_id"], message.anomaly_map) == ("picture", "line-0", None)
        assert cv2.imdecode(np.frombuffer(message.payload, np.uint8), cv2.IMREAD_COLOR).shape == (24, 32, 3)
        said = describe(message).plain
    assert said == f"line/picture line-0  picture 32x24 of 64x48, {len(message.payload)} bytes"


@pytest.mark.parametrize("encoding", ["png16", "float32", "grid"])
def test_the_subscriber_of_the_last_release_hears_everything_it_knows(backbone, encoding):
    """Unknown kinds were passed over, and a message of other than two or three parts not heard at all."""
    sections = {
        "threshold": ALARMING,
        "revise": {"every": 3},
        "transport": {"map_encoding": encoding, "revision_maps": "all"},
        "output": {"picture": {"of": "all"}},
    }
    old_heard, heard = [], []
    with (
        serving(small_config(**sections), backbone) as service,
        old_subscriber.Subscriber(service.endpoints["scores"], timeout_s=PATIENCE_S) as old,
        Screen(service) as screen,
        Screen(service) as waiting,
        Camera(service.endpoints["frames"]) as camera,
    ):
        assert old.receive().kind == "status", "it is connected"
        for seed in range(6):
            camera.picture(seed)
        for seed in range(6, 14):  # the same picture over and over: `frozen`
            camera.send(header(f"line-{seed}", seq=seed), png(picture(5)))
        camera.send({}, b"")
        camera.picture(3)
        told(waiting, error=2, score=14)
        control(service, "pin", stream="line", frame_id="line-13", who="anna")
        control(service, "flush")
        camera.send(header("last", "end"), b"")
        for each, receive in ((old_heard, old.receive), (heard, lambda: as_old(screen.next()))):
            while not each or each[-1].get("frame_id") != "last":
                each.append(receive())
    kinds = [message.kind for message in heard]
    assert kinds.count("picture") == 14
    assert {"score", "revision", "error", "event", "operator", "status"} <= set(kinds)
    known = [message for message in heard if message.kind not in {"picture", "status"}]
    same = [message for message in old_heard if message.kind != "status"]
    assert [dict(message) for message in same] == [dict(message) for message in known]
    assert [message.payload for message in same] == [message.payload for message in known]
    with_map = [message for message in same if message.get("anomaly_map")]
    assert len(with_map) > 13
    for message in with_map:
        if encoding == "grid":
            with pytest.raises(old_subscriber.WireError, match="unknown encoding 'grid'"):
                _ = message.anomaly_map
        else:
            assert message.anomaly_map.shape == (56, 56)


def as_old(parts):
    topic, fields, payload = parts
    return old_subscriber.Message(fields, topic, payload)


def test_the_old_subscriber_is_deaf_to_four_parts():
    """Why a picture is a message of its own, and not a part of the score."""
    parts = [b"line/score", msgpack.packb({"v": 1, "kind": "score"}), b"map", b"picture"]
    with pytest.raises(old_subscriber.WireError, match="got 4 parts"):
        old_subscriber.unpack_message(parts)
    assert old_subscriber.unpack_message(parts[:3]).payload == b"map"


def test_an_error_of_a_picture_names_its_key():
    with pytest.raises(WireError, match=r"output\.picture: none of this frame") as caught:
        pictures.make(np.zeros((40, 40), np.complex128), PictureConfig(of="all", side=32))
    assert caught.value.code == "picture_failed"
