"""Frames as tiles: resized once, cut, stretched, padded or cropped, and their class tokens joined."""

import naive
import numpy as np
import pytest
import torch
from backbone_support import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from musc_online import config, frames
from musc_online.detector import Detector
from musc_online.errors import ConfigError, FrameError
from musc_online.tiles import Tiling, grid_of

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))
FITS = st.sampled_from(["stretch", "pad", "crop"])


@pytest.fixture(scope="module")
def backbone():
    return tiny()


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tiles(rows=1, cols=1, overlap=0, fit="stretch"):
    return config.TilesConfig(rows=rows, cols=cols, overlap=overlap, fit=fit)


def test_one_tile_of_a_stretched_frame_is_what_it_always_was(backbone):
    frame = picture(50, 31)
    made = frames.inputs(backbone, frame, tiles())
    assert torch.equal(made, backbone.prepare(frame)[None])


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, rows=st.integers(1, 3), cols=st.integers(1, 3), overlap=st.integers(0, 2), fit=FITS)
def test_tiles_are_windows_of_one_resized_frame(shape, rows, cols, overlap, fit):
    backbone = tiny()
    size, patch = backbone.image_size, backbone.patch_size
    frame = picture(*shape, seed=rows)
    made = frames.inputs(backbone, frame, tiles(rows, cols, overlap, fit))
    assert made.shape == (rows * cols, 3, size, size)
    step = size - overlap * patch
    canvas = rows * step + overlap * patch, cols * step + overlap * patch
    whole = drawn(frame, canvas, fit, backbone)
    for row in range(rows):
        for col in range(cols):
            window = whole[row * step : row * step + size, col * step : col * step + size]
            assert torch.equal(made[row * cols + col], backbone.prepare(np.ascontiguousarray(window)))


def drawn(frame, canvas, fit, backbone):
    """The frame on all tiles' pixels, by PIL and plain loops."""
    height, width = frame.shape[:2]
    size = canvas
    if fit == "pad":
        scale = min(canvas[0] / height, canvas[1] / width)
        size = tuple(
            full if abs(side * scale - full) < 1e-9 else max(1, int(side * scale + 0.5 + 1e-9))
            for side, full in zip((height, width), canvas, strict=True)
        )
    elif fit == "crop":
        share = max(canvas[0] / height, canvas[1] / width)
        kept = [
            side if abs(full / share - side) < 1e-9 else max(1, int(full / share + 0.5 + 1e-9))
            for side, full in zip((height, width), canvas, strict=True)
        ]
        top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
        frame = frame[top : top + kept[0], left : left + kept[1]]
    image = Image.fromarray(np.ascontiguousarray(frame))
    resized = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    top, left = (canvas[0] - size[0]) // 2, (canvas[1] - size[1]) // 2
    whole = np.empty((*canvas, 3), np.uint8)
    for y in range(canvas[0]):
        for x in range(canvas[1]):
            whole[y, x] = resized[
                min(max(y - top, 0), size[0] - 1),
                min(max(x - left, 0), size[1] - 1),
            ]
    return whole


