"""What is told as lost: of new topics, to a new subscriber, and of a history that is given up."""

import pytest
from following_support import Detector, Subscriber


def test_the_first_of_a_topic_that_was_empty_are_missed_where_they_are_gone():
    detector = Detector(1)
    subscriber = Subscriber(detector)
    subscriber.catch_up()
    for _ in range(3):
        detector.say("event", "line", 0, 0)
    subscriber.hear(detector.say("event", "line", 0, 0))
    subscriber.catch_up()
    assert [(one.topic, one.first, one.last) for one in subscriber.holes] == [("line/event", 0, 2)]


@pytest.mark.parametrize("beats", [0, 3])
def test_who_is_new_has_missed_nothing_of_what_is_gone(beats):
    detector = Detector(1)
    for _ in range(3):
        detector.say("event", "line", 0, 0)
    detector.score()  # from here on the history has no events
    subscriber = Subscriber(detector)
    subscriber.catch_up()
    subscriber.beat(beats)
    subscriber.catch_up()
    subscriber.hear(detector.say("event", "line", 0, 0))
    subscriber.catch_up()
    assert subscriber.kinds() == ["score", "event"]
    assert subscriber.holes == []


def test_who_was_new_and_begins_again_has_missed_nothing_of_before_either():
    detector = Detector(1)
    for _ in range(3):
        detector.say("event", "line", 0, 0)
    detector.score()
    subscriber = Subscriber(detector)
    subscriber.catch_up()
    subscriber.beat(3)
    subscriber.catch_up()
    subscriber.restart()
    subscriber.catch_up()
    subscriber.beat(3)
    subscriber.catch_up()
    assert subscriber.holes == []
    assert subscriber.kept["line/event"] == (2, None)


@pytest.mark.parametrize("live", [False, True])
def test_of_a_stream_that_began_meanwhile_what_is_gone_is_told_as_lost(live):
    detector = Detector(3)
    detector.score("left")
    subscriber = Subscriber(detector)
    subscriber.catch_up()
    scores = [detector.score() for _ in range(8)]  # while the bridge was down, or dropped on the way
    if live:
        subscriber.hear(scores[-1])
    else:
        subscriber.restart()
    subscriber.catch_up()
    assert [(one.topic, one.first, one.last) for one in subscriber.holes] == [("line/score", 0, 4)]
    assert [one["pub_seq"] for one in subscriber.taken if one.topic == "line/score"] == [5, 6, 7]


def test_a_history_that_is_given_up_costs_what_was_missing_and_nothing_that_came():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.catch_up()
    detector.score()
    detector.score()
    subscriber.hear(detector.score())
    subscriber.hear(detector.revise(2))
    assert subscriber.taken == []
    taken = subscriber.gaps.unanswered()
    assert [(one.topic, one.first, one.last) for one in taken.holes] == [("line/score", 0, 1)]
    assert [one.kind for one in taken.messages] == ["score", "revision"]
    assert subscriber.gaps.next_request() is None


def test_a_topic_that_the_history_cannot_read_is_given_up_alone():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score("left"))
    subscriber.hear(detector.score())
    subscriber.catch_up()
    for stream in ("line", "left"):
        detector.score(stream)
        subscriber.hear(detector.score(stream))
    subscriber.hear(detector.revise())
    taken = subscriber.gaps.refused("line/score")
    assert [(one.topic, one.first, one.last) for one in taken.holes] == [("line/score", 1, 1)]
    assert [one.topic for one in taken.messages] == ["line/score", "line/revision"]
    assert subscriber.gaps.next_request() == ("left/score", 1)
