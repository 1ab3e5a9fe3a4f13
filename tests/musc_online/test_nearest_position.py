"""Position, ignored patches and grids that are not square: every matcher against plain loops."""

from functools import partial

import naive
import naive_nearest
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matcher_support import DEGREES, images, match, store_of

from musc_online import lnamd, msm, nearest
from musc_online.arrays import Geometry
from musc_online.errors import FrameError
from musc_online.nearest.faiss import FaissStore
from musc_online.nearest.gemm.store import GemmStore
from musc_online.nearest.torch_gemm import TorchStore

# Of one distance: float32 throughout, 15 bits a channel, 24 bits a channel, float32 on a torch device.
MATCHERS = {
    "faiss": (FaissStore, {}, 5e-5),
    "gemm": (GemmStore, {"fine": False}, 1e-4),
    "fine gemm": (GemmStore, {"fine": True}, 5e-5),
    "torch": (TorchStore, {"dtype": "float32"}, 5e-5),
}
GRIDS = [(1, 1), (1, 9), (9, 1), (2, 3), (5, 4), (3, 17), (7, 7)]


def maps(rng, n_images, n_patches, n_channels=24, n_stages=2):
    return rng.normal(size=(n_images, n_stages, n_patches, n_channels)).astype(np.float32)


def held_to_the_oracle(name, tokens, arrival, degrees, **reach):
    kind, options, rounding = MATCHERS[name]
    store = store_of(kind, tokens, degrees, **reach, **options)
    found = match(store, arrival, range(len(tokens)), len(degrees))
    expected = naive_nearest.match(arrival, tokens, degrees, **reach)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=rounding)
    return found


@pytest.mark.parametrize("name", MATCHERS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_grid_position_and_ignored_patches(name, data):
    grid = data.draw(st.sampled_from(GRIDS), "grid")
    n_patches = grid[0] * grid[1]
    # A window over the whole map of few channels sums to about 0: its direction would be rounding. That of 15
    # bits shows in other windows too: 1 of 100 draws of "near" images was off by more than 1e-4, up to 3e-4,
    # and none of 64 channels or more. No network has fewer.
    coarse = name == "gemm"
    n_channels = data.draw(st.integers(64, 93) if coarse else st.integers(6, 35), "channels")
    position = data.draw(st.sampled_from([None, 0, 1, 2, 3, 5, 40]), "position")
    degrees = data.draw(st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1, unique=True), "degrees")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    tokens = maps(rng, 3, n_patches, n_channels)
    kind = data.draw(st.sampled_from(["as drawn", "ties", "duplicates", "near", "constant"]), "kind")
    if kind == "ties":
        tokens = np.sign(tokens).astype(np.float32)
    elif kind == "duplicates":
        tokens[1] = tokens[0]
    elif kind == "near":
        tokens[1] = tokens[0] + np.float32(0.01) * tokens[2]
    elif kind == "constant":
        tokens[1] = 0.7
    share = data.draw(st.sampled_from([None, 0.0, 0.3, 0.9, 1.0]), "ignored")
    ignored = None if share is None else rng.random((2, n_patches)) < share
    arrival = tokens[data.draw(st.integers(0, 2), "arrival")]
    held_to_the_oracle(name, tokens, arrival, tuple(degrees), grid=grid, position=position, ignored=ignored)


@pytest.mark.parametrize("name", MATCHERS)
@pytest.mark.parametrize("grid", [(16, 16), (13, 21)])
@pytest.mark.parametrize("position", [1, 4])
def test_a_band_of_a_larger_grid(name, grid, position):
    rng = np.random.default_rng(7)
    n_patches = grid[0] * grid[1]
    tokens = maps(rng, 2, n_patches, n_stages=1)
    ignored = rng.random((1, n_patches)) < 0.2
    arrival = (tokens[0] + 0.3 * tokens[1]).astype(np.float32)
    reach = {"grid": grid, "position": position, "ignored": ignored}
    held_to_the_oracle(name, tokens, arrival, DEGREES, **reach)


@pytest.mark.parametrize("name", MATCHERS)
def test_the_same_place_alone_is_a_distance_of_two_vectors(name):
    rng = np.random.default_rng(2)
    tokens = maps(rng, 2, 20)
    forward, backward = held_to_the_oracle(name, tokens, tokens[1], (1,), grid=(5, 4), position=0)
    np.testing.assert_allclose(forward, backward, atol=1e-6)
    assert forward[0].min() > 0.5
    assert forward[1].max() < 1e-6


@pytest.mark.parametrize("name", MATCHERS)
def test_a_position_that_reaches_everywhere_and_nothing_ignored_change_no_bit(name):
    kind, options, _ = MATCHERS[name]
    tokens = images(3, side=6)
    plain = match(store_of(kind, tokens, **options), tokens[2], [0, 1, 2])
    for more in (
        {"position": 5},
        {"position": 1000},
        {"grid": (6, 6)},
        {"ignored": np.zeros((2, 36), np.bool_)},
    ):
        found = match(store_of(kind, tokens, **more, **options), tokens[2], [0, 1, 2])
        np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("name", MATCHERS)
