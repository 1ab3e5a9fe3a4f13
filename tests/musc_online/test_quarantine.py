"""Quarantine: what is anomalous is kept and matched beside the references, and is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_support import Product, Watched, line

from musc_online.errors import FrameError
from musc_online.twins import Mark, is_variant, strangeness


@pytest.fixture
def product():
    return Product(0)


def show_defects(watched, product, kinds):
    """Defects that have nothing in common; their ids."""
    return [watched.show(product.damaged(product.defect(kind))).frame_id for kind in kinds]


def test_what_is_flagged_is_kept_and_matched_and_no_reference(product):
    watched = line(product)
    ring = watched.ring
    (defect,) = show_defects(watched, product, [1])
    assert watched.first[defect].pred_label
    assert not watched.first[defect].is_final
    assert watched.quarantined() == {defect}
    slot = ring.slot(defect)
    assert ring.table.measured[slot].sum() == 30
    good = watched.show(product.part())
    assert good.n_references == 30
    assert ring.table.measured[slot, ring.slot(good.frame_id)]
    assert slot not in ring.references(ring.slot(good.frame_id))
    status = watched.stream.status()
    assert (status["images"], status["quarantined"], status["arrivals"]) == (31, 1, 32)


def test_quarantine_makes_no_difference_to_the_scores_of_others():
    """To the bit, but for which slots the frames lie in: the same parts, with and without defects between."""
    raw_scores = []
    for kinds in ([], [1, 2, 3, 3, 3]):
        product, noisy = Product(0), Product(0)
        watched = line(product)
        show_defects(watched, noisy, kinds)
        raw_scores.append([watched.show(product.part()).raw_score for _ in range(5)])
    assert raw_scores[0] == pytest.approx(raw_scores[1], abs=1e-12)


@pytest.mark.parametrize("room", [1, 3])
def test_the_oldest_in_quarantine_leaves_for_the_newest(product, room):
    watched = line(product, ring={"quarantine": room})
    ids = []
    for kind in range(6):
        ids += show_defects(watched, product, [kind])
        assert watched.quarantined() == set(ids[-room:])
        assert len(watched.references()) == 30
    watched.revise()
    finals = [watched.last[frame_id] for frame_id in ids[:-room]]
    assert all(score.is_final and score.pred_label for score in finals)


def test_the_capacity_counts_references_alone(product):
    watched = line(product, 12, capacity=12, threshold={"rule": "fixed", "value": 0.6})
    show_defects(watched, product, range(10))
    assert watched.references() == set(range(12))
    assert len(watched.ring) == 22
    watched.show(product.part())
    assert watched.references() == {*range(1, 12), 22}
    assert len(watched.quarantined()) == 10


@given(
    capacity=st.integers(2, 6),
    room=st.integers(1, 4),
    shown=st.lists(st.sampled_from([None, None, 0, 0, 1, 2]), min_size=8, max_size=30),
    value=st.sampled_from([0.4, 0.6, 0.9]),
)
def test_no_more_than_there_is_room_for_whatever_comes(capacity, room, shown, value):
    """None is a good part, a number a defect."""
    product = Product(0)
    watched = Watched(
        capacity, ring={"quarantine": room}, warmup=1, threshold={"rule": "fixed", "value": value}
    )
    for kind in shown:
        watched.show(product.part() if kind is None else product.damaged(product.defect(kind)))
        assert len(watched.references()) <= capacity
        assert len(watched.quarantined()) <= room
        newest = watched.count - 1
        assert newest in watched.references() | watched.quarantined()


def test_a_revision_clears_and_condemns(product):
    watched = line(product)
    ids = show_defects(watched, product, [1, 2])
    watched.stream.set_threshold(value=2.5)
    watched.revise()
    assert watched.references() == set(range(32))
    assert not any(watched.last[frame_id].pred_label for frame_id in range(32))
    watched.stream.set_threshold(value=0.6)
    watched.revise()
    assert watched.quarantined() == set(ids)
    assert [watched.last[frame_id].pred_label for frame_id in ids] == [True, True]


def test_a_defect_that_passed_in_warm_up_is_condemned(product):
    watched = Watched(warmup=8)
    watched.show_all(product.part() for _ in range(4))
    (defect,) = show_defects(watched, product, [1])
    watched.show_all(product.part() for _ in range(3))
    assert watched.first[defect].pred_label is None
    assert defect in watched.references()
    watched.show_all(product.part() for _ in range(12))
    assert watched.quarantined() == {defect}
    assert watched.last[defect].pred_label
    assert watched.stream.events.marks.keys() == {defect}


@pytest.mark.parametrize(("room", "n_condemned"), [(2, 2), (10, 12 - 9)])
def test_a_threshold_far_too_low_does_not_cost_the_ring_its_references(product, room, n_condemned):
    """As many are left as the warm-up asks for, and nothing leaves the ring."""
    watched = line(product, 12, ring={"quarantine": room}, warmup=8)
    watched.stream.set_threshold(value=0.01)
    watched.revise()
    assert all(watched.last[frame_id].pred_label for frame_id in range(12))
    assert watched.quarantined() == set(range(n_condemned))
    assert watched.references() == set(range(n_condemned, 12))
    assert watched.stream.take_finals() == []


def test_without_references_a_revision_says_nothing(product):
    """Two frames in quarantine and nobody else there: a ValueError of NumPy stopped the stream."""
    watched = line(product, 9, threshold={"rule": "fixed", "value": 0.6})
    ids = show_defects(watched, product, [1, 2])
    for frame_id in range(9):
        watched.stream.operators.forget(frame_id)
    assert watched.revise() == []
    assert watched.quarantined() == set(ids)
    assert [score.is_final for score in watched.stream.flush()] == [True, True]
    watched.show(product.part())


def test_a_pinned_frame_comes_out_of_quarantine_and_is_never_condemned(product):
    watched = line(product)
    (defect,) = show_defects(watched, product, [1])
    watched.stream.operators.pin(defect)
    assert defect in watched.references()
    watched.stream.set_threshold(value=0.01)
    watched.revise()
    assert len(watched.quarantined()) == 10
    assert defect in watched.references()
    assert watched.last[defect].pred_label is False
    watched.stream.operators.unpin(defect)
    watched.revise()
    assert watched.last[defect].pred_label is False  # called good it was, and good it is


def full_of_pins(product):
    """Every reference is pinned, and one more defect is in quarantine."""
    watched = line(product, 12, capacity=12)
    for frame_id in range(12):
        watched.stream.operators.pin(frame_id)
    (defect,) = show_defects(watched, product, [1])
    return watched, defect


def test_a_ring_full_of_pins_goes_on_with_its_quarantine(product):
    watched, defect = full_of_pins(product)
    good = watched.show(product.part())
    assert good.is_final
    assert good.n_references == 12
    assert (watched.references(), watched.quarantined()) == (set(range(12)), {defect})
    watched.stream.set_threshold(value=2.5)  # clears it, but there is no room
    watched.revise()
    assert (watched.references(), watched.quarantined()) == (set(range(12)), {defect})
    watched.stream.operators.false_alarm(defect)
    watched.stream.check_invariants()
    watched.revise()
    assert watched.last[defect].pred_label is False
    assert watched.quarantined() == {defect}


def test_a_ring_full_of_pins_refuses_one_more_and_is_as_it_was(product):
    watched, defect = full_of_pins(product)
    truth = {slot: entry.truth for slot, entry in watched.stream.window.entries.items()}
    with pytest.raises(FrameError, match="all 12 slots are pinned"):
        watched.stream.operators.pin(defect)
    watched.stream.check_invariants()
    assert watched.quarantined() == {defect}
    assert {slot: entry.truth for slot, entry in watched.stream.window.entries.items()} == truth
    watched.stream.operators.forget(3)
    watched.stream.operators.pin(defect)
    assert watched.references() == {*range(12), defect} - {3}


def test_confirmed_defects_move_though_they_were_references(product):
    watched = line(product)
    watched.stream.operators.pin(4)
    watched.stream.operators.confirm(4, "defect")
    assert watched.quarantined() == {4}
    assert watched.ring.pinned == set()
    watched.stream.operators.confirm(4, "good")
    assert watched.quarantined() == set()


@pytest.mark.parametrize(("admit", "is_found"), [("quarantine", True), ("all", False)])
@pytest.mark.parametrize("seed", range(3))
def test_a_defect_that_repeats_is_found_every_time(seed, admit, is_found):
    """Among references its copies support each other, until it is what a part looks like."""
    product = Product(seed)
    watched = line(product, 40, ring={"admit": admit})
    labels = []
    for shown in range(1, 31):
        labels.append(watched.show(product.damaged(product.defect(1))).pred_label)
        watched.show(product.part())
        if is_found:
            assert (watched.kinds() == ["repeat"]) == (shown >= 3)
    assert all(labels) == is_found
    assert any(labels[-10:]) == is_found


def test_twins_count_once_for_the_threshold(product):
    watched = line(product, 40, ring={"quarantine": 30})
    for _ in range(25):
        watched.show(product.damaged(product.defect(1)))
    show_defects(watched, product, [2])
    watched.revise()
    raw_scores = watched.stream.verdict.raw_scores
    n_recent = len(set(range(26, 66)) & set(range(40)))  # references among the newest 40
    assert (raw_scores < watched.stream.threshold).sum() == n_recent
    assert (raw_scores >= watched.stream.threshold).sum() in (1, 2)
    assert watched.last[60].pred_label


@pytest.mark.parametrize(("n_good", "counted"), [(20, 0), (26, 0), (27, 0), (28, 1), (35, 1)])
def test_of_few_frames_twins_do_not_count(product, n_good, counted):
    watched = line(product, n_good)
    for _ in range(2):
        watched.show(product.damaged(product.defect(1)))
    watched.revise()
    assert len(watched.stream.verdict.raw_scores) == n_good + counted
    assert watched.last[n_good].pred_label
    assert watched.quarantined() == {n_good, n_good + 1}


def rare(product, offset):
    """A part of a rare kind: another one all over, and like its kind."""
    return (product.part(0.12) + offset).astype(np.float32)


def played(product, parts, between):
    """Parts on a line of good ones, so many of these after each; what was seen, and the parts' ids."""
    watched = line(product, capacity=120)
    ids = []
    for part in parts:
        ids.append(watched.show(part).frame_id)
        watched.show_all(product.part() for _ in range(between))
    watched.revise()
    return watched, ids


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_kind_of_good_parts_is_learned_and_told_of_to_nobody(seed):
    product = Product(seed)
    offset = product.draw(0.45)
    watched, ids = played(product, [rare(product, offset) for _ in range(20)], between=3)
    assert all(watched.first[frame_id].pred_label for frame_id in ids[:3])
    assert not any(watched.first[frame_id].pred_label for frame_id in ids[-4:])
    condemned = {frame_id for frame_id in ids if watched.last[frame_id].pred_label}
    assert len(condemned) <= 1  # an odd one of its kind
    assert watched.references() >= set(ids) - condemned
    assert watched.events == []


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_another_kind_in_a_row_are_what_a_broken_tool_makes(seed):
    product = Product(seed)
    offset = product.draw(0.45)
    watched, ids = played(product, [rare(product, offset) for _ in range(12)], between=0)
    assert all(watched.last[frame_id].pred_label for frame_id in ids if frame_id in watched.quarantined())
    assert len(watched.quarantined()) == 10
    assert watched.kinds() == ["repeat"]


