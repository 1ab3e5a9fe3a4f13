"""Events: what is told of a line, once, and what an operator's answer does."""

import numpy as np
import pytest
from line_support import Product, Watched, line
from stream_support import detector

from musc_online import snapshot
from musc_online.errors import FrameError
from musc_online.events import GROUPS, Group, contrast_of


@pytest.fixture
def product():
    return Product(0)


def show_between(watched, product, defect, times):
    """A defect on every other part; the scores of those."""
    scores = []
    for _ in range(times):
        scores.append(watched.show(product.damaged(defect)))
        assert watched.show(product.part()).pred_label is False
    return scores


def test_a_defect_that_repeats_is_told_once_by_its_third(product):
    watched = line(product)
    show_between(watched, product, product.defect(1), 2)
    assert watched.events == []
    show_between(watched, product, product.defect(1), 6)
    (event,) = watched.events
    assert (event.kind, event.frame_ids, event.since, event.name) == ("repeat", (30, 32, 34), 30, None)
    assert event.regions == tuple(watched.first[34].regions) != ()


def test_two_defects_are_two_groups(product):
    watched = line(product)
    for _ in range(3):
        show_between(watched, product, product.defect(1), 1)
        show_between(watched, product, product.defect(2, patches=(12,)), 1)
    assert [(event.kind, event.frame_ids) for event in watched.events] == [
        ("repeat", (30, 34, 38)),
        ("repeat", (32, 36, 40)),
    ]
    assert watched.events[0].group != watched.events[1].group


def test_defects_that_have_nothing_in_common_are_no_event(product):
    watched = line(product)
    for kind in range(6):
        assert watched.show(product.damaged(product.defect(kind))).pred_label
    assert watched.events == []


@pytest.mark.parametrize("seed", range(3))
def test_another_product_is_told_soon_and_accepted(seed):
    product, other = Product(seed), Product(100 + seed)
    watched = line(product, 40)
    shown = 0
    while not watched.events:
        assert watched.show(other.part()).pred_label
        shown += 1
    assert shown <= 10
    (event,) = watched.events
    assert (event.kind, event.since) == ("changeover", 40)
    assert watched.stream.operators.accept(event.group) == list(event.frame_ids)
    assert watched.references() == set(event.frame_ids)
    assert watched.stream.revise_due
    watched.revise()
    assert all(watched.last[frame_id].pred_label is not True for frame_id in event.frame_ids)
    labels = [watched.show(other.part()).pred_label for _ in range(40)]
    assert not any(labels[22:])
    assert sum(map(bool, labels)) <= 3
    assert watched.kinds() == ["changeover"]
    assert watched.show(product.part()).pred_label  # the old product is another one now


def test_after_a_changeover_the_old_level_is_no_measure(product):
    """The new product varies three times as much: by what was usual before, all of it is foreign."""
    watched, other = line(product), Product(5)
    while not watched.events:
        watched.show(other.part(0.75))
    watched.stream.operators.accept(watched.events[0].group)
    for _ in range(40):
        watched.show(other.part(0.75))
    assert watched.kinds() == ["changeover"]
    assert not any(watched.last[frame_id].pred_label for frame_id in range(50, watched.count))


def test_a_changeover_keeps_pinned_frames(product):
    watched = line(product)
    watched.stream.operators.pin(12)
    other = Product(7)
    while not watched.events:
        watched.show(other.part())
    watched.stream.operators.accept(watched.events[0].group)
    assert watched.references() == {12, *watched.events[0].frame_ids}


@pytest.mark.parametrize("accept_after", [10, 14])
def test_a_product_that_stays_is_accepted_without_an_operator(product, accept_after):
    watched = line(product, ring={"accept_after": accept_after, "quarantine": 20})
    other = Product(8)
    for shown in range(1, 31):
        watched.show(other.part())
        assert watched.references().isdisjoint(range(30)) == (shown >= accept_after)
    assert watched.kinds() == ["changeover"]
    assert watched.quarantined() == set()


