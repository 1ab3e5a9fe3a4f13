"""Both matchers against plain loops in float64: shapes, ties, duplicates, overwriting, both directions."""

import naive_nearest
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musc_online import nearest
from musc_online.arrays import Geometry
from musc_online.nearest.gemm.store import GemmStore

# Of one distance: float32 throughout, 15 bits a channel, 24 bits a channel.
ROUNDING = {"faiss": 5e-5, "gemm": 1e-4, "fine gemm": 5e-5}
MATCHERS = list(ROUNDING)


def matched(store, images, arrival, slots, n_degrees):
    for slot in slots:
        store.put(slot, store.prepare(images[slot]))
    shape = (len(slots), images.shape[1], n_degrees, images.shape[2])
    forward, backward = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    store.match(store.prepare(arrival), slots, forward, backward)
    return forward, backward


def new_store(name, images, degrees):
    n_images, n_stages, n_patches, n_channels = images.shape
    geometry = Geometry(n_stages, tuple(degrees), n_patches, n_channels)
    if name == "faiss":
        return nearest.create(name, n_images, geometry)
    return GemmStore(n_images, geometry, fine=name == "fine gemm")


@pytest.mark.parametrize("name", MATCHERS)
@pytest.mark.parametrize("degrees", [(1, 3, 5), (1,), (5, 1), (3, 7)])
@pytest.mark.parametrize(("side", "n_channels"), [(6, 24), (5, 7), (1, 3)])
def test_equals_plain_loops(name, degrees, side, n_channels):
    rng = np.random.default_rng(side * 100 + n_channels)
    images = rng.normal(1.0, 3.0, (4, 2, side * side, n_channels)).astype(np.float32)
    arrival = rng.normal(0.0, 2.0, images.shape[1:]).astype(np.float32)
    slots = [3, 0, 2]
    forward, backward = matched(new_store(name, images, degrees), images, arrival, slots, len(degrees))
    expected = naive_nearest.match(arrival, images[slots], degrees)
    np.testing.assert_allclose(forward, expected[0], atol=ROUNDING[name])
    np.testing.assert_allclose(backward, expected[1], atol=ROUNDING[name])


@pytest.mark.parametrize("name", MATCHERS)
def test_duplicates_and_constant_images_are_at_distance_zero(name):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 1, 36, 16)).astype(np.float32)
    images[1] = 0.7  # constant: standardised to zeros, and zero vectors stay finite
    store = new_store(name, images, (1, 3, 5))
    forward, backward = matched(store, images, images[0], [0, 1, 2], 3)
    assert np.abs(forward[0]).max() < 1e-5
    assert np.abs(backward[0]).max() < 1e-5
    assert np.isfinite(forward).all()
    assert np.isfinite(backward).all()
    forward, backward = matched(store, images, images[1], [1], 3)
    assert np.abs(forward).max() < 1e-5


@pytest.mark.parametrize("name", MATCHERS)
def test_a_slot_can_be_overwritten_and_restored(name):
    rng = np.random.default_rng(1)
    images = rng.normal(size=(4, 2, 16, 8)).astype(np.float32)
    store = new_store(name, images, (1, 3))
    before = store.nbytes
    first = matched(store, images, images[3], [0, 1], 2)
    kept = {key: value.copy() for key, value in store.state().items()}
    changed = images.copy()
    changed[0] = images[2]
    second = matched(store, changed, images[3], [0, 1], 2)
    np.testing.assert_array_equal(first[0][1], second[0][1])
    assert np.abs(first[0][0] - second[0][0]).max() > 0.01
    store.restore(kept)
    forward, backward = np.empty_like(first[0]), np.empty_like(first[1])
    store.match(store.prepare(images[3]), [0, 1], forward, backward)
    np.testing.assert_array_equal(forward, first[0])
    np.testing.assert_array_equal(backward, first[1])
    assert store.nbytes == before


@pytest.mark.parametrize("name", MATCHERS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_any_shape_and_subset_of_slots(name, data):
    side = data.draw(st.integers(1, 7), "side")
    # A window over the whole map of few channels sums to about 0: its direction would be rounding.
    n_channels = data.draw(st.integers(6, 40), "channels")
    degrees = data.draw(
        st.lists(st.sampled_from([1, 3, 5, 7, 9]), min_size=1, max_size=4, unique=True), "degrees"
    )
    n_images = data.draw(st.integers(1, 4), "images")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    images = rng.normal(size=(n_images, 2, side * side, n_channels)).astype(np.float32)
    if data.draw(st.booleans(), "ties"):
        images = np.sign(images).astype(np.float32)
    slots = data.draw(st.permutations(range(n_images)), "slots")[
        : data.draw(st.integers(1, n_images), "count")
    ]
    arrival = images[data.draw(st.integers(0, n_images - 1), "arrival")]
    found = matched(new_store(name, images, degrees), images, arrival, slots, len(degrees))
    expected = naive_nearest.match(arrival, images[slots], degrees)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=ROUNDING[name])


@pytest.mark.parametrize("position", [None, 2])
@pytest.mark.parametrize("name", ["faiss", "gemm"])
def test_no_distance_hangs_on_the_number_of_threads(name, position):
    """Where shards match, processes with more and with fewer threads make one score."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 1, 1369, 96)).astype(np.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            store = nearest.create(name, 2, Geometry(1, (1, 3), 1369, 96, position=position))
            found.append(matched(store, images, images[0], [0, 1], 2))
    finally:
        torch.set_num_threads(threads)
    for others in found[1:]:
        for ours, theirs in zip(found[0], others, strict=True):
            assert ours.tobytes() == theirs.tobytes()
