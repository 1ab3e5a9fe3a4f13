"""Maps as patch grids through a real service: what a subscriber gets is what it gets of whole maps."""

import cv2
import numpy as np
import pytest
from snapshot_support import play
from streamer_support import Camera, backbone, control, header, png, serving, settings, small_config

from musc_online.config import load
from streamer.maps import grid_of_map
from streamer.subscribe import Subscriber
from streamer.wire.published import unpack_message

pytestmark = pytest.mark.engines

__all__ = ["backbone"]

CORNER = [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]
STREAMS = [
    {"match": "tiles", "tiles": {"rows": 2, "cols": 3, "overlap": 1}, "output": {"map_size": 90}},
    {"match": "pad", "tiles": {"fit": "pad"}},
    {"match": "crop", "tiles": {"rows": 1, "cols": 2, "fit": "crop"}},
    {"match": "masked", "ignore": CORNER, "output": {"map_size": 40}},
    {"match": "plain", "warmup": 2},
]
NAMES = [one["match"] for one in STREAMS]
GRIDS = {"tiles": [7, 10], "pad": [4, 4], "crop": [4, 8], "masked": [4, 4], "plain": [4, 4]}
FRAMES = 5


def picture(seed, height, width):
    rng = np.random.default_rng(seed)
    coarse = np.random.default_rng(0).integers(60, 200, (6, 8, 3)) + rng.integers(-6, 7, (6, 8, 3))
    return cv2.resize(coarse.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def maps_of(backbone, encoding):
    """Every message with a map, by stream, kind, id and revision, of streams that end in a flush."""
    made = load(
        settings(
            transport={"map_encoding": encoding, "revision_maps": "all", "batch": 1},
            ring={"capacity": 4},
            revise={"every": 3},
            streams=STREAMS,
        )
    )
    found, scored, finals = {}, 0, 0
    with (
        serving(made, backbone) as service,
        Subscriber(service.endpoints["scores"], kinds=["score", "revision", "status"]) as subscriber,
        Camera(service.endpoints["frames"]) as camera,
    ):
        assert subscriber.receive().kind == "status", "it is connected"
        for seed in range(FRAMES):
            for name in NAMES:
                shape = (50, 90) if seed % 2 else (90, 60)
                camera.send(header(f"f{seed}", name, seed), png(picture(seed, *shape)))
        while finals < FRAMES * len(NAMES):
            message = subscriber.receive()
            if message.kind == "status":
                continue
            scored += message.kind == "score"
            if message.kind == "score" and scored == FRAMES * len(NAMES):
                control(service, "flush")  # it came by another socket: a frame behind it would not be final
            finals += message["is_final"]
            if message["anomaly_map"] is not None:
                key = (message["stream"], message.kind, message["frame_id"], message["revision"])
                found[key] = message
    return found


def test_grids_and_whole_maps_are_equal(backbone):
    grids, wholes = maps_of(backbone, "grid"), maps_of(backbone, "float32")
    assert grids.keys() == wholes.keys()
    assert {(name, kind) for name, kind, _, _ in grids} == {
        (name, kind) for name in NAMES for kind in ("score", "revision")
    }
    for key, message in grids.items():
        entry, whole = message["anomaly_map"], wholes[key]
        np.testing.assert_allclose(message.anomaly_map, whole.anomaly_map, rtol=0, atol=1e-6)
        assert (entry["encoding"], entry["grid"]) == ("grid", GRIDS[key[0]])
        assert {name: entry[name] for name in ("shape", "min", "max")} == {
            name: whole["anomaly_map"][name] for name in ("shape", "min", "max")
        }
        assert (entry["view"] is not None) == (key[0] in {"pad", "crop"})
        assert len(message.payload) == 4 * np.prod(entry["grid"]) + entry["mask_bytes"]
        same = ("raw_score", "rscin_score", "pred_label", "regions", "threshold")
        assert [message[name] for name in same] == [whole[name] for name in same]
        scores, view = grid_of_map(entry, message.payload)
        assert scores.max() >= message["raw_score"] - 1e-6 or view is not None or key[0] == "masked"
    masked = [message for key, message in grids.items() if key[0] == "masked"]
    assert all(message["anomaly_map"]["mask_bytes"] for message in masked)
    assert not any(message.anomaly_map[:20, :20].any() for message in masked)


def test_what_the_history_gives_is_the_same_grid(backbone):
    with serving(small_config(transport={"map_encoding": "grid"}), backbone) as service:
        play(service, range(3))
        kept = control(service, "history", topic="line/score")["messages"]
    assert [message["map"] is None for message in kept] == [True, False, False]
    for message in kept[1:]:
        said = unpack_message([message["topic"].encode(), message["header"], message["map"]])
        assert said["anomaly_map"]["grid"] == [4, 4]
        assert said.anomaly_map.max() == pytest.approx(said["raw_score"], abs=1e-6)
        assert len(message["map"]) == 64
