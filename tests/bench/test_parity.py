"""The parity verdict: what breaks it, and when it is not asked for."""

import numpy as np
import pytest

from bench.metrics import Metrics
from bench.replay.independent import Distances
from bench.replay.parity import judged, not_asked
from bench.replay.scored import Scored
from musc_online import config

NAN = float("nan")


def scored(shift=0.0, map_shift=0.0, rescored_shift=0.0):
    rng = np.random.default_rng(1)
    maps = rng.random((6, 5, 5)).astype(np.float32)
    raw = maps.max(axis=(1, 2)).astype(np.float64)
    rescored = raw.copy()
    raw[2] += shift
    maps[4, 1, 1] += map_shift
    rescored[0] += rescored_shift
    return Scored(raw, rescored, maps)


def levels(auroc):
    return {
        "image": Metrics({"auroc": auroc}),
        "image_raw": Metrics({"auroc": 0.5}),
        "pixel": Metrics({"pro": 0.5}),
    }


def test_equal_scores_hold():
    verdict = judged(scored(), scored(), (levels(0.9), levels(0.9)))
    assert verdict.holds is True
    assert verdict.max_abs_image_score == verdict.max_abs_map == verdict.max_abs_metric == 0


def test_noise_of_float32_holds_and_is_told():
    verdict = judged(scored(), scored(5e-5, 5e-5), (levels(0.9), levels(0.90005)))
    assert verdict.holds is True
    assert verdict.max_abs_image_score == pytest.approx(5e-5)
    assert verdict.max_abs_map == pytest.approx(5e-5, rel=1e-2)
    assert verdict.max_abs_metric == pytest.approx(5e-5)


@pytest.mark.parametrize(
    "other",
    [
        (scored(shift=2e-4), 0.9),
        (scored(shift=-2e-4), 0.9),
        (scored(map_shift=2e-4), 0.9),
        (scored(shift=NAN), 0.9),
        (scored(map_shift=NAN), 0.9),
        (scored(), 0.9002),
        (scored(), NAN),
    ],
    ids=["score", "score below", "map", "no score", "no map", "metric", "metric undefined"],
)
def test_one_number_off_breaks_it(other):
    scores, auroc = other
    assert judged(scored(), scores, (levels(0.9), levels(auroc))).holds is False


def test_undefined_on_both_sides_is_agreement():
    verdict = judged(scored(), scored(), (levels(NAN), levels(NAN)))
    assert verdict.holds is True
    assert verdict.max_abs_metric == 0


def test_without_labels_the_scores_decide():
    assert judged(scored(), scored(), None).holds is True
    assert judged(scored(), scored(2e-4), None).holds is False
    assert judged(scored(), scored(), None).as_json()["max_abs_metric"] is None


def test_not_asked_for_is_neither_kept_nor_broken_and_says_why():
    verdict = judged(scored(), scored(0.3), None, "the ring holds 3 of 6 images")
    assert verdict.holds is None
    assert verdict.as_json()["reason"] == "the ring holds 3 of 6 images"
    assert verdict.max_abs_image_score == pytest.approx(0.3)


def test_json_has_no_nan():
    said = judged(scored(), scored(NAN), None, independent=Distances(2, NAN, 1e-6)).as_json()
    assert said["max_abs_image_score"] is None
    assert said["independent"] == {
        "n_images": 2,
        "max_abs_patch_score": None,
        "max_abs_image_score": pytest.approx(1e-6),
    }


@pytest.mark.parametrize("reason", ["", "the ring holds 3 of 6 images"])
@pytest.mark.parametrize(("patch", "image"), [(2e-4, 0.0), (0.0, 2e-4), (NAN, 0.0), (0.0, NAN)])
def test_a_batch_far_from_the_second_way_breaks_it_whatever_the_ring(patch, image, reason):
    near, far = Distances(2, 9e-5, 9e-5), Distances(2, patch, image)
    assert judged(scored(), scored(), None, reason, near).holds is (None if reason else True)
    assert judged(scored(), scored(), None, reason, far).holds is False


@pytest.mark.parametrize(
    ("changes", "n_images", "n_subsets", "reason"),
    [
        ({"ring": {"capacity": 20}}, 20, 1, ""),
        ({"ring": {"capacity": 30}}, 20, 1, ""),
        ({"ring": {"capacity": 20, "subsets": 4}}, 20, 1, ""),
        ({"ring": {"capacity": 20, "subsets": 4, "score_against": 4}}, 20, 1, ""),
        ({"ring": {"capacity": 19}}, 20, 1, "the ring holds 19 of 20 images"),
        ({"ring": {"capacity": 20, "subsets": 4, "score_against": 3}}, 20, 1, "against 3 of 4 subsets"),
        ({"ring": {"capacity": 20}, "deadline_ms": 5}, 20, 1, "deadline_ms: 5 may leave references out"),
        ({"ring": {"capacity": 20, "admit": "all"}}, 20, 1, ""),
        (
            {"ring": {"capacity": 20, "admit": "below_threshold"}},
            20,
            1,
            "ring.admit: below_threshold may keep",
        ),
        ({"ring": {"capacity": 20, "admit": "pinned_only"}}, 20, 1, "ring.admit: pinned_only may keep"),
        ({"ring": {"capacity": 20}}, 20, 3, "the batch is divided into 3 subsets"),
    ],
)
def test_parity_is_asked_for_exactly_when_the_ring_sees_every_pair(changes, n_images, n_subsets, reason):
    said = not_asked(config.load(changes), n_images, n_subsets)
    assert reason in said
    assert bool(said) == bool(reason)
