"""Maps of frames that are not square, padded, cropped or masked, and image scores, against the oracle."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musc_online import anomaly_map, batch, config, frames
from musc_online.anomaly_map import FrameMaps
from musc_online.config import Worst
from musc_online.errors import ConfigError, FrameError
from musc_online.verdict import Verdict

SIDES = st.integers(1, 9)
EDGES = st.sampled_from([(0.0, 1.0), (0.25, 0.75), (0.1, 0.8), (-0.5, 1.5), (-0.3, 1.2), (0.0, 0.6)])


def scores(n_images, n_patches, seed=0):
    return np.random.default_rng(seed).random((n_images, n_patches))


@settings(max_examples=120, deadline=None)
@given(grid=st.tuples(SIDES, SIDES), size=st.tuples(SIDES, SIDES), down=EDGES, across=EDGES)
def test_any_grid_size_and_view_is_the_oracle(grid, size, down, across):
    patches = scores(2, grid[0] * grid[1])
    view = (down[0], across[0], down[1], across[1])
    found = anomaly_map.upsample(patches, size, grid, [view, frames.WHOLE])
    assert found.shape == (2, *size)
    np.testing.assert_allclose(found[0], naive.upsample(patches[0], size, grid, view), atol=1e-6)
    np.testing.assert_allclose(found[1], naive.upsample(patches[1], size, grid), atol=1e-6)


def test_a_square_map_is_the_same_however_it_is_asked_for():
    patches = scores(3, 256)
    plain = anomaly_map.upsample(patches, 224)
    for found in (
        anomaly_map.upsample(patches, (224, 224), (16, 16)),
        anomaly_map.upsample(patches, (224, 224), (16, 16), [frames.WHOLE] * 3),
        FrameMaps(config.load()).maps(patches, [(480, 640)] * 3),
    ):
        assert found.tobytes() == plain.tobytes()
    with pytest.raises(FrameError, match=r"got 256 patches, expected a grid of \(3, 4\)"):
        anomaly_map.upsample(patches, 8, (3, 4))


@settings(max_examples=60, deadline=None)
@given(
    n_patches=st.integers(1, 30),
    worst=st.sampled_from([1e-6, 0.01, 0.1, 0.34, 1.0]),
    values=st.integers(1, 5),
    masked=st.booleans(),
)
def test_the_worst_share_is_the_oracle(n_patches, worst, values, masked):
    rng = np.random.default_rng(n_patches)
    patches = rng.integers(0, values, (3, n_patches)) / 3  # ties
    scored = rng.random((3, n_patches)) < 0.6 if masked else None
    if scored is not None:
        scored[:, 0] = True
    found = anomaly_map.image_scores(patches, np.zeros((3, 1, 1), np.float32), Worst(worst=worst), scored)
    for image in range(3):
        expected = naive.image_score(patches[image], None, worst, None if scored is None else scored[image])
        assert found[image] == pytest.approx(expected, abs=1e-12)
    shuffled = patches[:, rng.permutation(n_patches)]
    assert scored is not None or (
        anomaly_map.image_scores(shuffled, np.zeros((3, 1, 1), np.float32), Worst(worst=worst)).tobytes()
        == found.tobytes()
    )


@settings(max_examples=60, deadline=None)
@given(grid=st.tuples(SIDES, SIDES), down=EDGES, across=EDGES)
def test_patches_at_least_half_inside_of_the_frame(grid, down, across):
    view = (down[0], across[0], down[1], across[1])
    assert anomaly_map.shown(grid, view).tolist() == naive.shown(grid, view)


SHAPES = [(60, 100), (100, 60), (100, 100), (5, 300)]


@pytest.mark.parametrize("image_score", ["max", {"worst": 0.2}])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("rows", [1, 2])
def test_frames_of_other_shapes(fit, image_score, rows):
    settings = config.load(
        {
            "backbone": {"image_size": 56},
            "tiles": {"rows": rows, "cols": 3 * rows - 2, "overlap": rows - 1, "fit": fit},
            "method": {"image_score": image_score},
            "output": {"map_size": 30},
        }
    )
    grid = (4, 4) if rows == 1 else (7, 13)
    shape = (30, 30) if rows == 1 else (16, 30)
    made = FrameMaps(settings)
    patches = scores(len(SHAPES), grid[0] * grid[1])
    maps = made.maps(patches, SHAPES)
    raw = made.raw_scores(patches, maps, SHAPES)
    for image, frame in enumerate(SHAPES):
        view = frames.place(frame, (grid[0] * 14, grid[1] * 14), fit).view
        expected = naive.upsample(patches[image], shape, grid, view)
        np.testing.assert_allclose(maps[image], expected, atol=1e-6)
        worst = None if image_score == "max" else image_score["worst"]
        inside = naive.shown(grid, view) if fit == "pad" else None
        assert raw[image] == pytest.approx(
            naive.image_score(patches[image], maps[image], worst, inside), abs=1e-7
        )


def test_what_lies_beside_a_padded_frame_does_not_count():
    settings = config.load({"backbone": {"image_size": 112}, "tiles": {"fit": "pad"}})
    patches = np.full((1, 64), 0.1)
    patches.reshape(8, 8)[:2] = patches.reshape(8, 8)[6:] = 0.9  # the padding, above and below
    for image_score in ("max", {"worst": 0.01}):
        method = settings.method.model_copy(
            update={"image_score": image_score if image_score == "max" else Worst(worst=0.01)}
        )
        made = FrameMaps(settings.model_copy(update={"method": method}))
        maps = made.maps(patches, [(50, 150)])
        assert made.raw_scores(patches, maps, [(50, 150)])[0] == pytest.approx(0.1)


def test_what_is_ignored_is_0_and_does_not_count():
    corner = [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]
    values = {"backbone": {"image_size": 56}, "ignore": corner}
    patches = scores(2, 16) + 0.1
    patches.reshape(2, 4, 4)[:, :2, :2] = 5.0
    kept = patches.copy()
    kept.reshape(2, 4, 4)[:, :2, :2] = 0.0
    for image_score, worst in (("max", None), ({"worst": 0.5}, 0.5), ({"worst": 1.0}, 1.0)):
        settings = config.load({**values, "method": {"image_score": image_score}})
        made = FrameMaps(settings)
        maps = made.maps(patches)
        raw = made.raw_scores(patches, maps)
        assert not maps[:, :28, :28].any()
        for image in range(2):
            expected = naive.upsample(kept[image], 56)
            expected[:28, :28] = 0.0
            np.testing.assert_allclose(maps[image], expected, atol=1e-6)
            scored = [
                not hidden for hidden in naive.covered(np.kron([[1, 0], [0, 0]], np.ones((2, 2))), (4, 4))
            ]
            assert raw[image] == pytest.approx(
                naive.image_score(patches[image], expected, worst, scored), abs=1e-6
            )
        score = Verdict(settings).score(0, patches[0], maps[0], 9, None)
        np.testing.assert_array_equal(score.patch_scores, kept[0])
        assert score.raw_score == raw[0]


def test_regions_come_with_a_raw_score_that_reaches_the_threshold():
    values = {"backbone": {"image_size": 56}, "threshold": {"rule": "fixed", "value": 0.5}}
    patches = np.full((1, 16), 0.1)
    patches[0, 5] = 0.9
    for image_score, label in (("max", True), ({"worst": 0.2}, False), ({"worst": 0.01}, True)):
        verdict = Verdict(config.load({**values, "method": {"image_score": image_score}}))
        map_ = verdict.frame_maps.maps(patches)[0]
        score = verdict.score(0, patches[0], map_, 9, (100, 200))
        assert score.pred_label is label
        assert bool(score.regions) is label
        assert map_.max() > 0.5


def test_a_batch_says_the_same():
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((2, 5, 16, 8)).astype(np.float32)
    classes = rng.standard_normal((5, 4)).astype(np.float32)
    shapes = [(30, 60), (60, 30), (40, 40), (10, 90), (33, 44)]
    settings = config.load(
        {
            "backbone": {"image_size": 56},
            "tiles": {"fit": "pad"},
            "method": {"degrees": [1], "image_score": {"worst": 0.25}},
        }
    )
    found = batch.score(settings, tokens, classes, frame_shapes=shapes)
    expected = naive.mutual_scores(tokens, (1,))
    np.testing.assert_allclose(found.patch_scores, expected, atol=5e-5)
    for image, shape in enumerate(shapes):
        view = frames.place(shape, (56, 56), "pad").view
        map_ = naive.upsample(expected[image], 56, (4, 4), view)
        np.testing.assert_allclose(found.maps[image], map_, atol=5e-5)
        raw = naive.image_score(expected[image], map_, 0.25, naive.shown((4, 4), view))
        assert found.raw[image] == pytest.approx(raw, abs=5e-5)


@pytest.mark.parametrize("wrong", ["mx", None, {"worst": 0}, {"worst": 1.5}, {"wurst": 0.1}, 0.01])
def test_what_is_no_image_score_is_told_in_one_line(wrong):
    with pytest.raises(ConfigError) as caught:
        config.load({"method": {"image_score": wrong}})
    says = f"config: method.image_score: got {wrong!r}, expected max or {{worst: 0.01}}, a share above 0"
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
