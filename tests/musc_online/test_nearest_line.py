"""A line whose frames are scored against their nearest: repeats, changeovers, operators' words."""

import numpy as np
import pytest
from line_support import Product, Watched, line

NEAREST = {"nearest": 8, "keep": 12, "quarantine": 20}


@pytest.fixture(params=range(3))
def product(request):
    return Product(request.param)


def show(watched, part):
    """A part whose class token says a little of what it looks like."""
    return watched.show(part, token=part.mean(axis=(0, 1)) + 1.0)


def line_of(product, **ring):
    watched = Watched(ring={**NEAREST, **ring})
    for _ in range(30):
        show(watched, product.part())
    return watched


def test_a_defect_that_repeats_is_found_every_time(product):
    watched, defect = line_of(product), product.defect(1)
    shown = [show(watched, product.damaged(defect)).frame_id for _ in range(12)]
    watched.revise()
    assert all(watched.first[frame_id].pred_label for frame_id in shown)
    assert all(watched.last[frame_id].pred_label for frame_id in shown)
    assert watched.kinds() == ["repeat"]
    assert not show(watched, product.part()).pred_label


def test_another_product_is_told_and_waits_for_an_operator(product):
    watched, other = line_of(product), Product(100)
    for _ in range(14):
        assert show(watched, other.part()).pred_label
    assert watched.kinds() == ["changeover"]
    assert watched.references() == set(range(30))
    (event,) = watched.events
    accepted = watched.stream.operators.accept(event.group)
    watched.revise()
    assert watched.references() == set(accepted)
    labels = [show(watched, other.part()).pred_label for _ in range(20)]
    assert labels.count(True) <= 1


@pytest.mark.parametrize("enough", [10, 14])
def test_another_product_is_accepted_by_itself_where_that_is_configured(product, enough):
    watched, other = line_of(product, accept_after=enough), Product(100)
    for shown in range(1, 20):
        show(watched, other.part())
        assert watched.references().isdisjoint(range(30)) == (shown >= enough)


def test_a_rejected_defect_is_known_whatever_the_rest_of_the_frame_looks_like(product):
    """Its frames are not among the nearest in quarantine: they are matched all the same."""
    watched, defect = line_of(product), product.defect(1)
    far = np.full(24, -1.0, np.float32)
    for _ in range(3):
        watched.show(product.damaged(defect), token=far)
    (event,) = watched.events
    watched.stream.operators.reject(event.group, "scratch")
    others = [product.defect(kind, patches=(9, 10)) for kind in range(2, 14)]
    for other in others:
        show(watched, product.damaged(other))
    again = show(watched, product.damaged(defect))
    assert again.known_defect == "scratch"
    assert again.pred_label
    assert show(watched, product.part()).known_defect is None


def test_without_quarantine_too(product):
    watched = Watched(ring={**NEAREST, "admit": "all"}, method={"degrees": [1], "interval": [0.0, 1.0]})
    for _ in range(30):
        show(watched, product.part())
    defect = product.defect(1)
    far = np.full(24, -1.0, np.float32)
    for _ in range(3):
        watched.show(product.damaged(defect), token=far)
    (event,) = watched.events
    watched.stream.operators.reject(event.group, "scratch")
    show(watched, product.part())  # the frame before is matched in any case
    assert show(watched, product.damaged(defect)).known_defect == "scratch"
    assert show(watched, product.part()).known_defect is None


def test_an_accepted_variant_is_known_whatever_the_rest_of_the_frame_looks_like(product):
    watched, variant = line_of(product), product.defect(1)
    far = np.full(24, -1.0, np.float32)
    for _ in range(3):
        watched.show(product.damaged(variant), token=far)
    (event,) = watched.events
    watched.stream.operators.accept(event.group)
    show(watched, product.part())  # the frame before is matched in any case
    assert show(watched, product.damaged(variant)).pred_label is False
    assert show(watched, product.damaged(product.defect(2))).pred_label


def test_a_frozen_camera_is_told_though_its_first_picture_is_not_among_the_nearest(product):
    watched = line_of(product)
    part = product.part()
    for _ in range(6):
        watched.show(part, token=np.ones(24, np.float32))
    assert watched.kinds() == ["frozen"]


def test_equal_class_tokens_are_scored_against_the_oldest(product):
    watched = line(product, ring=NEAREST)
    ring = watched.ring
    assert ring.references(ring.slot(29)).tolist() == [ring.slot(number) for number in range(8)]
    assert ring.references(ring.slot(3)).tolist() == [ring.slot(number) for number in range(9) if number != 3]
