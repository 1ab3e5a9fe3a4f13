"""The attack `pictures`, with those that are quickly made."""

import pytest
from streamer_support import one_thread

from bench.fuzz import costly
from bench.fuzz.attacks import NAMES
from bench.fuzz.pictures import beside_each, stop_beside

__all__ = ["one_thread"]


def test_it_is_one_of_the_attacks():
    assert "pictures" in NAMES


@pytest.mark.slow
def test_a_good_frame_and_a_stop_are_timed_beside_costly_ones(tmp_path, one_thread):
    made = {}
    for picture in (costly.progressive, costly.markers, costly.text_png, costly.flipped_png):
        made[picture.__name__] = tmp_path / picture.__name__
        made[picture.__name__].write_bytes(picture())
    waits, codes = beside_each(tmp_path, made)
    assert codes == {
        "progressive": "undecodable",
        "markers": "undecodable",
        "text_png": "scored",
        "flipped_png": "undecodable",
    }
    assert max(waits.values()) < 60  # what is held is `bench.fuzz`'s to measure
    seconds, status = stop_beside(tmp_path, made["markers"])
    assert status == 0
    assert seconds < 60
