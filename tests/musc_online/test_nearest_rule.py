"""Which matcher is taken, what it costs in memory, and how exact its scores are: the same for all of them."""

import sys

import naive
import numpy as np
import pytest
from matcher_support import DEGREES, images, store_of

from musc_online import msm, nearest
from musc_online.arrays import Geometry
from musc_online.errors import ConfigError, FrameError
from musc_online.nearest.gemm import lanes
from musc_online.nearest.gemm.store import GemmStore
from musc_online.nearest.torch_gemm import TorchStore


@pytest.mark.parametrize(
    ("vectors", "installed", "expected"),
    [(True, True, "gemm"), (True, False, "gemm"), (False, True, "faiss"), (False, False, "gemm")],
)
def test_auto_is_a_rule_of_the_processor(monkeypatch, vectors, installed, expected):
    monkeypatch.setattr(lanes, "has_vectors", lambda: vectors)
    monkeypatch.setattr(nearest, "find_spec", lambda name: object() if installed else None)
    assert nearest.resolve("auto") == expected
    assert nearest.resolve("faiss") == "faiss"
    assert nearest.resolve("auto", "cuda") == "gemm"


def test_the_matcher_never_asks_a_clock(monkeypatch):
    """On a loaded machine `auto` chose FAISS once and GEMM the next time."""
    for clock in ("perf_counter", "monotonic", "time", "process_time", "perf_counter_ns"):
        monkeypatch.setattr(f"time.{clock}", lambda: pytest.fail("a clock was asked"))
    assert nearest.create("auto", 1, Geometry(1, DEGREES, 64, 48)).name == "gemm"


def test_without_faiss_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"install faiss-cpu or, with a GPU, faiss-gpu"):
        nearest.create("faiss", 1, Geometry(1, (1,), 4, 2))


@pytest.mark.parametrize(
    "shape", [(4, DEGREES, 256, 384), (1, (1,), 25, 7), (2, (5, 1), 1, 3), (1, (7,), 49, 33)]
)
@pytest.mark.parametrize("capacity", [1, 7])
@pytest.mark.parametrize("name", ["gemm", "faiss", "auto"])
def test_a_store_holds_what_it_was_priced_at(name, capacity, shape):
    geometry = Geometry(*shape)
    priced = nearest.price(name, capacity, geometry)
    assert nearest.create(name, capacity, geometry).nbytes == priced


def test_torch_holds_what_it_was_priced_at():
    geometry = Geometry(2, DEGREES, 36, 24)
    for dtype in ("float16", "float32"):
        assert TorchStore(3, geometry, dtype=dtype).nbytes == TorchStore.price(3, geometry, dtype=dtype)


@pytest.mark.parametrize("kind", [GemmStore, TorchStore])
def test_what_another_store_kept_is_refused_whole(kind):
    ours = store_of(kind, images(2))
    before = {name: array.copy() for name, array in ours.state().items()}
    others = ours.state() | {next(iter(before)): np.zeros((2, 3), np.int16)}
    for state in (others, {}, {**before, "more": np.zeros(1)}):
        with pytest.raises(ValueError, match="features: "):
            ours.restore(state)
    for name, array in ours.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_unknown_names_and_shapes_are_refused():
    with pytest.raises(ValueError, match="got 'fast'"):
        nearest.create("fast", 1, Geometry(1, (1,), 4, 2))
    for n_patches, degrees, message in [
        (5, (1,), "got 5 patches, expected a square"),
        (0, (1,), "got 0 patches, expected a square"),
        (4, (2,), r"degrees: got \[2\]"),
        (4, (), r"degrees: got \[\]"),
        (4, (3, 3), r"degrees: got \[3, 3\]"),
        (4, (-1,), r"degrees: got \[-1\]"),
    ]:
        with pytest.raises(FrameError, match=message):
            Geometry(1, degrees, n_patches, 2)


@pytest.mark.parametrize("matcher", ["gemm", "faiss"])
def test_an_even_degree_is_refused_by_every_matcher(matcher):
    with pytest.raises(FrameError, match=r"degrees: got \[2\]"):
        msm.mutual_scores(np.zeros((1, 3, 16, 4), np.float32), (2,), matcher=matcher)


@pytest.mark.parametrize("degrees", [(1,), (1, 3, 5), (3, 7)])
@pytest.mark.parametrize(("n_stages", "n_channels"), [(1, 4), (1, 24), (2, 8), (1, 64), (4, 16)])
def test_few_patches_are_scored_within_three_parts_in_a_hundred_thousand(n_stages, n_channels, degrees):
    """The published code's golden sets of 25 patches were off by 5.2e-5 with 15 bits a channel."""
    for seed in range(4):
        tokens = images(3 + seed, n_stages=n_stages, side=5, n_channels=n_channels, seed=seed).swapaxes(0, 1)
        expected = naive.mutual_scores(tokens, degrees)
        np.testing.assert_allclose(msm.mutual_scores(tokens, degrees), expected, atol=3e-5)


def test_one_stage_and_degree_are_scored_as_well():
    """One distance is all a score consists of: nothing averages its rounding away."""
    tokens = images(3, n_stages=1, side=16, n_channels=48).swapaxes(0, 1)
    expected = naive.mutual_scores(tokens, (1,))
    np.testing.assert_allclose(msm.mutual_scores(tokens, (1,)), expected, atol=3e-5)
