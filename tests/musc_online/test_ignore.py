"""Masks over frames: PNGs and polygons to patches, tiles and pixels; and what cannot be a mask."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from PIL import Image

from musc_online import config, ignore
from musc_online.arrays import Geometry
from musc_online.detector import Detector
from musc_online.errors import ConfigError
from musc_online.tiles import Tiling

CORNER = [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]


def loaded(given, **sections):
    return config.load({"backbone": {"image_size": 56}, "ignore": given, **sections})


def saved(path, pixels, mode=None):
    Image.fromarray(pixels, mode).save(path)
    return str(path)


@settings(max_examples=80, deadline=None)
@given(
    mask=of_numpy.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    grid=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_a_cell_is_ignored_when_more_than_half_of_it_is_covered(mask, grid):
    ignored = ignore.Ignored(mask, "mask.png")
    expected = naive.covered(mask, grid)
    if all(expected):
        with pytest.raises(ConfigError, match=rf"ignore: mask.png covers the frame.* {grid[0]} x {grid[1]} "):
            ignored.cells(grid)
    else:
        assert ignored.cells(grid).ravel().tolist() == expected
        assert ignored.patches(grid).tolist() == expected


@settings(max_examples=25, deadline=None)
@given(
    polygons=st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=6), min_size=1, max_size=3
    )
)
def test_polygons_are_even_odd_and_together(polygons):
    mask = ignore._drawn(tuple(tuple(polygon) for polygon in polygons))
    for row, col in np.random.default_rng(0).integers(0, ignore.RASTER, (40, 2)):
        x, y = (col + 0.5) / ignore.RASTER, (row + 0.5) / ignore.RASTER
        assert mask[row, col] == any(is_inside(x, y, polygon) for polygon in polygons)


def is_inside(x, y, polygon):
    """Whether a ray to the right of the point crosses an odd number of edges."""
    crossed = 0
    for at, (x1, y1) in enumerate(polygon):
        x2, y2 = polygon[(at + 1) % len(polygon)]
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)):
            crossed += 1
    return crossed % 2 == 1


def test_polygons_and_the_same_as_a_picture(tmp_path):
    pixels = np.zeros((10, 8), np.uint8)
    pixels[:5, :4] = 1
    for given_as in (CORNER, saved(tmp_path / "m.png", pixels)):
        ignored = ignore.load(loaded(given_as))
        assert ignored.patches((4, 4)).reshape(4, 4).tolist() == [
            [True, True, False, False],
            [True, True, False, False],
            [False] * 4,
            [False] * 4,
        ]
    assert ignore.load(loaded(None)) is None


def pictures():
    """The same mask in every kind of PNG."""
    painted = np.zeros((4, 4), bool)
    painted[1, 2] = painted[3, 0] = True
    grey = painted.astype(np.uint8) * 7
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[painted] = (0, 0, 1)
    clear = np.full((4, 4, 4), 255, np.uint8)  # white, but seen only where it is painted
    clear[..., 3] = painted
    yield "grey", Image.fromarray(grey)
    yield "grey16", Image.fromarray(painted.astype(np.uint16) * 300)
    yield "one bit", Image.fromarray(grey * 30).convert("1", dither=Image.Dither.NONE)
    yield "rgb", Image.fromarray(rgb)
    yield "palette", Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE)
    yield "rgba", Image.fromarray(clear)
    yield "grey and alpha", Image.fromarray(clear).convert("LA")


@pytest.mark.parametrize(("name", "image"), list(pictures()))
def test_every_kind_of_png(name, image, tmp_path):
    path = tmp_path / "mask.png"
    image.save(path)
    found = ignore.load(loaded(str(path))).cells((4, 4))
    assert np.argwhere(found).tolist() == [[1, 2], [3, 0]], name


def test_of_tiles_each_has_its_own_part():
    tiling = Tiling(2, 2, 4, 1)
    mask = np.random.default_rng(0).random((7, 7)) < 0.4
    mask[:4, :4] = True  # the first tile altogether
    geometry = Geometry(6 * 4, (1,), 16, 8, tiling=tiling)
    maps = ignore.Ignored(mask, "mask").maps(geometry)
    assert maps.shape == (24, 16)
    for tile in range(4):
        row, col = 3 * (tile // 2), 3 * (tile % 2)
        expected = mask[row : row + 4, col : col + 4].ravel().copy()
        if tile == 0:
            expected[0] = False  # a matcher needs one
        for stage in range(6):
            assert maps[tile * 6 + stage].tolist() == expected.tolist()
    one = Geometry(3, (1,), 49, 8)
    assert ignore.Ignored(mask, "mask").maps(one).tolist() == [mask.ravel().tolist()] * 3
    stitched = Geometry(3, (1,), 6, 8, grid=(2, 3))
    assert ignore.Ignored(mask, "mask").maps(stitched).shape == (3, 6)


def test_masks_that_cannot_be_used(tmp_path):
    missing = tmp_path / "none.png"
    (tmp_path / "text.png").write_text("a mask")
    whole = saved(tmp_path / "whole.png", np.full((8, 8), 9, np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    saved(tmp_path / "cut.png", noise)
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.jpg")
    wanted = "expected a PNG that is not black where frames are not looked at"
    for path, says in (
        (missing, f"ignore: {missing}: no such file, {wanted}"),
        (tmp_path, f"ignore: {tmp_path}: cannot be read (Is a directory), {wanted}"),
        (tmp_path / "text.png", "text.png: cannot be read (not a PNG file), expected a PNG"),
        (tmp_path / "photo.jpg", "photo.jpg: cannot be read (not a PNG file), expected a PNG"),
        (tmp_path / "cut.png", "cut.png: cannot be read ("),
        (tmp_path / "two\nlines.png", "two lines.png: no such file, expected a PNG"),
        (whole, f"ignore: {whole} covers the frame, more than half of each of 4 x 4 cells; leave something"),
    ):
        with pytest.raises(ConfigError) as caught:
            Detector(loaded(str(path)))
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        ConfigError, match=r"whole.png has 8 x 8 pixels, expected at most 63 \(limits.pixels\)"
    ):
        ignore.load(loaded(whole, limits={"pixels": 63}))
    with pytest.raises(ConfigError, match=r"ignore: 1 polygon covers the frame"):
        ignore.load(loaded([[[0, 0], [1, 0], [1, 1], [0, 1]]]))


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_a_mask_is_of_stretched_frames(fit):
    with pytest.raises(ConfigError, match=rf"^config: ignore: set with tiles.fit: {fit}, expected stretch"):
        loaded(CORNER, tiles={"fit": fit})


@pytest.mark.parametrize("wrong", [3, [[[0, 0], [1, 0]]], [[[0, 0], [1, 0], [1, 2]]], {"a": 1}, True])
def test_what_is_no_mask_is_told_in_one_line(wrong):
    with pytest.raises(ConfigError) as caught:
        loaded(wrong)
    wanted = "expected the path of a PNG or polygons such as [[[0, 0], [1, 0], [1, 1]]], each of three points"
    assert str(caught.value).startswith(f"config: ignore: got {wrong}, {wanted}")
    assert "\n" not in str(caught.value)


def test_no_polygons_are_no_mask():
    assert config.load({"ignore": []}).ignore is None
    assert config.load({"ignore": [], "tiles": {"fit": "pad"}}).ignore is None
