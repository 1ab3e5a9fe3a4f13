"""A verdict comes before those that revise it, and what is lost is told in its place, whatever happens.

A detector with a history of any length, whose camera's clock jumps, and which scores frames anew under old
ids; what it says is dropped, the subscriber restarts, is answered late, and forgets quiet topics.
"""

import random

import pytest
from following_support import PLENTY, STREAMS, Detector, Subscriber

from streamer.following import topics
from streamer.following.taken import Came

STEPS = {
    **{"score": 8, "again": 2, "revise": 12, "event": 2},
    **{"ask": 6, "read": 6, "beat": 3, "catch_up": 6, "restart": 1, "connect": 1, "forget": 2},
}


@pytest.mark.parametrize("most", [PLENTY, 1, 3, 10])
@pytest.mark.parametrize("seed", range(10))
def test_no_revision_comes_before_its_score_and_no_number_goes_without_a_word(seed, most, monkeypatch):
    monkeypatch.setattr(topics, "_TOPICS", 2)
    rng = random.Random(seed)
    says_next = rng.random() < 0.7
    detector = Detector(most)
    subscriber = Subscriber(detector, says_next)
    clock = 0
    for step in rng.choices([*STEPS], [*STEPS.values()], k=250):
        clock = max(0, clock + rng.choice([0, 1, -3600, 10**6]))
        if step in {"score", "again", "revise", "event"}:
            message = detector.say(step, rng.choice(STREAMS), clock, rng.randrange(4))
            if rng.random() < 0.7:
                subscriber.hear(message)
        else:
            getattr(subscriber, step)()
    subscriber.connect()
    subscriber.catch_up()
    subscriber.beat(3)
    subscriber.catch_up()
    for topic, said in detector.said.items():
        taken = [one for one in subscriber.taken if one.topic == topic]
        kept = detector.history.fetch(topic, 0, PLENTY, limit=PLENTY, max_bytes=PLENTY)[0]
        assert {one.pub_seq for one in kept} <= {one["pub_seq"] for one in taken}
        lost = sum(one.lost for one in subscriber.holes if one.topic == topic)
        if topic in subscriber.kept:
            first = min([taken[0]["pub_seq"]] if taken else [], default=0)
            begins = min([first, *(one.first for one in subscriber.holes if one.topic == topic)])
            if says_next:
                assert len(taken) + lost == len(said) - begins
            assert most < PLENTY or (begins, lost) == (0, 0)


def test_a_dropped_score_is_noticed_by_the_revision_behind_it_whatever_the_cameras_clock_says():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score(at=7200))
    subscriber.catch_up()
    detector.score(at=0)  # set back by two hours
    subscriber.hear(detector.revise())
    assert subscriber.kinds() == ["score"]
    subscriber.catch_up()
    assert subscriber.kinds() == ["score", "score", "revision"]
    subscriber.hear(detector.revise(1))
    assert subscriber.gaps.next_request() is None
    assert len(subscriber.taken) == 4


def test_a_frame_that_is_scored_anew_under_its_old_id_is_another_one():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    subscriber.catch_up()
    detector.score(again=True)
    subscriber.hear(detector.revise())
    subscriber.catch_up()
    assert subscriber.kinds() == ["score", "score", "revision"]


def test_what_came_while_what_was_before_it_was_asked_for_waits_for_its_score_too():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    subscriber.catch_up()
    detector.revise()
    subscriber.hear(detector.revise())
    subscriber.ask()
    detector.score()
    subscriber.hear(detector.revise())
    subscriber.read()
    assert subscriber.kinds() == ["score", "revision", "revision"]
    subscriber.catch_up()
    assert subscriber.kinds() == ["score", "revision", "revision", "score", "revision"]


def test_all_that_waited_for_a_score_goes_on_behind_it():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    subscriber.catch_up()
    detector.score()
    for back in (0, 1, 0):
        subscriber.hear(detector.revise(back))
    subscriber.catch_up()
    assert subscriber.kinds() == ["score", "score", *["revision"] * 3]


def test_what_waits_for_scores_that_nobody_knows_of_goes_on_once_the_first_one_comes():
    detector = Detector()
    subscriber = Subscriber(detector)
    detector.say("event", "line", 0, 0)
    while subscriber.answer is None or subscriber.answer[0] != "line/event":
        subscriber.read()
        subscriber.ask()
    subscriber.read()
    assert subscriber.taken == []
    subscriber.hear(detector.score())
    subscriber.catch_up()
    assert subscriber.kinds() == ["score", "event"]


def test_of_more_than_can_wait_for_a_score_the_oldest_are_asked_for(monkeypatch):
    monkeypatch.setattr("streamer.following.gaps._BUFFERED", 3)
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    subscriber.catch_up()
    detector.score()
    for _ in range(6):
        subscriber.hear(detector.revise())
    subscriber.catch_up()
    assert subscriber.kinds() == ["score", "score", *["revision"] * 6]


