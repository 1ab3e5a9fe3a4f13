"""An operator's word where it meets a full ring, a full quarantine, a flush, another word."""

import pytest
from line_support import Product, Watched

from musc_online.errors import ConfigError, FrameError


def repeated(n_before=45, n_after=0, n_copies=4, **ring):
    """A line that told a repeat of the first defect: frames "d0", "d1", ..."""
    product = Product(0)
    watched = Watched(40, ring=ring)
    watched.show_all([product.part() for _ in range(n_before)])
    defect = product.defect(0)
    for number in range(n_copies):
        watched.show(product.damaged(defect), f"d{number}")
    watched.show_all([product.part() for _ in range(n_after)])
    (event,) = watched.events
    assert event.kind == "repeat"
    return watched, product, defect, event.group


def test_accepted_frames_older_than_every_reference_make_no_room_for_each_other():
    watched, product, defect, group = repeated(n_after=45)
    accepted = watched.stream.operators.accept(group)
    assert accepted == ["d0", "d1", "d2", "d3"]
    assert set(accepted) <= watched.references()
    watched.stream.check_invariants()
    assert watched.show(product.damaged(defect), "later").pred_label is False


def test_accept_where_pins_leave_room_for_few():
    watched, _, _, group = repeated()
    operators = watched.stream.operators
    for frame_id in [*watched.references()][:38]:
        operators.pin(frame_id)
    assert operators.accept(group) == ["d0", "d1", "d2", "d3"]
    watched.stream.check_invariants()
    assert len(watched.references()) == 40
    assert not any(watched.stream.window.entries[slot].truth for slot in watched.ring.slot_of.values())


@pytest.mark.parametrize("word", ["false_alarm", "pin"])
def test_a_word_after_a_flush_outlasts_the_next_revision(word):
    watched, _, _, _ = repeated()
    watched.stream.flush()
    getattr(watched.stream.operators, word)("d1")
    watched.revise()
    assert "d1" in watched.references()
    assert "d1" not in watched.stream.events.marks


def test_a_defect_confirmed_after_a_flush_stays_in_quarantine():
    watched, _, _, _ = repeated()
    watched.stream.flush()
    passed = max(known for known in watched.references() if isinstance(known, int))
    watched.stream.operators.confirm(passed, "defect")
    watched.revise()
    assert passed in watched.quarantined()


def test_a_threshold_set_after_a_flush_sorts_by_the_labels_of_now():
    watched, _, _, _ = repeated(n_before=20)
    watched.stream.flush()
    watched.stream.set_threshold(value=5.0)
    watched.revise()
    assert watched.quarantined() == set()
    assert len(watched.references()) == 24


def test_reject_with_a_full_quarantine_confirms_every_frame_of_the_group():
    watched, product, defect, group = repeated(quarantine=4)
    watched.stream.operators.unpin("d0")
    rejected = watched.stream.operators.reject(group, "scratch")
    assert rejected == ["d0", "d1", "d2", "d3"]
    assert {known: word.name for known, word in watched.stream.verdict.known.words.items()} == dict.fromkeys(
        rejected, "scratch"
    )
    later = watched.show(product.damaged(defect), "later")
    assert (later.pred_label, later.known_defect) == (True, "scratch")


def test_the_newest_word_on_a_group_counts():
    watched, product, defect, group = repeated()
    operators = watched.stream.operators
    operators.reject(group, "scratch")
    operators.accept(group)
    later = watched.show(product.damaged(defect), "later")
    assert (later.pred_label, later.known_defect) == (False, None)
    operators.reject(group, "scratch")
    again = watched.show(product.damaged(defect), "again")
    assert (again.pred_label, again.known_defect) == (True, "scratch")


def test_a_false_alarm_of_a_known_defect_loses_its_name():
    watched, product, defect, group = repeated()
    watched.stream.operators.reject(group, "scratch")
    watched.show(product.damaged(defect), "later")
    watched.stream.operators.false_alarm("later")
    (revised,) = [score for score in watched.revise() if score.frame_id == "later"]
    assert (revised.pred_label, revised.known_defect) == (False, None)


def test_a_group_that_no_event_told_of_is_unknown():
    product = Product(0)
    watched = Watched(40)
    watched.show_all([product.part() for _ in range(30)])
    for number in range(2):
        watched.show(product.damaged(product.defect(0)), f"d{number}")
    (group,) = watched.stream.events.groups
    with pytest.raises(FrameError, match=f"group: got {group}, expected one of none"):
        watched.stream.operators.accept(group)


def test_an_id_that_comes_again_brings_no_mark_along():
    watched, product, _, _ = repeated()
    watched.stream.operators.forget("d3")
    watched.show(product.part(), "d3")
    assert "d3" not in watched.stream.events.marks


def test_a_share_that_no_number_can_hold_is_refused():
    watched, _, _, _ = repeated()
    with pytest.raises(ConfigError, match="false_alarms: got 1e-17"):
        watched.stream.set_threshold(false_alarms=1e-17)
