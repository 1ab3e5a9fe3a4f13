"""The attack `stops`: a server stopped and killed under a sender whose acks get lost."""

import pytest
from streamer_support import one_thread

from bench.fuzz import attacks
from bench.fuzz.stops import SETUPS, attack

__all__ = ["one_thread"]


def test_it_is_found_by_name():
    assert attacks.find("stops") is attack


@pytest.mark.slow
@pytest.mark.parametrize("setup", SETUPS)
def test_nothing_is_lost_and_nothing_scored_twice(one_thread, tmp_path, setup):
    """What tests/streamer/test_stops.py and test_known_ids.py hold in one process, with real ones."""
    figures = attack(tmp_path, stops=1, kills=1, setups=(setup,))
    assert all(figures["checks"].values()), figures
    assert figures[setup]["stopped"]["acks_lost"] > 0
