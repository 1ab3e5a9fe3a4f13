"""How long a history is waited for: a page a few seconds, a bridge for as long as it is told."""

import pytest

from streamer.following.patience import ANSWER_S, Patience


@pytest.mark.parametrize("seconds", [0.0, 600.0])
def test_a_history_is_away_after_two_questions_of_a_detector_that_is_heard(seconds):
    patience = Patience(seconds)
    assert patience.answer_s == ANSWER_S
    assert not patience.miss(5.0, is_up=True)
    assert patience.answers is None
    assert patience.miss(10.0, is_up=True)
    assert patience.answers is False
    assert patience.is_over(10.0, is_up=True) is (seconds == 0)


def test_a_page_waits_no_longer_for_the_next_answer():
    patience = Patience(0.0)
    for now in range(9):
        patience.miss(now, is_up=True)
    assert (patience.answer_s, patience.ask_at) == (ANSWER_S, 8)


def test_a_history_that_is_only_slow_is_given_more_time_each_time():
    patience, waited = Patience(600.0), []
    for now in range(5):
        waited.append(patience.answer_s)
        patience.miss(now, is_up=True)
    assert waited == [5, 10, 20, 40, 40]
    patience.answered("a")
    assert patience.answer_s == 5


def test_it_is_given_up_when_its_detector_was_heard_for_so_long():
    patience = Patience(600.0)
    patience.refuse(100.0)
    assert patience.ask_at == 101
    patience.refuse(400.0)
    assert not patience.is_over(699.0, is_up=True)
    assert patience.is_over(700.0, is_up=True)
    patience.gave_up = True
    patience.begin()  # the detector was connected again
    assert patience.answers is None
    assert not patience.is_over(701.0, is_up=True)  # perhaps it answers now
    patience.refuse(702.0)
    assert patience.is_over(702.0, is_up=True)
    assert patience.answered("a")
    assert not patience.answered("a")
    assert not patience.is_over(10_000.0, is_up=True)


def test_while_the_detector_is_down_the_time_does_not_run():
    patience = Patience(600.0)
    patience.refuse(0.0)
    assert not patience.is_over(5000.0, is_up=False)
    assert not patience.miss(5001.0, is_up=False)
    patience.refuse(5002.0)
    assert not patience.is_over(5600.0, is_up=True)
    assert patience.is_over(5602.0, is_up=True)


def test_a_topic_alone_that_is_refused_is_given_up_alone_and_asked_for_no_more():
    patience = Patience(600.0)
    assert patience.refuse_topic("bad", 0.0)  # perhaps all are
    assert not patience.answered("good")
    assert not patience.refuse_topic("bad", 500.0)
    assert patience.ask_at == 501
    assert patience.answers
    assert not patience.is_given_up("bad", 599.0)
    patience.answered("good")
    assert patience.is_given_up("bad", 600.0)
    assert not patience.is_given_up("good", 600.0)
    assert not patience.is_over(600.0, is_up=True)
    patience.begin()
    assert not patience.is_given_up("bad", 9999.0)


def test_after_a_history_that_refused_all_each_topic_is_asked_for_once_more():
    patience = Patience(600.0)
    for topic in ("a", "b"):
        assert patience.refuse_topic(topic, 0.0)
    assert patience.is_over(600.0, is_up=True)
    patience.gave_up = True
    assert patience.answered("probe")
    assert not patience.is_given_up("a", 700.0)
    assert not patience.is_given_up("b", 700.0)
    patience.answered("a")
    assert not patience.refuse_topic("b", 701.0)
    assert not patience.is_given_up("a", 701.0)
    assert patience.is_given_up("b", 701.0)