def test_wear_is_drift_and_not_told_again_while_it_lasts(product):
    watched = line(product, 80, capacity=30)
    worn = [watched.show(product.part(0.25 + 0.0015 * step)) for step in range(60)]
    assert watched.kinds() == ["drift"]
    assert sum(bool(score.pred_label) for score in worn) <= 3
    (event,) = watched.events
    assert event.frame_ids == (event.since,)
    assert event.since >= 80


@pytest.mark.parametrize("admit", ["all", "quarantine", "below_threshold"])
@pytest.mark.parametrize("n_before", [0, 20])
def test_a_frozen_camera_is_told_once_and_nothing_else(product, admit, n_before):
    """Each copy was foreign, since copies are as near as can be: a changeover was told beside it."""
    watched = line(product, n_before, ring={"admit": admit, "accept_after": 10})
    still = product.part()
    scores = watched.show_all([still.copy() for _ in range(300)])
    assert not any(score.pred_label for score in scores)
    assert not any(watched.last[score.frame_id].pred_label for score in scores)
    assert watched.kinds() == ["frozen"]
    assert watched.events[0].frame_ids == tuple(range(n_before, n_before + 5))


@pytest.mark.parametrize("n_copies", [20, 40, 100])
def test_a_line_that_was_frozen_goes_on_as_it_was(product, n_copies):
    """With quarantine copies are no references: they filled the ring, and all after them was anomalous."""
    watched = line(product, 40)
    watched.show_all([product.part()] * n_copies)
    before = watched.references()
    scores = watched.show_all([product.part() for _ in range(60)])
    assert not any(score.pred_label for score in scores)
    assert not any(score.pred_label for score in watched.last.values())
    assert before <= set(range(41)), "one of the copies at the most"


def test_a_camera_that_freezes_again_is_told_again(product):
    watched = line(product)
    for still in (product.part(), product.part()):
        watched.show_all([still] * 7)
    assert watched.kinds() == ["frozen", "frozen"]
    assert [event.since for event in watched.events] == [30, 37]


def test_four_copies_are_not_frozen(product):
    watched = line(product)
    for _ in range(5):
        watched.show_all([product.part()] * 4)
    assert watched.events == []


def test_frames_that_show_nothing_are_frozen_though_noise_differs(product):
    watched = line(product)
    for _ in range(8):
        watched.show(product.part(), contrast=1.9)
    assert watched.kinds() == ["frozen"]
    for _ in range(8):
        watched.show(product.part(), contrast=2.1)
    assert watched.kinds() == ["frozen"]


def test_contrast_is_that_of_the_liveliest_colour():
    dark = np.full((20, 30, 3), 7, np.uint8)
    assert contrast_of(dark) == 0
    dark[:, 16:, 1] = 27
    assert contrast_of(dark) == pytest.approx(10)  # every eighth column: two of four
    assert contrast_of(np.zeros((1, 1, 3), np.uint8)) == 0


def test_what_is_evicted_leaves_its_groups_and_an_empty_group_goes(product):
    watched = line(product, ring={"quarantine": 4})
    show_between(watched, product, product.defect(1), 6)
    (group,) = watched.stream.events.groups.values()
    assert set(group.frame_ids) == watched.quarantined() == {34, 36, 38, 40}
    marks = watched.stream.events.marks
    assert marks.keys() == watched.quarantined()
    assert all(set(mark.twins) == marks.keys() - {frame_id} for frame_id, mark in marks.items())
    for kind in range(2, 7):
        watched.show(product.damaged(product.defect(kind)))
    assert watched.stream.events.groups == {}
    assert watched.kinds() == ["repeat"]


def test_groups_with_a_name_outlast_others(product):
    events = line(product).stream.events
    first = events._new_group(Group("repeat", ["named"], name="scratch"))
    for frame_id in range(2 * GROUPS):
        events._new_group(Group("repeat", [frame_id]))
    assert len(events.groups) == GROUPS
    assert first in events.groups
    assert list(events.groups)[1:] == list(range(first + GROUPS + 2, first + 2 * GROUPS + 1))


def rejected(product, **sections):
    """A line on which a repeated defect was rejected as a scratch, and the group's number."""
    watched = line(product, **sections)
    show_between(watched, product, product.defect(1), 3)
    group = watched.events[0].group
    assert watched.stream.operators.reject(group, "scratch") == [30, 32, 34]
    return watched, group


