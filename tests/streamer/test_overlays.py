"""Heat maps, outlines and legends: what a person reads off a picture of scores."""

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streamer import outlines, overlays
from streamer.outlines import HALO, LINE, MASK
from streamer.overlays import GAP, Scale

NAN, INF = float("nan"), float("inf")
GREY = np.full((60, 120, 3), 128, np.uint8)


def three(picture):
    """The three panels of a picture."""
    width = (picture.shape[1] - 2 * GAP) // 3
    assert picture.shape[1] == 3 * width + 2 * GAP
    return [picture[:, start : start + width] for start in (0, width + GAP, 2 * (width + GAP))]


def spot():
    """A map with one hot square: rows 10 to 19, columns 20 to 29 of 40 x 40."""
    scores = np.zeros((40, 40), np.float32)
    scores[10:20, 20:30] = 1.0
    return scores


def test_the_colours_are_the_published_ones_and_grow_lighter():
    published = 255 * mpl.colormaps["inferno"](np.arange(256))[:, :3]
    assert np.abs(overlays.table() - published).max() < 1
    lightness = overlays.table() @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > -1.0).all()
    assert lightness[-1] - lightness[0] > 150


def test_a_gradient_has_the_ends_and_the_middle_of_the_colours():
    first, middle, last = (overlays.table()[level] for level in (0, 128, 255))
    assert overlays.stops(3) == ["#" + bytes(colour).hex() for colour in (first, middle, last)]


def test_each_value_has_its_place_on_the_scale():
    values = np.array([[-5.0, 1.0, 2.0, 3.0, 9.0, INF, -INF, NAN]])
    levels = overlays.colours(values, Scale(1, 3))[0, :, ::-1]
    expected = overlays.table()[[0, 0, 128, 255, 255, 255, 0]]
    assert (levels[:-1] == expected).all()
    assert not (levels[-1] == overlays.table()).all(axis=1).any(), "NaN has a colour that no value has"


def test_one_scale_is_of_all_maps_and_leaves_out_what_is_not_finite():
    maps = [np.array([[0.5, NAN], [INF, 1.0]]), np.array([[0.25, 2.0]]), np.array([[NAN, -INF]])]
    scale = Scale.of(maps, threshold=0.5)
    assert (scale.low, scale.high) == (0.25, 2.0)
    assert Scale.of(maps[2:]) == Scale.of([]) == Scale(0, 1)


def test_the_threshold_is_well_inside_the_scale_and_one_outlier_does_not_darken_the_others():
    noise = [np.array([[0.1, 0.2]]) for _ in range(99)]
    scale = Scale.of(noise, threshold=0.5)
    assert scale.share(np.array([0.2, 0.5])) == pytest.approx([0.2, 0.8])
    assert Scale.of([*noise, np.array([[0.1, 80.0]])], threshold=0.5) == scale


def test_without_a_threshold_the_brightest_colours_are_left_free():
    scale = Scale.of([np.array([[0.0, 1.0]])])
    assert scale.share(np.array([1.0])) == pytest.approx([1 / 1.6])


def test_a_picture_that_is_looked_at_alone_has_the_scale_of_its_threshold():
    calm, hot = np.array([[0.1, 0.2]]), np.array([[0.1, 5.0]])
    assert Scale.about(0.5, calm) == Scale.about(0.5, hot) == Scale(0.2, 0.8)
    for useless in (None, 0.0, -1.0, NAN, INF):
        assert Scale.about(useless, calm) == Scale.of([calm])


@pytest.mark.parametrize("ends", [(1, 0), (NAN, 1), (0, INF)])
def test_a_scale_without_order_or_end_is_refused(ends):
    with pytest.raises(ValueError, match="expected two finite numbers in order"):
        Scale(*ends)


