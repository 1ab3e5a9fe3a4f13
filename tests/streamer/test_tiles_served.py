"""Frames of tiles through a real service: maps of the right shape, regions in the frame's pixels, masks."""

import cv2
import msgpack
import numpy as np
import pytest
from streamer_support import Held, backbone, control, header, png, settings, until, watched

from musc_online.config import load
from musc_online.detector import Detector
from musc_online.errors import ConfigError
from streamer.server.decode_pool import DecodePool
from streamer.server.intake import Intake
from streamer.server.outcomes import Ledger, Outcomes
from streamer.server.pipeline import Pipeline
from streamer.server.service import Service
from streamer.server.stream import QueuedFrame, Stream
from streamer.wire.frame import FrameMessage, Limits
from streamer.wire.published import unpack_message

pytestmark = pytest.mark.engines

__all__ = ["backbone"]

HEIGHT, WIDTH = 90, 150
TILES = {"rows": 2, "cols": 2, "overlap": 1}


def picture(seed, defect=False):
    """A frame that is not square, another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = np.random.default_rng(0).integers(60, 200, (6, 8, 3)) + rng.integers(-6, 7, (6, 8, 3))
    frame = cv2.resize(coarse.astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    if defect:
        cv2.circle(frame, (120, 30), 6, (0, 0, 255), -1)
    return frame


def heard(screen, count, kind="score"):
    """The next messages of a kind as a subscriber reads them."""
    found = []
    while len(found) < count:
        topic, fields, payload = screen.next()
        if fields["kind"] == kind:
            parts = [topic.encode(), msgpack.packb(fields), *([] if payload is None else [payload])]
            found.append(unpack_message(parts))
    return found


@pytest.mark.parametrize("encoding", ["float32", "png16"])
def test_a_subscriber_gets_the_detectors_map_of_all_tiles(backbone, encoding):
    config = load(
        settings(
            tiles=TILES,
            transport={"map_encoding": encoding},
            threshold={"rule": "fixed", "value": 0.3},
        )
    )
    shown = [picture(seed, defect=seed == 5) for seed in range(6)]
    detector = Detector(config, backbone=backbone)
    expected = []
    for index, frame in enumerate(shown):
        expected.append(detector.step(frame, f"line-{index}"))
        if detector.revise_due:
            detector.revise()
    with watched(backbone, config) as (service, screen, camera):
        for index, frame in enumerate(shown):
            camera.send(header(f"line-{index}", seq=index), png(frame))
        said = heard(screen, 6)
        status = control(service, "status")["streams"]["line"]
    assert status["tiles"] == {"rows": 2, "cols": 2, "overlap": 1, "fit": "stretch"}
    for message, score in zip(said[1:], expected[1:], strict=True):
        assert message["raw_score"] == score.raw_score
        assert message["anomaly_map"]["shape"] == [98, 98]
        tolerance = 0 if encoding == "float32" else 1e-4
        np.testing.assert_allclose(message.anomaly_map, score.anomaly_map, atol=tolerance)
        assert [tuple(region) for region in message["regions"]] == [
            pytest.approx(region) for region in score.regions
        ]
        assert {"queue", "decode", "wait", "backbone", "score", "total"} <= message["latency_ms"].keys()
    x, y, width, height, _ = said[-1]["regions"][0]
    assert x <= 120 <= x + width <= WIDTH
    assert y <= 30 <= y + height <= HEIGHT


def test_streams_have_their_own_tiles_and_masks_and_wait_together(backbone, tmp_path):
    cv2.imwrite(str(tmp_path / "mask.png"), np.kron([[0, 1]], np.ones((8, 8))).astype(np.uint8))
    config = load(
        settings(
            transport={"batch": 8, "map_encoding": "float32"},
            streams=[
                {"match": "wide", "tiles": {"cols": 3, "fit": "pad"}},
                {"match": "half", "ignore": str(tmp_path / "mask.png"), "output": {"map_size": 40}},
            ],
        )
    )
    shapes = {"line": [56, 56], "wide": [56, 168], "half": [40, 40]}
    with watched(backbone, config) as (service, screen, camera):
        for index in range(4):
            for stream in shapes:
                camera.send(header(f"{stream}-{index}", stream, index), png(picture(index)))
        said = heard(screen, 12)
        tiles = {name: one["tiles"] for name, one in control(service, "status")["streams"].items()}
    assert {name: one["cols"] for name, one in tiles.items()} == {"line": 1, "wide": 3, "half": 1}
    for name, shape in shapes.items():
        maps = [message for message in said if message["stream"] == name and message["raw_score"] is not None]
        assert len(maps) == 3
        assert all(message["anomaly_map"]["shape"] == shape for message in maps)
        if name == "half":
            assert not any(message.anomaly_map[:, 20:].any() for message in maps)
            assert all(message.anomaly_map[:, :20].any() for message in maps)


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (
            {"ignore": "missing.png"},
            r"streams \(match 'a'\): ignore: missing.png: no such file, expected a PNG",
        ),
        (
            {"tiles": {"rows": 2, "overlap": 3}},
            r"streams \(match 'a'\): tiles.overlap: got 3, expected at most 2 patches",
        ),
        (
            {"ignore": {"polygons": []}},
            r"streams \(match 'a'\): config: ignore: got {'polygons': \[\]}, expected the path of a PNG or",
        ),
    ],
)
def test_a_stream_that_cannot_be_is_refused_at_start(stream, says):
    with pytest.raises(ConfigError, match=says):
        Service(load(settings(streams=[{"match": "a", **stream}])))


def test_a_stream_whose_map_has_no_room_beside_the_mask_of_all_is_refused_at_start():
    most = [[[0.0, 0.0], [1.0, 0.0], [1.0, 0.6], [0.0, 0.6]]]
    small = [{"match": "a", "output": {"map_size": 1}}]
    with pytest.raises(ConfigError, match=r"streams \(match 'a'\): ignore: 1 polygon covers the frame"):
        Service(load(settings(ignore=most, streams=small)))


@pytest.mark.one_process
def test_no_more_tiles_wait_for_the_backbone_than_it_takes_at_once(backbone):
    """Prepared tiles are large, and no limit counts them: a frame of many waits alone."""
    held, intake, done = Held(backbone), Intake(10**9), []
    for name in ("line", "other"):
        stream = Stream(name, load({"tiles": {"rows": 2, "cols": 2}}))
        for index in range(3):
            message = FrameMessage(name, index, "png", png(picture(index)))
            intake.offer(QueuedFrame(message, stream, 0), length=3, when_full="block")
    intake.close()
    decoders = DecodePool(Limits(), 60.0)
    pipeline = Pipeline(intake, held, done.append, Outcomes(Ledger()), decoders, 4, pytest.fail)
    decoders.start()
    pipeline.start()
    # One is at the backbone, one waits for it, and each decoding thread has one that there is no room for.
    until(lambda: intake.status()["frames"] == 2 and pipeline._batches._prepared.qsize() == 1)
    assert [thread.name for thread in pipeline._threads].count("decode_all") == 2
    assert pipeline._batches._room._value == 0
    held.release()
    pipeline.join()
    decoders.stop()
    assert len(done) == 6
    for name in ("line", "other"):
        ids = [tokens.queued.message.frame_id for tokens in done if tokens.queued.stream.name == name]
        assert ids == [0, 1, 2]
