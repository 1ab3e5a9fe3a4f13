"""Frames of tiles through detector and batch: against plain loops, one tile as ever, the real backbone."""

import naive
import numpy as np
import pytest

from musc_online import backbones, batch, config, frames
from musc_online.detector import Detector

N_FRAMES, N_STAGES, SIDE, N_CHANNELS = 6, 2, 4, 8


def tokens(n_tiles, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n_tiles, N_STAGES, 1, SIDE**2, N_CHANNELS))
    own = rng.standard_normal((n_tiles, N_STAGES, N_FRAMES, SIDE**2, N_CHANNELS))
    return (common + 0.7 * own).astype(np.float32)


def classes(n_tiles, seed=1):
    rng = np.random.default_rng(seed)
    each = rng.standard_normal((N_FRAMES, n_tiles, 5)).astype(np.float32)
    return np.stack([frames.join_class_tokens(of_tiles) for of_tiles in each])


def made(rows, cols, overlap, **sections):
    values = {
        "backbone": {"image_size": 14 * SIDE},
        "method": {"degrees": [1, 3]},
        "tiles": {"rows": rows, "cols": cols, "overlap": overlap},
        "ring": {"capacity": N_FRAMES},
        "warmup": 2,
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
    return config.load(values)


@pytest.mark.parametrize(
    ("rows", "cols", "overlap", "image_score"),
    [(2, 2, 0, "max"), (1, 3, 1, "max"), (2, 2, 2, {"worst": 0.1}), (3, 1, 0, {"worst": 0.5})],
)
def test_a_stream_of_tiles_ends_in_the_oracles_scores(rows, cols, overlap, image_score):
    settings = made(rows, cols, overlap, method={"image_score": image_score})
    given, of_frames = tokens(rows * cols), classes(rows * cols)
    per_tile = [naive.mutual_scores(of_tile, (1, 3)) for of_tile in given]
    expected = [
        naive.stitched([scores[image] for scores in per_tile], rows, cols, overlap)
        for image in range(N_FRAMES)
    ]
    step = SIDE - overlap
    grid = rows * step + overlap, cols * step + overlap
    shape = grid[0] * 14, grid[1] * 14
    detector = Detector(settings)
    for image in range(N_FRAMES):
        detector.step_tokens(given[:, :, image], of_frames[image], image, frame_shape=(30, 50))
    worst = None if image_score == "max" else image_score["worst"]
    for image, score in enumerate(detector.flush()):
        assert score.frame_id == image
        assert score.anomaly_map.shape == shape
        map_ = naive.upsample(expected[image], shape, grid)
        np.testing.assert_allclose(score.patch_scores, expected[image], atol=5e-5)
        np.testing.assert_allclose(score.anomaly_map, map_, atol=5e-5)
        assert score.raw_score == pytest.approx(naive.image_score(expected[image], map_, worst), abs=5e-5)


# The first tile of the second is ignored altogether, and part of each other.
MASKS = {"none": None, "part": [[[0, 0], [0.55, 0], [0.55, 0.55], [0, 0.55]]]}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("image_score", ["max", {"worst": 0.2}])
@pytest.mark.parametrize("position", [None, 1])
def test_a_stream_of_tiles_ends_in_its_batch(position, image_score, mask):
    settings = made(2, 2, 1, method={"position": position, "image_score": image_score}, ignore=MASKS[mask])
    given, of_frames = tokens(4), classes(4)
    detector = Detector(settings)
    for image in range(N_FRAMES):
        detector.step_tokens(given[:, :, image], of_frames[image], image)
    flat = given.reshape(-1, N_FRAMES, SIDE**2, N_CHANNELS)
    found = batch.score(settings, flat, of_frames)
    for image, score in enumerate(detector.flush()):
        np.testing.assert_allclose(found.patch_scores[image], score.patch_scores, atol=1e-4)
        np.testing.assert_allclose(found.maps[image], score.anomaly_map, atol=1e-4)
        if mask == "part":
            assert not score.patch_scores.reshape(7, 7)[:4, :4].any()
            assert not score.anomaly_map[:53, :53].any()
        assert found.raw[image] == pytest.approx(score.raw_score, abs=1e-4)
        assert found.rescored[image] == pytest.approx(score.rscin_score, abs=1e-4)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_one_tile_is_a_frame_as_ever(fit):
    """Tokens of one tile give the bytes that they give without the section."""
    given, of_frames = tokens(1), classes(1)
    plain, tiled = Detector(made(1, 1, 0)), Detector(made(1, 1, 0, tiles={"fit": fit}))
    for image in range(N_FRAMES):
        one = plain.step_tokens(given[0, :, image], of_frames[image], image, frame_shape=(40, 40))
        other = tiled.step_tokens(given[0, :, image], of_frames[image], image, frame_shape=(40, 40))
        assert one.raw_score == other.raw_score
        if image:
            assert one.anomaly_map.tobytes() == other.anomaly_map.tobytes()


def test_frames_of_several_shapes_keep_theirs_in_revisions():
    settings = made(1, 1, 0, tiles={"fit": "pad"})
    given, of_frames = tokens(1), classes(1)
    shapes = [(20, 40), (40, 20), (30, 30), (10, 60), (60, 10), (33, 44)]
    detector = Detector(settings)
    for image in range(N_FRAMES):
        detector.step_tokens(given[0, :, image], of_frames[image], image, frame_shape=shapes[image])
    expected = naive.mutual_scores(given[0], (1, 3))
    for image, score in enumerate(detector.flush()):
        view = frames.place(shapes[image], (56, 56), "pad").view
        map_ = naive.upsample(expected[image], 56, (4, 4), view)
        np.testing.assert_allclose(score.anomaly_map, map_, atol=5e-5)
        assert score.raw_score == pytest.approx(map_.max(), abs=5e-5)


def part(seed, defect=None, side=448):
    """A smooth part, the same each time but for noise; a defect is a bright spot at (x, y)."""
    y, x = np.mgrid[:side, :side]
    rng = np.random.default_rng(seed)
    frame = 120 + 60 * np.sin(x / 40) + 40 * np.cos(y / 55) + rng.normal(0, 2, (side, side))
    if defect is not None:
        frame[(x - defect[0]) ** 2 + (y - defect[1]) ** 2 < 100] = 255
    return np.repeat(np.clip(frame, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_the_real_backbone_finds_a_small_defect_in_its_tile():
    """448 x 448 pixels as 2 x 2 tiles of 224: tokens of the tiles' own pixels, a map of 448 x 448."""
    settings = config.load({"tiles": {"rows": 2, "cols": 2}, "ring": {"capacity": 8}, "warmup": 2})
    backbone = backbones.load_configured(settings.backbone)
    defective = part(9, defect=(330, 120))
    prepared = frames.inputs(backbone, defective, settings.tiles)
    for at, (top, left) in enumerate([(0, 0), (0, 224), (224, 0), (224, 224)]):
        window = np.ascontiguousarray(defective[top : top + 224, left : left + 224])
        assert prepared[at].numpy().tobytes() == backbone.prepare(window).numpy().tobytes()
    detector = Detector(settings, backbone=backbone)
    for seed in range(4):
        detector.step(part(seed), seed)
    score = detector.step(defective, "defect")
    assert score.anomaly_map.shape == (448, 448)
    assert score.patch_scores.shape == (32 * 32,)
    assert {"prepare", "backbone", "match"} <= score.latency_ms.keys()
    y, x = np.unravel_index(score.anomaly_map.argmax(), score.anomaly_map.shape)
    assert abs(x - 330) < 30
    assert abs(y - 120) < 30
    assert len(detector.window.entries[4].class_token) == 4 * backbone.class_dim
