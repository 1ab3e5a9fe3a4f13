"""A service says the same of a stream in every run: beside other work, and however frames were batched."""

import pytest
from load_support import loaded
from snapshot_support import show
from streamer_support import backbone, serving, small_config

pytestmark = pytest.mark.engines

__all__ = ["backbone"]

FRAMES = range(14)


def said(backbone, **transport):
    settings = small_config(revise={"every": 3}, ring={"capacity": 8}, transport=transport)
    with serving(settings, backbone) as service:
        return show(service, FRAMES)


def test_load_and_batches_do_not_show_in_scores(backbone):
    quiet = said(backbone, batch=1)
    assert len(quiet) > len(FRAMES)
    assert said(backbone, batch=4) == quiet
    with loaded():
        assert said(backbone, batch=4) == quiet
        assert said(backbone, batch=8) == quiet