def test_a_rejected_defect_is_named_when_it_comes_again(product):
    watched, _ = rejected(product)
    again, good = watched.show(product.damaged(product.defect(1))), watched.show(product.part())
    assert (again.known_defect, again.pred_label) == ("scratch", True)
    assert (good.known_defect, good.pred_label) == (None, False)
    assert watched.show(product.damaged(product.defect(2))).known_defect is None
    watched.revise()
    assert watched.last[36].known_defect == "scratch"
    assert watched.stream.verdict.known.words.keys() == {30, 32, 34}


def test_a_rejected_defect_is_anomalous_below_the_threshold_too(product):
    watched, _ = rejected(product)
    watched.stream.set_threshold(value=1.5)
    again, other = (watched.show(product.damaged(product.defect(kind))) for kind in (1, 2))
    assert again.raw_score < again.threshold == 1.5
    assert (again.known_defect, again.pred_label) == ("scratch", True)
    assert other.pred_label is False
    watched.revise()
    assert watched.last[again.frame_id].pred_label is True
    assert again.frame_id in watched.quarantined()


def test_a_rejected_defect_stays_known_however_many_others_come(product):
    watched, _ = rejected(product, ring={"quarantine": 6})
    for kind in range(2, 20):
        watched.show(product.damaged(product.defect(kind)))
    assert {30, 32, 34} <= watched.quarantined()
    assert watched.show(product.damaged(product.defect(1))).known_defect == "scratch"


def test_an_accepted_variant_is_normal_when_it_comes_again(product):
    watched = line(product)
    scores = show_between(watched, product, product.defect(1), 3)
    assert all(score.pred_label for score in scores)
    watched.stream.operators.accept(watched.events[0].group)
    assert {30, 32, 34} <= watched.references()
    later = show_between(watched, product, product.defect(1), 10)
    assert not any(score.pred_label for score in later)
    watched.revise()
    assert not any(watched.last[score.frame_id].pred_label for score in [*scores, *later])
    assert watched.show(product.damaged(product.defect(2))).pred_label
    assert watched.kinds() == ["repeat"]


@pytest.mark.parametrize("word", [("accept",), ("reject", "scratch")])
@pytest.mark.parametrize("group", [99, "1", True, None])
def test_an_unknown_group_is_named_with_those_that_are_there(product, word, group):
    watched = line(product)
    name, *rest = word
    with pytest.raises(FrameError, match=f"group: got {group!r}, expected one of none"):
        getattr(watched.stream.operators, name)(group, *rest)
    show_between(watched, product, product.defect(1), 3)
    with pytest.raises(FrameError, match=f"group: got {group!r}, expected one of {watched.events[0].group}"):
        getattr(watched.stream.operators, name)(group, *rest)


def story():
    """Parts that repeat a defect, change over, freeze; the events are told in all thirds of it."""
    product, other = Product(3), Product(4)
    parts = [product.part() for _ in range(25)]
    for _ in range(4):
        parts += [product.damaged(product.defect(1)), product.part()]
    parts += [other.part() for _ in range(12)]
    return parts + [other.part()] * 8


@pytest.mark.parametrize("cut", [1, 12, 27, 28, 34, 38, 42, 46, 50])
def test_a_restart_in_mid_stream_tells_the_same(cut):
    whole = Watched(ring={"quarantine": 20})
    whole.show_all(story())
    assert whole.kinds() == ["repeat", "changeover", "frozen"]
    begun = Watched(ring={"quarantine": 20})
    begun.show_all(story()[:cut])
    saved = snapshot.capture(begun.stream)
    begun.stream = detector(40, method={"degrees": [1]}, ring={"admit": "quarantine", "quarantine": 20})
    snapshot.restore(begun.stream, saved)
    assert begun.stream.events.state() == whole_state(cut)
    begun.show_all(story()[cut:])
    assert begun.events == whole.events
    assert begun.stream.events.state() == whole.stream.events.state()


def whole_state(cut):
    watched = Watched(ring={"quarantine": 20})
    watched.show_all(story()[:cut])
    return watched.stream.events.state()
