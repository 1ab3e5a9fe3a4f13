"""What labels are worth, against figures worked out by hand."""

import json

import numpy as np
import pytest

from bench.metrics import IMAGE_METRICS, image_metrics
from bench.metrics.labels import RATES, flipped, judge, stable_after, threshold_changes
from musc_online.errors import DataError

NO_ANOMALOUS, NO_NORMAL = "no anomalous frame with a label", "no normal frame with a label"
NOTHING_CALLED = "no frame was called anomalous"


def figures(labels_true, said, scores):
    plain = judge(labels_true, said, scores).as_json()
    json.dumps(plain, allow_nan=False)
    return plain


def test_rates_are_of_the_frames_whose_label_was_not_withheld():
    # Of 3 anomalous ones 2 are caught, of 4 normal ones 1 is called; two labels are withheld.
    truth = [0, 1, 1, 0, 1, 0, 0, 1, 0]
    said = [None, None, True, True, True, False, False, False, False]
    raw = [np.nan, 0.1, 0.9, 0.7, 0.8, 0.2, 0.1, 0.6, 0.3]
    found = judge(truth, said, raw)
    assert (found.n_labelled, found.n_withheld) == (7, 2)
    # The best single threshold is 0.6 (3 caught, 1 false alarm): 6 / 7.
    expected = {"recall": 2 / 3, "precision": 2 / 3, "false_alarms": 1 / 4, "f1": 2 / 3, "best_f1": 6 / 7}
    assert found.rates == pytest.approx(expected | {"f1_over_best": 7 / 9})
    assert found.rates.reasons == {}
    assert figures(truth, said, raw) == {"n_labelled": 7, "n_withheld": 2} | dict(found.rates)


def test_nothing_caught_is_a_measured_nought():
    found = figures([1, 1, 0], [False, False, True], [0.2, 0.3, 0.4])
    assert (found["recall"], found["precision"], found["false_alarms"], found["f1"]) == (0, 0, 1, 0)
    assert (found["best_f1"], found["f1_over_best"]) == (pytest.approx(4 / 5), 0)
    assert "reasons" not in found


def test_nothing_called_leaves_precision_undefined():
    found = figures([1, 0], [False, False], [0.2, 0.1])
    assert (found["recall"], found["precision"], found["false_alarms"], found["f1"]) == (0, None, 0, 0)
    assert found["reasons"] == {"precision": NOTHING_CALLED}


def test_without_anomalous_frames_only_false_alarms_and_precision_are_defined():
    found = figures([0, 0, 0, 0, 1], [False, True, False, False, None], [0.1, 0.9, 0.2, 0.3, 0.8])
    assert (found["false_alarms"], found["precision"]) == (1 / 4, 0)
    undefined = ("recall", "f1", "best_f1", "f1_over_best")
    assert [found[name] for name in undefined] == [None] * 4
    assert found["reasons"] == dict.fromkeys(undefined, NO_ANOMALOUS)


def test_without_normal_frames_there_are_no_false_alarms_to_speak_of():
    found = figures([1, 1, 1, 1], [True, False, True, True], [0.4, 0.1, 0.5, 0.6])
    assert (found["recall"], found["precision"], found["f1"]) == (3 / 4, 1, 6 / 7)
    undefined = ("false_alarms", "best_f1", "f1_over_best")
    assert found["reasons"] == dict.fromkeys(undefined, NO_NORMAL)


@pytest.mark.parametrize(
    ("truth", "reason"), [([0, 1], "every label was withheld"), ([], "no frames")], ids=["withheld", "empty"]
)
def test_without_a_label_everything_is_undefined(truth, reason):
    found = figures(truth, [None] * len(truth), [None] * len(truth))
    assert (found["n_labelled"], found["n_withheld"]) == (0, len(truth))
    assert [found[name] for name in RATES] == [None] * len(RATES)
    assert found["reasons"] == dict.fromkeys(RATES, reason)


def test_a_single_threshold_cannot_part_ties_but_labels_of_a_moving_one_may():
    # At 0.5 both of the tied frames are called: 1 caught, 1 false alarm, 2 / 3.
    found = figures([1, 0, 0], [True, False, False], [0.5, 0.5, 0.1])
    assert (found["f1"], found["best_f1"]) == (1, pytest.approx(2 / 3))
    assert found["f1_over_best"] == pytest.approx(1.5)


def test_a_score_that_is_no_number_leaves_only_the_best_undefined():
    found = figures([1, 0], [True, False], [np.nan, 0.1])
    assert (found["f1"], found["best_f1"], found["f1_over_best"]) == (1, None, None)
    assert found["reasons"] == dict.fromkeys(("best_f1", "f1_over_best"), "a score is NaN or infinite")


def test_labels_of_the_best_threshold_are_as_good_as_the_best():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    raw = np.round(rng.random(40) + 0.3 * truth, 1)
    every = [judge(truth, list(raw >= threshold), raw).rates for threshold in np.unique(raw)]
    best = image_metrics(truth, raw)[IMAGE_METRICS[1]]
    assert max(rates["f1"] for rates in every) == pytest.approx(best)
    assert {rates["best_f1"] for rates in every} == {best}
    assert max(rates["f1_over_best"] for rates in every) == pytest.approx(1)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="got 2 true labels, 1 said labels and 2 raw scores"):
        judge([0, 1], [True], [0.1, 0.2])
    with pytest.raises(DataError, match="a true label is None"):
        judge([0, None], [True, True], [0.1, 0.2])


@pytest.mark.parametrize(
    ("thresholds", "changes", "after"),
    [
        ([], [], None),
        ([None, None], [], None),
        ([0.5, 0.5, 0.5], [(1, 0.5)], 0),
        ([None, None, 0.5, 0.5], [(3, 0.5)], 2),
        ([None, 0.8, 0.8, 1.0, 0.96, 1.0], [(2, 0.8), (4, 1.0), (5, 0.96), (6, 1.0)], 3),
        # Each step is below 5 per cent of the last, but the first is 6 per cent away.
        ([0.94, 0.97, 1.0], [(1, 0.94), (2, 0.97), (3, 1.0)], 1),
        ([1.0, 0.5], [(1, 1.0), (2, 0.5)], 1),
    ],
)
def test_the_threshold_over_time(thresholds, changes, after):
    found = [(change["arrival"], change["threshold"]) for change in threshold_changes(thresholds)]
    assert found == changes
    assert stable_after(thresholds) == after


def test_the_best_f1_is_that_of_the_best_of_all_thresholds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        defective, raw = rng.random(12) < 0.4, rng.integers(0, 6, 12).astype(float)
        if not 0 < defective.sum() < 12:
            continue
        each = []
        for threshold in raw:
            called = raw >= threshold
            each.append(2 * (called & defective).sum() / (called.sum() + defective.sum()))
        found = judge(defective, [False] * 12, raw)
        assert found.rate("best_f1") == pytest.approx(max(each), abs=1e-15)
        assert (found.rate("f1"), found.rate("precision")) == (0.0, None)


def test_flips_are_of_frames_that_had_a_label_both_times():
    assert flipped([None, True, False, True], [True, False, False, None]) == (1, 2)
    assert flipped([], []) == (0, 0)
    with pytest.raises(DataError, match="got 1 first and 2 last"):
        flipped([True], [True, False])