def test_panels_show_frame_heat_and_outlines_in_the_frames_shape():
    scores = spot()
    shown = overlays.panels(GREY, scores, Scale(0, 1), 0.5, (scores > 0).astype(np.uint8))
    plain, heat, outlined = three(shown)
    assert plain.shape == (160, 320, 3)
    assert (plain == 128).all()
    hot, cold = heat[160 * 3 // 8, 320 * 5 // 8].astype(int), heat[160 * 7 // 8, 320 // 8]
    assert hot @ [0, 0.5, 0.5] > 180, "the hottest place is bright yellow"
    assert (cold == 128).all(), "what is normal is left as it is"
    assert (outlined == 128).all(axis=2).mean() > 0.8, "most of the frame is left as it is"
    changed = np.argwhere((outlined != 128).any(axis=2))
    assert changed.min(axis=0) == pytest.approx([160 / 4, 320 / 2], abs=8)
    assert changed.max(axis=0) == pytest.approx([160 / 2, 320 * 3 / 4], abs=8)


def test_the_line_at_the_threshold_is_seen_on_white_and_on_black():
    for brightness in (0, 255):
        frame = np.full((320, 320, 3), brightness, np.uint8)
        _, _, outlined = three(overlays.panels(frame, spot(), Scale(0, 1), 0.5))
        assert (outlined == LINE).all(axis=2).sum() > 100
        assert (outlined == HALO).all(axis=2).sum() > 100


def test_the_mask_is_tinted_and_the_threshold_is_another_colour():
    mask = np.zeros((60, 120), bool)
    mask[40:50, 5:30] = True
    _, _, outlined = three(overlays.panels(GREY, np.zeros((4, 4), np.float32), Scale(0, 1), 0.5, mask))
    tinted = outlined[120, 45].astype(float)
    assert tinted == pytest.approx(0.65 * 128 + 0.35 * np.array(MASK), abs=1)
    assert not (outlined == LINE).all(axis=2).any()


def test_nothing_is_outlined_where_nothing_is_wrong():
    frame = np.full((50, 50, 3), 90, np.uint8)
    zeros = np.zeros((10, 10), np.float32)
    shown = overlays.panels(frame, zeros, Scale(0, 0), 0.5, np.zeros((10, 10), np.uint8))
    assert all((panel == 90).all() for panel in three(shown))


def test_one_hot_pixel_of_a_large_map_is_not_lost():
    scores = np.zeros((2000, 3000), np.float32)
    scores[1500, 300] = 1.0
    mask = np.zeros((2000, 3000), np.uint8)
    mask[100, 2900] = 1
    frame = np.full((200, 300, 3), 50, np.uint8)
    _, _, outlined = three(overlays.panels(frame, scores, Scale(0, 1), 0.9, mask))
    rows, columns = np.nonzero((outlined != 50).any(axis=2))
    near = [np.hypot(rows - row, columns - column).min() < 3 for row, column in ((160, 32), (10, 309))]
    assert near == [True, True]


def test_what_is_not_known_is_grey_over_the_frame_and_does_not_spread():
    scores = spot()
    scores[30:, :8] = NAN
    scores[12, 22] = INF
    _, heat, outlined = three(overlays.panels(GREY, scores, Scale(0, 1), 0.5))
    whole = three(overlays.panels(GREY, spot(), Scale(0, 1), 0.5))
    assert (heat[:112] == whole[1][:112]).all()
    assert (outlined == whole[2]).all()


def test_a_map_of_noise_looks_like_noise_where_the_scale_knows_the_threshold():
    noise = np.random.default_rng(0).random((16, 16), np.float32) * 0.2
    _, heat, outlined = three(overlays.panels(GREY, noise, Scale.of([noise], 0.9), 0.9))
    assert np.abs(heat.astype(int) - 128).max() < 25
    assert (outlined == 128).all()


@settings(max_examples=40, deadline=None)
@given(
    st.data(),
    st.tuples(st.integers(1, 9), st.integers(1, 400)),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.sampled_from([np.uint8, np.uint16]),
)
def test_frames_and_maps_of_any_shape_and_content_are_drawn(data, shape, channels, dtype):
    if data.draw(st.booleans()):
        shape = shape[::-1]
    frame = np.full((*shape, *channels), 77, dtype)
    sides = st.tuples(st.integers(1, 400), st.integers(1, 5))
    elements = st.floats(width=32, allow_nan=True, allow_infinity=True)
    scores = data.draw(arrays.arrays(np.float32, sides, elements=elements, fill=st.just(0.5)))
    threshold = data.draw(st.none() | st.floats(width=32))
    scale = Scale.of([scores], threshold)
    mask = np.ones(scores.shape, bool)
    for shown in (frame, None):
        picture = overlays.panels(shown, scores, scale, threshold, mask, side=64)
        plain = three(picture)[0]
        assert max(plain.shape[:2]) == 64
        assert picture.dtype == np.uint8
        if shown is not None and not channels:
            assert (plain[..., 0] == plain[..., 2]).all()
        assert overlays.with_legend(picture, scale, threshold).shape[0] == picture.shape[0] + 50


def test_a_frame_of_sixteen_bits_looks_as_one_of_eight():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    deep = ramp.astype(np.uint16) * 257
    zeros = np.zeros((4, 4), np.float32)
    eight, sixteen = (overlays.panels(frame, zeros, Scale(0, 1)) for frame in (ramp, deep))
    assert (eight == sixteen).all()


@pytest.mark.parametrize(
    ("scale", "value", "said"),
    [
        (Scale(0.0, 1.0), 0.4, "0.40"),
        (Scale(0.0001, 0.0004), 0.00025, "0.000250"),
        (Scale(100.0, 900.0), 512.4, "512"),
        (Scale(0.2, 0.2), 0.2, "0.20000000000"),
        (Scale(0.0, 1e30), 3e29, "3e+29"),
    ],
)
def test_numbers_have_the_digits_that_tell_places_on_the_scale_apart(scale, value, said):
    assert scale.said(value) == said


def test_a_legend_has_the_colours_in_order_and_marks_the_threshold_where_it_lies():
    legend = overlays.legend(Scale(0, 2), None, 512)
    bar = legend[25, :, ::-1]
    assert (bar == overlays.table()[np.round(np.linspace(0, 255, 512)).astype(int)]).all(axis=1).mean() > 0.95
    marked = overlays.legend(Scale(0, 2), 0.5, 512)
    changed = np.nonzero((marked[25] != legend[25]).any(axis=1))[0]
    assert changed.mean() == pytest.approx(512 / 4, abs=2)
    assert (marked[:18] != legend[:18]).any(), "its number stands above"
    assert (legend[34:] != 255).any(), "the ends' numbers stand below"


def test_an_encoded_picture_comes_back_as_it_was_drawn():
    picture = overlays.with_legend(overlays.panels(None, spot(), Scale(0, 1), 0.5), Scale(0, 1), 0.5)
    back = cv2.imdecode(cv2.imencode(".png", picture)[1], cv2.IMREAD_COLOR)
    assert (back == picture).all()


def test_only_a_frame_called_anomalous_has_a_line():
    assert [outlines.level(label, 0.5) for label in (True, False, None)] == [0.5, None, None]
    assert outlines.level(True, None) is None


def test_a_thin_mask_is_seen_on_black_on_white_and_in_its_own_blue():
    mask = np.zeros((320, 320), np.uint8)
    mask[100, 20:300] = 1
    for brightness in (0, 128, 255):
        frame = np.full((320, 320, 3), brightness, np.uint8)
        _, _, drawn = three(overlays.panels(frame, np.zeros((4, 4), np.float32), Scale(0, 1), None, mask))
        blue = (drawn == MASK).all(axis=2)
        assert blue[98:103].sum() > 4 * 280
        assert not blue[:90].any()
        assert (drawn[100, 30:290] != frame[100, 30:290]).any(axis=1).all()


@pytest.mark.parametrize("side", [(37, 53), (320, 320), (5, 5)])
def test_what_reaches_the_threshold_is_outlined_in_whatever_size_it_is_drawn(side):
    """Its one highest point lies between those that are drawn."""
    scores = np.zeros((16, 16), np.float32)
    scores[5, 9] = 0.5
    frame = np.full((*side, 3), 60, np.uint8)
    _, _, outlined = three(overlays.panels(frame, scores, Scale(0, 1), 0.499999))
    assert (outlined == LINE).all(axis=2).any()
    _, _, outlined = three(overlays.panels(frame, scores, Scale(0, 1), 0.500001))
    assert (outlined == 60).all()


def test_the_highest_left_stands_for_what_reached_the_threshold_and_only_then():
    scores, drawn = np.array([[0.1, 0.6]]), np.array([[0.1, 0.2, 0.4, NAN]])
    assert outlines.reaching(drawn, scores, 0.5).tolist() == [[False, False, True, False]]
    assert not outlines.reaching(drawn, scores, 0.7).any()
    assert outlines.reaching(drawn, scores, 0.2).tolist() == [[False, True, True, False]]
