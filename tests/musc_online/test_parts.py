"""Codes, threshold, regions and the capacity estimate: small parts, each against a plain restatement."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musc_online import anomaly_map, codes, config, lnamd, msm, ring_setup, threshold, verdict
from musc_online.arrays import Geometry, checked_tokens
from musc_online.errors import CapacityError, ConfigError, FrameError


@given(st.lists(st.floats(0, 2.0001), min_size=1, max_size=50))
def test_codes_are_within_half_a_step_and_keep_order(values):
    distances = np.array(values, np.float32)
    encoded = codes.encode(distances)
    assert (encoded != codes.MISSING).all()
    np.testing.assert_allclose(codes.decode(encoded), np.minimum(distances, 2), atol=0.5 / codes.SCALE + 1e-6)
    order = np.argsort(distances, kind="stable")
    assert (np.diff(encoded[order].astype(int)) >= 0).all()


@given(
    n_slots=st.integers(2, 40),
    n_columns=st.sampled_from([1, 63, 64, 65, 130]),
    seed=st.integers(0, 999),
    ties=st.booleans(),
    data=st.data(),
)
def test_average_codes_is_a_sort(n_slots, n_columns, seed, ties, data):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 3 if ties else 65535, (n_slots, n_columns)).astype(np.uint16)
    references = np.flatnonzero(rng.random(n_slots) < 0.7)
    if not len(references):
        references = np.array([0])
    k_high = data.draw(st.integers(1, len(references)))
    k_low = data.draw(st.integers(0, k_high - 1))
    out = np.empty(n_columns)
    codes.average_codes(table, references, k_low, k_high, out)
    kept = np.sort(table[references].astype(np.float64), axis=0)[k_low:k_high]
    np.testing.assert_allclose(out, kept.mean(axis=0) / codes.SCALE, atol=1e-9)


def rule(**values):
    return config.load({"threshold": values}).threshold


def test_threshold_rules():
    raw = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    assert threshold.decide(raw, rule(rule="mad", k=2.0)) == pytest.approx(3 + 2 * 1.4826 * 1)
    assert threshold.decide(raw, rule(rule="quantile", quantile=0.5)) == np.nextafter(3.0, 4)
    assert threshold.decide(raw, rule(rule="fixed", value=0.4)) == 0.4
    assert threshold.decide(np.empty(0), rule(rule="mad")) is None
    assert threshold.decide(np.empty(0), rule(rule="fixed", value=0.4)) == 0.4


@pytest.mark.parametrize(
    ("raw", "limit", "lowest", "highest", "expected"),
    [(0.5, 0.5, 0.2, 0.6, 0.5), (0.6, 0.5, 0.2, 0.6, 0.75), (9, 0.5, 0.2, 0.6, 1.0), (0.3, 0.3, 1, 1, 0.5)],
)
def test_normalised_score(raw, limit, lowest, highest, expected):
    assert verdict.normalised(raw, limit, lowest, highest) == pytest.approx(expected)


def test_regions_are_boxes_in_frame_pixels_worst_first():
    map_ = np.zeros((10, 10), np.float32)
    map_[1:3, 2:6] = 0.5
    map_[8, 8] = 0.9
    assert anomaly_map.find_regions(map_, 0.5, (20, 30)) == [
        (24, 16, 3, 2, pytest.approx(0.9)),
        (6, 2, 12, 4, pytest.approx(0.5)),
    ]
    assert anomaly_map.find_regions(map_, 0.95, None) == []
    assert anomaly_map.find_regions(map_, 0.6, None) == [(8, 8, 1, 1, pytest.approx(0.9))]


@pytest.mark.parametrize("matcher", ["gemm", "faiss", "auto"])
@pytest.mark.parametrize("degrees", [(1, 3, 5), (1, 7)])
def test_a_ring_holds_what_it_was_priced_at(matcher, degrees):
    """With `auto` the limit was once priced for the wrong matcher: 23.2 MiB were held under 7 MiB."""
    geometry = Geometry(4, degrees, 256, 384)
    settings = config.load({"ring": {"capacity": 20, "matcher": matcher}, "method": {"degrees": degrees}})
    priced = ring_setup.ring_bytes(settings, geometry)
    assert ring_setup.make_ring(settings, geometry).nbytes == priced
    tight = settings.model_copy(
        update={
            "ring": settings.ring.model_copy(update={"max_bytes": type(settings.ring.max_bytes)(priced - 1)})
        }
    )
    with pytest.raises(CapacityError):
        ring_setup.make_ring(tight, geometry)


@pytest.mark.parametrize("degree", [3.0, 3.9, "3", None])
def test_a_degree_that_is_no_whole_number_is_refused(degree):
    tokens = np.ones((1, 2, 9, 4), np.float32)
    for call in (lambda: msm.mutual_scores(tokens, (degree,)), lambda: lnamd.aggregate(tokens[0], degree)):
        with pytest.raises(FrameError, match="degrees: got"):
            call()


def test_numbers_too_large_for_float32_are_refused():
    """They became infinite, and the image looked perfectly normal."""
    tokens = np.random.default_rng(0).normal(size=(1, 3, 9, 4)) * 1e39
    with pytest.raises(FrameError, match="finite float32"):
        msm.mutual_scores(tokens, (1,))
    with pytest.raises(FrameError, match="finite float32"):
        checked_tokens(tokens[:, 0], tokens[0, 0, 0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["threshold.value", "threshold.k", "deadline_ms", "revise.window"])
def test_no_number_of_the_configuration_is_infinite_or_none(key, value):
    section, _, name = key.rpartition(".")
    values = {section: {name: value, "rule": "fixed"}} if section == "threshold" else {key: value}
    values = {section: {name: value}} if section == "revise" else values
    with pytest.raises(ConfigError):
        config.load(values)
