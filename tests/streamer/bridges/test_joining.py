"""Pictures and their verdicts: waited for briefly, by their own stream alone."""

import pytest
from store_support import picture_message, verdict

from streamer.bridges import joining
from streamer.bridges.joining import PATIENCE_S, Joining
from streamer.following.taken import Came, Hole


class Now:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def now():
    return Now()


def a_joining(now, expects=True):
    return Joining(lambda _: expects, now)


def score(name, stream="line"):
    return Came(verdict(name, stream=stream), live=True)


def revision(name, stream="line"):
    return Came(verdict(name, "revision", stream=stream), live=True)


def picture(name, stream="line", jpeg=b"jpeg"):
    return Came(picture_message(name, jpeg, stream=stream), live=True)


def shown(joined):
    return [(one.message["frame_id"], one.message.kind, one.picture) for one in joined]


def test_a_score_waits_for_its_picture_and_other_streams_for_nothing(now):
    join = a_joining(now)
    assert shown(join.take([score("a"), score("b", "other"), revision("c", "third")], live=True)) == [
        ("c", "revision", None)
    ]
    assert shown(join.take([picture("b", "other")], live=True)) == [("b", "score", b"jpeg")]
    assert join.overdue() == []
    assert shown(join.take([picture("a")], live=True)) == [("a", "score", b"jpeg")]
    assert not join.holds


def test_a_picture_that_does_not_come_is_not_waited_for_any_more(now):
    join = a_joining(now)
    join.take([score("a")], live=True)
    now.now += PATIENCE_S / 2
    assert join.overdue() == []
    now.now += PATIENCE_S / 2
    assert shown(join.overdue()) == [("a", "score", None)]


def test_what_the_stream_says_next_means_that_there_is_no_picture(now):
    join = a_joining(now)
    messages = [score("a"), score("b"), revision("a"), picture("x")]
    assert shown(join.take(messages, live=True)) == [
        ("a", "score", None),
        ("b", "score", None),
        ("a", "revision", None),
    ]


def test_a_picture_that_came_before_is_joined_to_what_is_filled_later_and_to_revisions(now):
    join = a_joining(now)
    assert join.take([picture("a")], live=True) == []
    assert shown(join.take([score("a"), revision("a")], live=False)) == [
        ("a", "score", b"jpeg"),
        ("a", "revision", b"jpeg"),
    ]


def test_where_none_is_expected_and_for_what_the_history_gave_nothing_waits(now):
    assert shown(a_joining(now, expects=False).take([score("a")], live=True)) == [("a", "score", None)]
    assert shown(a_joining(now).take([score("a")], live=False)) == [("a", "score", None)]


def test_pictures_in_memory_are_bounded(now, monkeypatch):
    monkeypatch.setattr(joining, "_BYTES", 100)
    join = a_joining(now)
    join.take([picture(number, jpeg=bytes(40)) for number in range(5)], live=True)
    scores = [score(number) for number in range(5)]
    assert [one.picture is not None for one in join.take(scores, live=False)] == [False] * 3 + [True] * 2
    monkeypatch.setattr(joining, "_MOST", 1)
    join.take([picture(9)], live=True)
    assert [one.picture is not None for one in join.take([score(4), score(9)], live=False)] == [False, True]


def test_a_hole_is_told_between_what_came_before_it_and_what_follows(now):
    join = a_joining(now)
    hole, elsewhere = (Hole(f"{stream}/score", 3, 4, lost=2, filled=0) for stream in ("line", "other"))
    assert join.take([score("a"), elsewhere], live=True) == [elsewhere]
    told = join.take([hole, score("b")], live=True)
    assert [one if one is hole else one.message["frame_id"] for one in told] == ["a", hole]
    assert set(join.holds) == {"line"}


def test_what_is_held_is_forgotten_where_it_comes_again(now):
    join = a_joining(now)
    join.take([score("a")], live=True)
    join.clear()
    assert shown(join.take([picture("a")], live=True)) == []