@pytest.mark.parametrize("seed", range(3))
def test_one_of_a_kind_long_before_does_not_excuse_a_broken_tool(seed):
    product = Product(seed)
    offset = product.draw(0.45)
    watched = line(product, capacity=120, ring={"quarantine": 50})
    watched.show(rare(product, offset))
    watched.show_all(product.part() for _ in range(24))
    broken = [watched.show(rare(product, offset)).frame_id for _ in range(12)]
    watched.show_all(product.part() for _ in range(8))
    watched.revise()
    assert watched.quarantined() >= set(broken)
    assert watched.kinds() == ["repeat"]


@pytest.mark.parametrize("word", ["confirm", "reject"])
@pytest.mark.parametrize("seed", range(3))
def test_what_an_operator_calls_defects_is_no_rare_kind(seed, word):
    product = Product(seed)
    offset = product.draw(0.45)
    watched = line(product, 40, capacity=120, ring={"quarantine": 50})
    first = [watched.show(rare(product, offset)).frame_id for _ in range(3)]
    if word == "reject":
        watched.stream.operators.reject(watched.events[0].group, "blur")
    else:
        for frame_id in first:
            watched.stream.operators.confirm(frame_id, "defect")
    good, later = [], []
    for _ in range(12):
        good += [watched.show(product.part()).frame_id for _ in range(4)]
        later.append(watched.show(rare(product, offset)).frame_id)
    watched.revise()
    assert watched.quarantined() >= {*first, *later}
    assert not any(watched.last[frame_id].pred_label for frame_id in good)


