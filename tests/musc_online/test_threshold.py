"""The threshold's rules against plain loops, and what they promise whatever the scores are."""

import math

import naive_stream
import naive_threshold
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from musc_online import config, threshold
from musc_online.threshold import FLOOR, LEAST_NORMAL

FALSE_ALARMS = st.sampled_from([0.001, 0.02, 0.05, 0.149])


@st.composite
def windows(draw, low=0.0, min_size=1):
    """Raw scores of a window: spread, tied, constant, below the floor, with defects near and far."""
    kind = draw(st.sampled_from(["few", "grid", "many", "constant", "copies"]))
    if kind == "few":
        return draw(st.lists(st.floats(low, 3), min_size=min_size, max_size=12))
    if kind == "grid":
        values = st.sampled_from([low, low + 0.01, low + 0.02, 0.2, 0.21, 0.3, 1.0])
        return draw(st.lists(values, min_size=min_size, max_size=60))
    if kind == "constant":
        return [draw(st.floats(low, 3))] * draw(st.integers(min_size, 60))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    level = draw(st.sampled_from([0.06, 0.3, 1.0]))
    n = draw(st.sampled_from([29, 30, 31, 80]))
    scores = level * np.exp(rng.normal(0, draw(st.sampled_from([0.02, 0.1, 0.3])), n))
    share = draw(st.sampled_from([0.0, 0.1, 0.45, 0.7]))
    scores[: int(share * n)] *= draw(st.sampled_from([1.3, 3.0, 20.0]))
    if kind == "copies":
        scores[rng.integers(0, n, n // 3)] = scores[-1]
    return np.maximum(rng.permutation(scores), low).tolist()


def rule(name, **values):
    return config.load({"threshold": {"rule": name, "value": 0.4, **values}}).threshold


def same(ours, theirs):
    return ours == theirs or math.isclose(ours, theirs, rel_tol=1e-9)


@given(windows(), FALSE_ALARMS)
@example([0.0], 0.02)
@example([0.5], 0.02)
@example([0.0] * 40, 0.02)
def test_auto_is_the_oracles(scores, false_alarms):
    assert same(threshold.auto(np.array(scores), false_alarms), naive_threshold.auto(scores, false_alarms))


@given(windows(low=FLOOR))
def test_the_gap_is_the_oracles(scores):
    assert same(threshold.gap(np.array(scores)), naive_threshold.gap(scores))


def test_a_gap_is_where_two_groups_lie_far_apart():
    rng = np.random.default_rng(0)
    scores = np.exp(rng.normal(0, 0.1, 100))
    assert threshold.gap(scores) == math.inf
    scores[80:] *= 3
    assert scores[:80].max() < threshold.gap(scores) < scores[80:].min()
    assert threshold.gap(scores[60:85]) == math.inf  # too few to speak of groups


@given(windows(), FALSE_ALARMS)
def test_auto_calls_most_frames_normal(scores, false_alarms):
    limit = threshold.auto(np.array(scores), false_alarms)
    assert limit > FLOOR
    assert np.mean(np.array(scores) < limit) >= LEAST_NORMAL


@pytest.mark.parametrize(("spread", "nearest_defect"), [(0.0, 1.1), (0.03, 1.13), (0.05, 1.16), (0.09, 1.27)])
def test_frames_that_spread_less_have_a_nearer_limit(spread, nearest_defect):
    """One spread for all sets hid defects of sets whose good frames are much alike, the first three here."""
    good = 0.5 * np.exp(np.random.default_rng(0).normal(0, spread, 400))
    limit = threshold.auto(good, 0.02)
    assert np.mean(good >= limit) <= 0.02
    assert limit < 0.5 * nearest_defect
    usual = np.quantile(good, 0.85) * np.exp(0.113 * 1.0173 * (1 + 8 / 400))
    assert limit <= usual * (1 + 1e-9)
    assert (0.5 * nearest_defect < usual) == (limit < 0.98 * usual) == (spread <= 0.05)


def test_a_few_copies_far_below_do_not_make_the_rest_anomalous():
    """Thirty of one picture are a group of their own, and all frames of the line lie above the gap."""
    line = 0.3 * np.exp(np.random.default_rng(0).normal(0, 0.1, 70))
    assert (line < threshold.auto(np.append(np.zeros(30), line), 0.001)).all()


@given(windows(low=0.05), st.floats(1, 20), FALSE_ALARMS, st.sampled_from(["auto", "mad", "quantile"]))
def test_a_limit_is_a_proportion_of_the_scores(scores, factor, false_alarms, name):
    wanted = rule(name, false_alarms=false_alarms)
    limit = threshold.decide(np.array(scores), wanted)
    assert threshold.decide(factor * np.array(scores), wanted) == pytest.approx(factor * limit)


@pytest.mark.parametrize("name", ["auto", "mad", "quantile"])
@given(st.one_of(st.sampled_from([0.0, 1e-9, FLOOR, 0.5]), st.floats(0, 100)), st.integers(1, 70))
def test_identical_scores_are_no_anomaly(name, score, n_frames):
    """With `mad` and `quantile` the limit was the very score, and whatever is at the limit is anomalous."""
    assert score < threshold.decide(np.full(n_frames, score), rule(name))


@pytest.mark.parametrize("name", ["auto", "mad", "quantile"])
@given(windows(), st.randoms(use_true_random=False))
def test_the_order_of_the_scores_means_nothing(name, scores, random):
    limit = threshold.decide(np.array(scores), rule(name))
    random.shuffle(scores)
    assert threshold.decide(np.array(scores), rule(name)) == limit


@pytest.mark.parametrize("name", ["auto", "mad", "quantile", "fixed"])
@given(windows(), st.sampled_from([0.5, 3.0]), st.sampled_from([0.3, 0.99]))
def test_every_rule_is_the_oracles(name, scores, k, quantile):
    wanted = rule(name, k=k, quantile=quantile)
    expected = naive_stream.threshold_of(scores, wanted.model_dump())
    assert threshold.decide(np.array(scores), wanted) == pytest.approx(expected, rel=1e-9)


def test_without_scores_only_a_fixed_rule_knows_a_limit():
    limits = [threshold.decide(np.empty(0), rule(name)) for name in ("auto", "mad", "quantile", "fixed")]
    assert limits == [None, None, None, 0.4]


@given(windows(), FALSE_ALARMS, st.floats(0.02, 2))
def test_good_frames_calibrate_as_the_oracle_says(good, false_alarms, limit):
    ours = threshold.calibrated(limit, np.array([1.0]), good, [], false_alarms)
    assert ours == naive_threshold.calibrated(limit, [1.0], good, [], false_alarms)


@given(st.integers(0, 9999), st.integers(1, 120), FALSE_ALARMS)
def test_good_frames_keep_the_promise(seed, n_good, false_alarms):
    """Of n + 1 frames each is the new one once: so many lie above the others at most."""
    drawn = np.random.default_rng(seed).normal(1, 0.2, n_good + 1).round(2).tolist()
    enough = 1 / (n_good + 1) <= false_alarms
    above = 0
    for index, score in enumerate(drawn):
        others = drawn[:index] + drawn[index + 1 :]
        limit = threshold.calibrated(0.9, np.array(drawn), others, [], false_alarms)
        above += score >= limit
        if not enough:
            assert limit >= 0.9
            assert limit > max(others)
    assert above <= max(1, math.floor(false_alarms * (n_good + 1) + 1e-9))


def test_the_promise_is_kept_with_as_few_as_can_and_no_more_than_that():
    """49 frames and one more: one of the 50 is the highest. 2% of a hundred are two."""
    rising = np.arange(1.0, 100.0)
    assert threshold.calibrated(1.0, rising, rising[:49].tolist(), [], 0.02) == np.nextafter(49.0, 99)
    assert threshold.calibrated(1.0, rising, rising.tolist(), [], 0.02) == np.nextafter(98.0, 99)
    assert threshold.calibrated(60.0, rising, rising[:48].tolist(), [], 0.02) == 60.0
    assert threshold.calibrated(1.0, rising, rising[:48].tolist(), [], 0.02) == np.nextafter(48.0, 99)


@given(windows(), FALSE_ALARMS, windows())
def test_defects_alone_leave_the_limit_as_it_is(scores, false_alarms, defects):
    assert threshold.calibrated(0.7, np.array(scores), [], defects, false_alarms) == 0.7


@given(windows(), windows(), windows(), st.randoms(use_true_random=False))
def test_good_and_defects_calibrate_as_the_oracle_says(scores, good, defects, random):
    ours = threshold.calibrated(0.7, np.array(scores), good, defects, 0.02)
    assert same(ours, naive_threshold.calibrated(0.7, scores, good, defects, 0.02))
    random.shuffle(good)
    assert same(ours, threshold.calibrated(0.7, np.array(scores), good, defects, 0.02))


@given(st.integers(0, 9999), st.floats(0.2, 0.9), st.integers(8, 20), st.integers(8, 20))
def test_groups_that_lie_apart_are_told_apart(seed, level, n_good, n_defects):
    rng = np.random.default_rng(seed)
    good, defects = rng.uniform(0.8, 1, n_good) * level, rng.uniform(2, 3, n_defects) * level
    window = np.concatenate([rng.uniform(0.8, 1, 90) * level, rng.uniform(2, 3, 10) * level])
    limit = threshold.calibrated(math.nan, window, good.tolist(), defects.tolist(), 0.02)
    assert good.max() < limit
    assert np.mean(defects < limit) <= 0.5  # the share of defects is a guess, by which a few may be missed
