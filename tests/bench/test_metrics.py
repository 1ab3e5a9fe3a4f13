"""The metrics against plain loops, scikit-learn and the published figures; what is undefined is NaN."""

import math

import naive_metrics as naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from bench.metrics import (
    IMAGE_METRICS,
    PIXEL_METRICS,
    image_metrics,
    pixel_curves,
    pixel_metrics,
    ranks,
)
from musc_online.errors import DataError


def blobs(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Masks with a few rectangles each, some of them touching by a corner; the first image is normal."""
    masks = np.zeros((n, size, size), np.uint8)
    for mask in masks[1:]:
        for _ in range(3):
            row, column = rng.integers(0, size - 3, 2)
            mask[row : row + rng.integers(1, 4), column : column + rng.integers(1, 4)] = 1
    masks[1, 0, 0] = masks[1, 1, 1] = 1
    return masks


def expected_pixel(masks: np.ndarray, maps: np.ndarray) -> dict[str, float]:
    labels, values = masks.ravel() > 0, maps.ravel()
    precision, recall, _ = precision_recall_curve(labels, values)
    return {
        "auroc": roc_auc_score(labels, values),
        "f1_max": float((2 * precision * recall / np.maximum(precision + recall, 1e-300)).max()),
        "ap": average_precision_score(labels, values),
        "pro": naive.published_pro(masks, maps),
        "pro_exact": naive.exact_pro(masks, maps, 0.3),
        "pro_05": naive.exact_pro(masks, maps, 0.05),
    }


@pytest.mark.parametrize("name", ["small", "visa_like"])
def test_golden(golden, name):
    recorded = golden(name)
    image = image_metrics(recorded["labels"], recorded["rscin_scores"])
    np.testing.assert_allclose([image[key] for key in IMAGE_METRICS], recorded["image_metrics"], atol=1e-5)
    pixel = pixel_metrics(recorded["masks"], recorded["pixel_maps"])
    np.testing.assert_allclose(
        [pixel[key] for key in PIXEL_METRICS[:3]], recorded["pixel_metrics"][:3], atol=1e-4
    )
    assert pixel["pro"] == pytest.approx(recorded["pixel_metrics"][3], abs=5e-3)


def test_golden_pixel_maps_in_plain_loops(golden):
    recorded = golden("small")
    masks, maps = recorded["masks"][:, 0], recorded["pixel_maps"][:, 0].astype(np.float64)
    got = pixel_metrics(masks, maps)
    for key, value in expected_pixel(masks, maps).items():
        assert got[key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [None, 40, 3, 2])
def test_pixel_metrics_against_plain_loops(dtype, levels):
    rng = np.random.default_rng(0 if levels is None else levels)
    masks = blobs(rng, 5, 16)
    maps = (rng.random(masks.shape) ** 2 + 0.4 * masks).astype(dtype)
    if levels:  # many ties
        maps = np.floor(maps * levels / 1.4).astype(dtype) / dtype(7)
    got, expected = pixel_metrics(masks, maps), expected_pixel(masks, maps)
    assert list(got) == list(PIXEL_METRICS)
    for key in PIXEL_METRICS:
        assert got[key] == pytest.approx(expected[key], abs=1e-9, nan_ok=key == "pro"), key
    assert math.isnan(got["pro"]) == (levels in (2, 3))  # too few rates below 0.3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 9), st.booleans())
def test_pixel_metrics_against_plain_loops_on_any_small_set(seed, n_images, n_levels, scattered):
    rng = np.random.default_rng(seed)
    masks = (rng.random((n_images, 5, 6)) < (0.4 if scattered else 0.05)).astype(np.uint8)
    masks[0, 0, 0], masks[-1, 4, 5] = 1, 0
    maps = rng.integers(0, n_levels, masks.shape).astype(np.float32) * np.float32(0.1)
    maps[0, 0, 1], maps[0, 1, 0] = maps.min(), maps.min() + np.float32(0.05)
    got = pixel_metrics(masks, maps)
    labels, values = masks.ravel() > 0, maps.ravel()
    assert got["auroc"] == pytest.approx(naive.roc_area(labels, values), abs=1e-9)
    assert got["ap"] == pytest.approx(naive.average_precision(labels, values), abs=1e-9)
    assert got["f1_max"] == pytest.approx(naive.f1_max(labels, values), abs=1e-9)
    assert got["pro_exact"] == pytest.approx(naive.exact_pro(masks, maps, 0.3), abs=1e-9)
    assert got["pro_05"] == pytest.approx(naive.exact_pro(masks, maps, 0.05), abs=1e-9)


def test_perfect_inverted_and_constant_maps():
    masks = blobs(np.random.default_rng(1), 4, 12)
    perfect = pixel_metrics(masks, masks.astype(np.float32))
    assert [perfect[key] for key in ("auroc", "f1_max", "ap", "pro_exact", "pro_05")] == pytest.approx(
        [1.0] * 5
    )
    assert pixel_metrics(masks, -masks.astype(np.float32))["auroc"] == 0.0
    constant = pixel_metrics(masks, np.full(masks.shape, 0.3, np.float32))
    assert constant["auroc"] == 0.5
    assert constant["pro_exact"] == pytest.approx(0.15)  # the diagonal, up to 0.3
    assert math.isnan(constant["pro"])
    assert "published thresholds" in constant.reasons["pro"]


def test_metrics_do_not_depend_on_scale_shift_or_order():
    rng = np.random.default_rng(2)
    masks = blobs(rng, 6, 20)
    maps = rng.random(masks.shape) + 0.2 * masks
    order = rng.permutation(len(masks))
    got, moved = pixel_metrics(masks, maps), pixel_metrics(masks[order], 8 * maps[order] - 16)
    assert moved == pytest.approx(got, abs=1e-9)


def test_tensors_and_a_channel_axis():
    rng = np.random.default_rng(3)
    masks = blobs(rng, 4, 12)
    maps = rng.random(masks.shape).astype(np.float32)
    tensors = pixel_metrics(
        torch.from_numpy(masks)[:, None], torch.from_numpy(maps)[:, None].requires_grad_()
    )
    assert tensors == pixel_metrics(masks, maps)
    assert pixel_metrics(masks * np.uint8(255), maps) == pixel_metrics(masks.astype(bool), maps)
    halves = maps.astype(np.float16)
    assert pixel_metrics(masks, halves) == pytest.approx(pixel_metrics(masks, halves.astype(np.float64)))


def test_many_small_parts_give_the_same(monkeypatch):
    rng = np.random.default_rng(6)
    masks = blobs(rng, 9, 12)
    maps = rng.integers(0, 50, masks.shape).astype(np.float32)
    whole = pixel_metrics(masks, maps)
    monkeypatch.setattr(ranks, "PART_PIXELS", 100)
    assert pixel_metrics(masks, maps) == whole


@pytest.mark.parametrize("levels", [8, 1 << 20])
def test_curves_lead_to_the_metrics(levels):
    rng = np.random.default_rng(7)
    masks = blobs(rng, 5, 24)
    maps = np.floor((rng.random(masks.shape) + 0.3 * masks) * levels)
    curves, metrics = pixel_curves(masks, maps), pixel_metrics(masks, maps)
    for rate, height in curves.values():
        assert (rate[0], height[0], rate[-1], height[-1]) == (0, 0, 1, 1)
        assert (np.diff(rate) >= 0).all()
        assert (np.diff(height) >= 0).all()
    assert auc(*curves["roc"]) == pytest.approx(metrics["auroc"], abs=2e-3)
    rate, overlap = curves["pro"]
    inside = np.linspace(0, 0.3, 20001)
    assert np.interp(inside, rate, overlap).mean() == pytest.approx(metrics["pro_exact"], abs=4e-3)
    assert pixel_curves(np.zeros_like(masks), maps) == {}


def test_inputs_are_left_alone():
    rng = np.random.default_rng(4)
    masks = blobs(rng, 4, 12)
    maps = rng.random(masks.shape)
    kept = masks.copy(), maps.copy()
    pixel_metrics(masks, maps)
    np.testing.assert_array_equal(masks, kept[0])
    np.testing.assert_array_equal(maps, kept[1])


@pytest.mark.parametrize(
    ("masks", "value", "reason"),
    [
        (np.zeros((2, 4, 4)), 0.0, "no anomalous pixel"),
        (np.ones((2, 4, 4)), 0.0, "no normal pixel"),
        (np.zeros((0, 4, 4)), 0.0, "no pixels"),
        (np.eye(4)[None].repeat(2, 0), np.nan, "a map value is NaN or infinite"),
        (np.eye(4)[None].repeat(2, 0), np.inf, "a map value is NaN or infinite"),
    ],
)
def test_undefined_pixel_metrics_are_nan_with_a_reason(masks, value, reason):
    maps = np.random.default_rng(0).random(masks.shape)
    maps[..., :1, :1] += value
    got = pixel_metrics(masks, maps)
    assert all(math.isnan(number) for number in got.values())
    assert got.reasons == dict.fromkeys(PIXEL_METRICS, reason)


def test_image_metrics_against_plain_loops():
    rng = np.random.default_rng(5)
    for n_levels in (2, 5, 1000):
        labels = np.append(rng.random(40) < 0.3, [True, False])
        scores = rng.integers(0, n_levels, 42) / 7
        got = image_metrics(labels, scores)
        assert got["auroc"] == pytest.approx(naive.roc_area(labels, scores), abs=1e-12)
        assert got["ap"] == pytest.approx(naive.average_precision(labels, scores), abs=1e-12)
        assert got["f1_max"] == pytest.approx(naive.f1_max(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        ([], [], "no images"),
        ([0, 0], [1.0, 2.0], "no anomalous image"),
        ([1, 1], [1.0, 2.0], "no normal image"),
        ([0, 1], [1.0, np.nan], "a score is NaN or infinite"),
        ([None, None], [1.0, 2.0], "an image has no label"),
    ],
)
def test_undefined_image_metrics_are_nan_with_a_reason(labels, scores, reason):
    got = image_metrics(labels, scores)
    assert all(math.isnan(number) for number in got.values())
    assert got.reasons == dict.fromkeys(IMAGE_METRICS, reason)


def test_constant_image_scores_are_defined():
    got = image_metrics([0, 1, 0, 0], [2.0, 2.0, 2.0, 2.0])
    assert got == {"auroc": 0.5, "f1_max": pytest.approx(0.4), "ap": 0.25}
    assert got.reasons == {}


def test_shapes_are_checked():
    with pytest.raises(DataError, match="got 2 labels and 3 scores"):
        image_metrics([0, 1], [1, 2, 3])
    with pytest.raises(DataError, match=r"masks are \(1, 2, 2\) and maps \(1, 3, 3\), expected equal shapes"):
        pixel_metrics(np.zeros((1, 2, 2)), np.zeros((1, 3, 3)))
    with pytest.raises(DataError, match=r"masks have shape \(4,\), expected \[N, H, W\]"):
        pixel_metrics(np.zeros(4), np.zeros(4))