def test_of_ignored_patches_only_the_neighbourhood_is_seen(name):
    """What an ignored patch shows moves its neighbours' windows and the standardisation, and nothing else."""
    kind, options, rounding = MATCHERS[name]
    tokens = images(2, n_stages=1, side=6)
    ignored = np.zeros((1, 36), np.bool_)
    ignored[0, [7, 20]] = True
    twin = tokens[0].copy()
    twin[0, [7, 20]] = twin[0, [20, 7]]  # no other mean or variance
    reach = {"ignored": ignored}
    found = match(store_of(kind, tokens, (1,), **reach, **options), twin, [0], 1)
    assert max(part.max() for part in found) < rounding
    wider = held_to_the_oracle(name, tokens, twin, (3,), **reach)
    assert wider[0][0].max() > 0.1


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("position", [None, 1])
def test_an_empty_neighbourhood_counts_where_it_is_a_candidate(position, fine):
    tokens = images(2, n_stages=1)
    ignored = np.zeros((1, 64), np.bool_)
    ignored[0, 60] = True
    store = store_of(GemmStore, tokens, position=position, ignored=ignored, fine=fine)
    plain = match(store, tokens[1], [0, 1])
    features = store.prepare(tokens[1])
    for patch in (3, 60):  # two patches become zero vectors; one of them is ignored
        features.tokens[0, patch // 16, :, patch % 16] = 0
        features.norms[0, 1, patch] = 0.0
        if fine:
            features.windows[0, 0, patch] = 0.0
    forward, backward = (np.empty((2, 1, 3, 64), np.float32) for _ in range(2))
    store.match(features, [0, 1], forward, backward)
    assert forward[0, 0, 0, 3] == 1.0
    assert (forward[:, :, :, 60] == 0.0).all()
    near = [2, 3, 4, 10, 11, 12] if position else range(64)
    far = np.setdiff1d(np.arange(64), [*near, 60])
    assert (backward[:, 0, 0, list(near)] <= 1.0).all()
    np.testing.assert_array_equal(backward[:, 0, 0, far], plain[1][:, 0, 0, far])
    if position:
        assert backward[0, 0, 0, far].max() > 1.0
    store.put(1, features)
    store.match(features, [1], forward[:1], backward[:1])
    assert forward[0, 0, 0, 3] == 0.0


@pytest.mark.parametrize("threads", [1, 3])
def test_what_was_matched_before_leaves_no_trace(threads):
    """Beyond the band the working memory holds what was there: nothing of it may be seen."""
    tokens = images(4, side=11, n_channels=21)
    tokens[3] *= np.linspace(1, 400, 21, dtype=np.float32)
    ignored = np.random.default_rng(1).random((2, 121)) < 0.1
    make = partial(store_of, GemmStore, tokens, position=2, ignored=ignored, threads=threads)
    fresh = match(make(), tokens[0], [1, 2])
    used = make()
    match(used, tokens[3], [3, 0, 2])
    np.testing.assert_array_equal(match(used, tokens[0], [1, 2]), fresh)


@pytest.mark.parametrize("limit", [1, 5_000, 20_000])
def test_torch_goes_stage_by_stage_where_a_pair_would_be_too_large(monkeypatch, limit):
    tokens = images(5, n_stages=3, side=6)
    ignored = np.random.default_rng(1).random((3, 36)) < 0.1
    whole = match(store_of(TorchStore, tokens, position=2, ignored=ignored), tokens[0], range(5))
    monkeypatch.setattr("musc_online.nearest.torch_gemm._CHUNK_VALUES", limit)
    parts = match(store_of(TorchStore, tokens, position=2, ignored=ignored), tokens[0], range(5))
    np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.parametrize("position", [None, 0, 3, 99])
@pytest.mark.parametrize("grid", [(1, 40), (5, 8), (8, 5), (40, 1)])
@pytest.mark.parametrize("ignored", [None, np.ones((3, 40), np.bool_)])
def test_a_store_holds_what_it_was_priced_at(position, grid, ignored):
    geometry = Geometry(3, DEGREES, 40, 12, grid, position)
    for name in ("gemm", "faiss"):
        store = nearest.create(name, 2, geometry, ignored=ignored)
        assert store.nbytes == nearest.price(name, 2, geometry)
    assert TorchStore(2, geometry, ignored=ignored).nbytes == TorchStore.price(2, geometry)


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
@pytest.mark.parametrize("max_bytes", [2**31, 1])
def test_mutual_scores_know_all_three(matcher, max_bytes):
    rng = np.random.default_rng(9)
    tokens = maps(rng, 5, 24).swapaxes(0, 1)
    reach = {"grid": (4, 6), "position": 1}
    for ignored in (None, rng.random((2, 24)) < 0.3, rng.random(24) < 0.3):
        found = msm.mutual_scores(
            tokens, (1, 3), matcher=matcher, max_bytes=max_bytes, ignored=ignored, **reach
        )
        each = None if ignored is None else np.broadcast_to(ignored, (2, 24))
        np.testing.assert_allclose(
            found, naive.mutual_scores(tokens, (1, 3), ignored=each, **reach), atol=3e-5
        )
        if ignored is not None and ignored.ndim == 1:
            assert (found[:, ignored] == 0.0).all()


@pytest.mark.parametrize("ignored", [np.zeros(24), np.zeros(23, np.bool_), np.zeros((3, 24), np.bool_)])
def test_ignored_patches_of_another_shape_are_refused(ignored):
    with pytest.raises(FrameError, match=r"ignored: got .* expected bool \(24,\), or \(2, 24\)"):
        msm.mutual_scores(np.ones((2, 3, 24, 4), np.float32), grid=(4, 6), ignored=ignored)


@pytest.mark.parametrize("degree", [1, 3, 5, 9])
@pytest.mark.parametrize("grid", [(1, 12), (3, 4), (6, 2)])
def test_aggregate_knows_the_grid(degree, grid):
    tokens = maps(np.random.default_rng(4), 3, 12)[:, 0]
    expected = naive.aggregate(tokens, degree, grid)
    np.testing.assert_allclose(lnamd.aggregate(tokens, degree, grid), expected, atol=1e-5)
