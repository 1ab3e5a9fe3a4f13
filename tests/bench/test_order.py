"""Arrivals are shuffled by a seed that gives the same order everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.replay.order import arrivals, spread
from musc_online.errors import DataError


@given(st.integers(0, 300), st.integers(0, 2**31))
def test_every_image_arrives_once_in_an_order_of_the_seed(n_images, seed):
    order = arrivals(n_images, "shuffled", seed)
    assert sorted(order) == list(range(n_images))
    assert np.array_equal(order, arrivals(n_images, "shuffled", seed))


def test_seeds_differ_and_none_leaves_the_classes_together():
    orders = [tuple(arrivals(50, "shuffled", seed)) for seed in range(20)]
    assert len(set(orders)) == 20
    assert all(order != tuple(range(50)) for order in orders)


def test_sorted_is_the_order_of_the_folders():
    assert list(arrivals(5, "sorted", 3)) == [0, 1, 2, 3, 4]


def test_an_unknown_order_names_what_is_allowed():
    with pytest.raises(DataError, match=r"order: got 'random', expected shuffled or sorted"):
        arrivals(5, "random")


@given(st.integers(2, 500), st.integers(2, 600))
def test_a_limit_takes_evenly_from_the_whole_set(n_images, limit):
    chosen = spread(n_images, limit)
    assert len(chosen) == min(limit, n_images)
    assert chosen[0] == 0
    assert chosen[-1] == n_images - 1
    gaps = np.diff(chosen)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_no_limit_takes_all_and_one_image_is_refused():
    assert list(spread(4, None)) == [0, 1, 2, 3]
    with pytest.raises(DataError, match="limit: got 1"):
        spread(4, 1)