def test_a_rare_kind_that_no_revision_learns_is_told_in_the_end(product):
    """A threshold so low that good parts of the common kind are above it now and then."""
    offset = product.draw(0.6)
    sections = {"ring": {"quarantine": 50}, "threshold": {"rule": "fixed", "value": 0.38}}
    watched = line(product, capacity=150, **sections)
    told_at = None
    for shown in range(1, 21):
        watched.show(rare(product, offset))
        told_at = told_at or (shown if watched.events else None)
        watched.show_all(product.part() for _ in range(3))
    assert (told_at, watched.kinds()) == (12, ["repeat"])


@pytest.mark.parametrize(
    ("strange", "places", "is_one"),
    [
        ([1.3, 1.3, 1.3], [0, 4, 9], True),
        ([1.3, 1.3], [0, 4], False),  # too few
        ([1.1, 1.18, 1.3], [0, 4, 9], False),  # most are not strange
        ([1.1, 1.19, 1.3], [0, 4, 9], True),
        ([1.3] * 5, [0, 30, 31, 32, 33], False),  # one long before, then in a row
        ([1.3] * 5, [0, 1, 2, 30, 40], True),  # two of four right after another
        ([1.3] * 4, [0, 1, 2, 30], False),
    ],
)
def test_a_variant_is_strange_and_scattered(strange, places, is_one):
    marks = [Mark([0], 1.0, False, strange=one) for one in strange]
    assert is_variant(marks, places) == is_one
    marks[-1].defect = True
    assert not is_variant(marks, places)