@pytest.mark.parametrize(
    ("shape", "canvas", "fit", "view"),
    [
        ((100, 100), (224, 224), "pad", (0, 0, 1, 1)),
        ((300, 100), (224, 224), "stretch", (0, 0, 1, 1)),
        ((100, 200), (224, 224), "pad", (0.25, 0, 0.75, 1)),
        ((200, 100), (224, 224), "pad", (0, 0.25, 1, 0.75)),
        ((100, 200), (224, 224), "crop", (0, -0.5, 1, 1.5)),
        ((200, 100), (224, 224), "crop", (-0.5, 0, 1.5, 1)),
        ((200, 200), (224, 448), "pad", (0, 0.25, 1, 0.75)),
        ((200, 200), (224, 448), "crop", (-0.5, 0, 1.5, 1)),
    ],
)
def test_where_the_frame_lies_on_the_patches(shape, canvas, fit, view):
    assert frames.place(shape, canvas, fit).view == pytest.approx(view, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(frame=SHAPES, canvas=SHAPES, fit=FITS)
def test_a_frame_is_placed_within_a_pixel(frame, canvas, fit):
    placed = frames.place(frame, canvas, fit)
    for outer, box in ((frame, placed.taken), (canvas, placed.drawn)):
        assert 0 <= box[0] < box[2] <= outer[0]
        assert 0 <= box[1] < box[3] <= outer[1]
        for axis in range(2):  # in the middle
            assert 0 <= (outer[axis] - box[axis + 2]) - box[axis] <= 1
    if fit != "crop":
        assert placed.taken == (0, 0, *frame)
    if fit != "pad":
        assert placed.drawn == (0, 0, *canvas)
    # One side fills the canvas, or all of the frame is taken along it.
    assert any(placed.drawn[a + 2] - placed.drawn[a] == canvas[a] for a in range(2))
    assert any(placed.taken[a + 2] - placed.taken[a] == frame[a] for a in range(2))


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 4), cols=st.integers(1, 4), side=st.integers(1, 7), overlap=st.integers(0, 3))
def test_tiles_are_stitched_as_the_oracle_does(rows, cols, side, overlap):
    overlap = min(overlap, side // 2)
    tiling = Tiling(rows, cols, side, overlap)
    patches = np.arange(rows * cols * side * side).reshape(rows * cols, -1)
    assert patches.ravel()[tiling.source].tolist() == naive.stitched(patches, rows, cols, overlap)
    assert grid_of(rows, cols, overlap, len(tiling.source)) == tiling.grid


def test_patches_that_no_tiles_make():
    with pytest.raises(FrameError, match=r"got 15 patches, expected a square number"):
        grid_of(1, 1, 0, 15)
    with pytest.raises(
        FrameError, match=r"got 16 patches, expected those of 2 x 3 square tiles that share 1"
    ):
        grid_of(2, 3, 1, 16)


def test_what_tiles_show_together():
    values = {"backbone": {"image_size": 56}, "tiles": {"rows": 2, "cols": 3, "overlap": 1}}
    made = config.load(values)
    assert frames.tiling_of(made) == Tiling(2, 3, 4, 1)
    assert frames.canvas(made) == (7 * 14, 10 * 14)
    assert frames.map_shape(made) == (98, 140)
    assert frames.map_shape(config.load({**values, "output": {"map_size": 50}})) == (35, 50)
    one = config.load({"backbone": {"image_size": 56}})
    assert frames.tiling_of(one) is None
    assert frames.map_shape(one) == (56, 56)
    assert frames.map_shape(config.load({"output": {"map_size": 9}})) == (9, 9)


def test_tiles_that_share_more_than_half_are_refused():
    made = config.load({"backbone": {"image_size": 56}, "tiles": {"cols": 2, "overlap": 3}})
    with pytest.raises(ConfigError, match=r"^tiles.overlap: got 3, expected at most 2 patches: half a tile"):
        frames.tiling_of(made)


def test_one_tile_shares_nothing_whatever_the_overlap():
    assert grid_of(1, 1, 9, 16) == (4, 4)
    stream = Detector(config.load({"tiles": {"overlap": 9}}))
    tokens = np.random.default_rng(0).normal(size=(2, 2, 16, 8)).astype(np.float32)
    for image in range(2):
        score = stream.step_tokens(tokens[image], np.ones(3, np.float32), image)
    assert score.anomaly_map.shape == (224, 224)


def test_tokens_of_tiles_too_small_for_their_overlap_are_refused():
    stream = Detector(config.load({"tiles": {"rows": 2, "overlap": 3}}))
    with pytest.raises(FrameError, match=r"got tiles of 4 x 4 patches, expected at least 6 x 6: twice"):
        stream.step_tokens(np.ones((2, 1, 16, 8), np.float32), np.ones(3, np.float32), 0)
    assert stream.ring is None


def test_tiles_of_more_pixels_than_a_frame_may_have_are_refused():
    many = {"tiles": {"rows": 16, "cols": 16}, "ring": {"max_bytes": "1TiB"}}
    Detector(config.load(many))
    says = r"^tiles: got 16 x 16 of 518 x 518 pixels, together 8288 x 8288, expected at most 64000000 pixels"
    with pytest.raises(ConfigError, match=says):
        Detector(config.load({**many, "backbone": {"image_size": 518}}))


def test_so_many_tiles_are_extracted_at_once_and_no_more(backbone):
    taken, frame = [], picture(60, 90)

    class Watched:
        def extract(self, inputs):
            taken.append(len(inputs))
            return backbone.extract(inputs)

    made = frames.inputs(backbone, frame, tiles(3, 3))
    expected = backbone.extract(made)
    found = frames.extract(Watched(), made, 4)
    assert taken == [4, 4, 1]
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_class_tokens_are_joined_so_that_similarities_are_means():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 4, 8)).astype(np.float32)
    unit = [tokens / np.linalg.norm(tokens, axis=1, keepdims=True) for tokens in (one, other)]
    joined = [frames.join_class_tokens(tokens) for tokens in (one, other)]
    assert joined[0].shape == (32,)
    assert joined[0].dtype == np.float32
    assert np.linalg.norm(joined[0]) == pytest.approx(1.0, abs=1e-6)
    assert joined[0] @ joined[1] == pytest.approx((unit[0] * unit[1]).sum(axis=1).mean(), abs=1e-6)
    assert frames.join_class_tokens(one[:1]).tolist() == one[0].tolist()  # of one tile, as it is
    tensor = frames.join_class_tokens(torch.from_numpy(one))
    assert tensor.numpy().tobytes() == joined[0].tobytes()
    assert np.isfinite(frames.join_class_tokens(np.zeros((2, 3), np.float32))).all()


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), "frame"])
def test_no_frame(backbone, wrong):
    for cut in (tiles(), tiles(2, 2), tiles(fit="pad")):
        with pytest.raises(FrameError, match=r"^frame: got"):
            frames.inputs(backbone, wrong, cut)


@pytest.mark.parametrize("channels", [None, 1, 2, 4])
def test_a_detector_takes_grey_and_alpha(backbone, channels):
    """Grey is three equal channels, alpha is dropped."""
    wanted = config.load({"backbone": {"image_size": backbone.image_size, "stages": [*backbone.stages]}})
    plain, other = Detector(wanted, backbone=backbone), Detector(wanted, backbone=backbone)
    for seed in range(2):
        colour = picture(50, 31, seed)
        if channels != 4:
            colour[:] = colour[..., :1]
        alpha = picture(50, 31, 9)[..., :1]
        frame = {
            None: colour[..., 0],
            1: colour[..., :1],
            2: np.dstack([colour[..., :1], alpha]),
            4: np.dstack([colour, alpha]),
        }[channels]
        expected, score = plain.step(colour, seed), other.step(frame, seed)
        assert score.raw_score == expected.raw_score
    with pytest.raises(FrameError, match=r"got shape \[4, 4, 5\], expected \[height, width, 3\] uint8 BGR"):
        plain.step(np.zeros((4, 4, 5), np.uint8), "five")
    with pytest.raises(FrameError, match=r"scale it to 0\.\.255"):
        plain.step(np.zeros((4, 4), np.uint16), "deep")