def test_the_revisions_of_a_frame_of_before_ask_once():
    detector = Detector(2)
    subscriber = Subscriber(detector)
    subscriber.catch_up()
    detector.score()
    detector.revise()
    detector.revise()  # the score has left the history
    subscriber.hear(detector.revise())
    subscriber.catch_up()
    assert subscriber.kinds() == ["revision"] * 2
    subscriber.hear(detector.revise())
    assert subscriber.kinds() == ["revision"] * 3


def test_scores_that_have_all_left_the_history_are_told_as_lost_on_a_line_that_idles(monkeypatch):
    monkeypatch.setattr(topics, "_TOPICS", 0)
    detector = Detector(3)
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    subscriber.catch_up()
    for _ in range(8):
        detector.score()
    for _ in range(3):
        detector.revise()
    subscriber.restart()
    subscriber.catch_up()
    assert subscriber.holes == []  # one may still be on its way
    subscriber.forget()
    subscriber.beat(3)
    subscriber.catch_up()
    assert [(one.topic, one.first, one.last, one.lost) for one in subscriber.holes] == [
        ("line/score", 1, 8, 8)
    ]
    subscriber.restart()
    subscriber.catch_up()
    subscriber.beat(3)
    subscriber.catch_up()
    assert len(subscriber.holes) == 1
    subscriber.hear(detector.score())
    subscriber.catch_up()
    assert subscriber.taken[-1]["pub_seq"] == 9


def test_what_was_still_on_its_way_is_not_told_as_lost():
    detector = Detector(1)
    subscriber = Subscriber(detector)
    subscriber.catch_up()
    subscriber.hear(detector.score())
    late = detector.score()
    detector.revise(1)
    subscriber.connect()
    subscriber.catch_up()
    subscriber.hear(late)
    subscriber.beat(3)
    subscriber.catch_up()
    assert [one["pub_seq"] for one in subscriber.taken if one.kind == "score"] == [0, 1]
    assert subscriber.holes == []


def test_what_comes_after_all_though_it_was_told_as_lost_is_no_sign_of_another_count():
    detector = Detector(1)
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    late = detector.score()
    detector.revise(1)
    subscriber.connect()
    subscriber.catch_up()
    subscriber.beat(3)
    subscriber.catch_up()
    assert [(one.first, one.last) for one in subscriber.holes if one.topic == "line/score"] == [(1, 1)]
    subscriber.hear(late)
    subscriber.catch_up()
    subscriber.hear(detector.score())
    assert [one["pub_seq"] for one in subscriber.taken if one.kind == "score"] == [0, 2]


def test_an_answer_waits_for_scores_of_several_pages():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    subscriber.catch_up()
    subscriber.connect()
    subscriber.ask()  # for the scores, of which there are no more yet
    subscriber.read()
    for _ in range(5):
        detector.score()
    detector.revise()
    subscriber.catch_up()
    assert subscriber.kinds() == [*["score"] * 6, "revision"]


def test_what_would_have_to_wait_for_scores_is_not_asked_for_before_them():
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    subscriber.catch_up()
    subscriber.connect()
    detector.revise()
    subscriber.hear(detector.revise())
    assert subscriber.gaps.next_request() == ("line/score", 0)


def test_a_topic_of_which_something_waits_is_not_forgotten(monkeypatch):
    detector = Detector(1)
    subscriber = Subscriber(detector)
    subscriber.hear(detector.score())
    detector.score()
    subscriber.hear(detector.score())
    detector.revise()  # from here on the history has no scores
    monkeypatch.setattr(topics, "_TOPICS", 0)
    subscriber.forget()
    subscriber.catch_up()
    assert [one["pub_seq"] for one in subscriber.taken if one.kind == "score"] == [0, 2]


def test_a_message_that_came_live_is_known_to_have_though_the_history_gave_it_too():
    detector = Detector()
    subscriber = Subscriber(detector)
    detector.score()
    subscriber.gaps.live(detector.score(), 1)
    taken = subscriber.gaps.answer("line/score", *detector.fetch("line/score", 0))
    assert [one.live for one in taken.steps if isinstance(one, Came)] == [False, True]


def test_what_did_not_fit_the_buffer_while_an_answer_was_on_its_way_is_asked_for_again(monkeypatch):
    monkeypatch.setattr("streamer.following.gaps._BUFFERED", 3)
    detector = Detector()
    subscriber = Subscriber(detector)
    subscriber.catch_up()
    detector.score()
    subscriber.hear(detector.score())
    subscriber.ask()
    for _ in range(9):
        subscriber.hear(detector.score())
    subscriber.catch_up()
    assert [one["pub_seq"] for one in subscriber.taken] == list(range(11))
    assert subscriber.holes == []