@pytest.mark.parametrize("seed", range(3))
def test_a_defect_that_covers_what_others_show_is_no_rare_kind(seed):
    """Good parts' worst patches are far from it, but the others are where they were."""
    product = Product(seed)
    watched, ids = played(product, [product.damaged(product.defect(1)) for _ in range(12)], between=3)
    assert all(watched.first[frame_id].pred_label for frame_id in ids)
    assert watched.quarantined() == set(ids[-10:])
    assert watched.kinds() == ["repeat"]


def test_strange_is_who_good_parts_are_far_from_in_every_respect(product):
    watched = line(product, capacity=80)
    offset = product.draw(0.45)
    (defect,) = show_defects(watched, product, [1])
    kinds = [watched.show(rare(product, offset)).frame_id for _ in range(2)]
    marks = watched.stream.events.marks
    assert [mark.strange for mark in marks.values()] == [0.0] * 3  # nobody has asked
    kinds.append(watched.show(rare(product, offset)).frame_id)
    assert [marks[kind].strange for kind in kinds] == pytest.approx([1.4] * 3, abs=0.1)
    ring = watched.ring
    assert strangeness(ring, ring.slot(defect), np.arange(16)) == pytest.approx(1.0, abs=0.1)
    assert strangeness(ring, ring.slot(0), np.arange(16)) == pytest.approx(1.0, abs=0.1)


def test_strangeness_does_not_look_where_a_frame_is_ignored(product):
    watched = line(product, capacity=80)
    part = product.part()
    part[:, :9] += product.draw(0.8)[:, :9]
    slot = watched.ring.slot(watched.show(part).frame_id)
    everywhere, elsewhere = (strangeness(watched.ring, slot, np.arange(first, 16)) for first in (0, 9))
    assert everywhere > 1.2
    assert elsewhere == pytest.approx(1.0, abs=0.1)


def test_marks_of_an_earlier_snapshot_are_of_nobody_strange(product):
    watched = line(product)
    show_defects(watched, product, [1])
    state = watched.stream.events.state()
    for _, mark in state["marks"]:
        del mark["strange"]
    watched.stream.events.restore(state)
    assert [mark.strange for mark in watched.stream.events.marks.values()] == [0.0]
