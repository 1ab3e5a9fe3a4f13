"""What is told: scores, revisions by the rule, words and losses, of the streams that are wanted."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given
from store_support import NOON, SECOND, Clock, message, verdict

from streamer.bridges.common import Tell
from streamer.bridges.queue import Queue
from streamer.bridges.telling import Joined, Telling
from streamer.following.taken import Hole, Taken


@pytest.fixture
def queue(tmp_path):
    queue = Queue(tmp_path, "tcp", max_items=10**6, max_bytes=10**9, clock=Clock(NOON))
    yield queue
    queue.close()


def tell(queue, *messages, holes=(), live=False, **rules):
    telling = Telling(Tell(**rules), maps=False)
    with queue.writing() as writing:
        telling.write(Taken(), [*(Joined(one, live=live) for one in messages), *holes], writing)
    items = queue.first()
    queue.delivered(items)
    return items, telling.bad


def told(queue, *messages, **rules):
    """Of each verdict that is told its revision, the label before and the label now."""
    items, bad = tell(queue, *messages, **rules)
    assert bad == 0
    return [(one.header["revision"], one.before, one.header["pred_label"]) for one in items]


def revision(number, label, **fields):
    return verdict("a", "revision", label=label, revision=number, pub_seq=number, **fields)


def test_revisions_that_change_what_was_told_are_told(queue):
    assert told(queue, verdict("a", label=None)) == [(0, None, None)]
    assert told(queue, revision(1, None), revision(2, False), revision(3, False)) == [(2, None, False)]
    assert told(queue, revision(4, True), revision(5, True), revision(6, False)) == [
        (4, False, True),
        (6, True, False),
    ]
    assert told(queue, revision(7, False, is_final=True)) == [(7, False, False)]
    assert told(queue, revision(8, False, is_final=True), finals=False) == []
    assert told(queue, revision(9, True, is_final=True), finals=False) == [(9, False, True)]


def test_a_frame_whose_score_is_not_known_is_told_at_its_first_revision(queue):
    assert told(queue, revision(1, False), revision(2, False)) == [(1, None, False)]


@pytest.mark.parametrize(
    ("revisions", "finals", "expected"),
    [
        ("all", True, [0, 1, 2, 3]),
        ("all", False, [0, 1, 2, 3]),
        ("none", True, [0, 3]),
        ("none", False, [0]),
        ("changed", True, [0, 2, 3]),
        ("changed", False, [0, 2]),
    ],
)
def test_revisions_are_told_by_the_rule(queue, revisions, finals, expected):
    said = [verdict("a"), revision(1, False), revision(2, True), revision(3, True, is_final=True)]
    assert [one[0] for one in told(queue, *said, revisions=revisions, finals=finals)] == expected


LABELS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, False, True])), max_size=30)


@given(LABELS, st.integers(0, 30))
def test_over_a_restart_no_label_is_forgotten_or_told_twice(tmp_path_factory, labels, restart_at):
    folder, arrived = tmp_path_factory.mktemp("told"), []
    queue = Queue(folder, "tcp", max_items=10**6, max_bytes=10**9)
    for number, (frame, label) in enumerate(labels):
        if number == restart_at:
            queue.close()
            queue = Queue(folder, "tcp", max_items=10**6, max_bytes=10**9)
        one = verdict(frame, "revision", label=label, revision=number + 1, pub_seq=number)
        arrived += [
            (item.header["frame_id"], item.before, item.header["pred_label"]) for item in tell(queue, one)[0]
        ]
    queue.close()
    for frame in "ab":
        said = [label for name, label in labels if name == frame]
        changes = [label for label, _ in itertools.groupby(said)]
        befores = [None, *changes][: len(changes)]
        assert [one for one in arrived if one[0] == frame] == [
            (frame, before, label) for before, label in zip(befores, changes, strict=True)
        ]


OTHERS = {
    "events": message(
        "event", event="repeat", group=1, frame_ids=["a"], since="a", n_frames=1, event_ns=NOON, regions=[]
    ),
    "operator": message("operator", what="pin", frame_id="a", who="anna", operator_ns=NOON),
    "dropped": message("dropped", frame_id="a", seq=0, capture_ns=NOON, reason="drop_oldest", meta={}),
    "errors": message("error", frame_id="a", seq=0, code="undecodable", text="no"),
}


@pytest.mark.parametrize("key", OTHERS)
def test_what_else_is_said_is_told_where_it_is_wanted(queue, key):
    (item,) = tell(queue, OTHERS[key])[0]
    assert (item.kind, item.stream, item.topic) == (
        key.removesuffix("s"),
        "line",
        f"line/{key.removesuffix('s')}",
    )
    assert item.header == dict(OTHERS[key])
    assert tell(queue, OTHERS[key], **{key: False}) == ([], 0)
    assert queue.topics()[item.topic][0] == 0


def test_of_streams_that_are_not_wanted_nothing_is_told_and_nothing_is_asked_for_again(queue):
    others = [verdict("a", stream=name) for name in ("left", "right")]
    holes = [Hole(f"{name}/score", 1, 2, lost=2, filled=0) for name in ("left", "right")]
    items, _ = tell(queue, *others, holes=holes, streams=["left"])
    assert [(one.kind, one.stream) for one in items] == [("verdict", "left"), ("dropped", "left")]
    assert set(queue.topics()) == {"left/score", "right/score"}
    nobodys = message("error", stream=None, frame_id=None, seq=None, code="bad_header", text="no")
    nobodys.topic = "-/error"
    assert [one.stream for one in tell(queue, nobodys, streams=["left"])[0]] == [None]


def test_losses_are_told_unless_nobody_wants_them(queue):
    hole = Hole("line/score", 1, 2, lost=2, filled=0)
    assert [one.header["lost"] for one in tell(queue, holes=[hole])[0]] == [2]
    assert tell(queue, holes=[hole], dropped=False) == ([], 0)
    assert queue.counters()["lost"] == 4


def test_a_bridge_that_begins_now_tells_nothing_of_before_but_what_changes(queue):
    old, new = verdict("a", at=-10, label=False), verdict("b", at=10, label=False, pub_seq=1)
    assert told(queue, old, new, begin="now") == [(0, None, False)]
    later = 20 * SECOND + NOON
    assert told(queue, revision(1, False, scored_ns=later), begin="now") == []
    assert told(queue, revision(2, True, scored_ns=later), begin="now") == [(2, None, True)]
    assert told(queue, revision(3, False, scored_ns=later), begin="now") == [(3, True, False)]
    words = [message("operator", what="pin", frame_id="a", operator_ns=NOON + at) for at in (-1, 1)]
    assert [one.header["operator_ns"] for one in tell(queue, *words, begin="now")[0]] == [NOON + 1]


def test_what_came_by_itself_is_news_whatever_the_clocks_say(queue):
    behind = verdict("a", at=-3600, label=True)
    assert told(queue, behind, begin="now", live=True) == [(0, None, True)]
    word = message("operator", what="pin", frame_id="a", operator_ns=NOON - 3600 * SECOND)
    assert len(tell(queue, word, begin="now", live=True)[0]) == 1


def test_of_a_topic_that_is_counted_anew_nothing_is_known(queue):
    tell(queue, verdict("a", pub_seq=7))
    with queue.writing() as writing:
        Telling(Tell(), maps=False).write(Taken(anew=["line/score"]), [], writing)
    assert queue.topics() == {}
    with queue.writing() as writing:
        joined = [Joined(verdict("a", pub_seq=0))]
        Telling(Tell(), maps=False).write(Taken(anew=["line/score"]), joined, writing)
    assert queue.topics()["line/score"][0] == 0


def test_a_hole_is_told_in_its_place_with_the_number_behind_it(queue):
    hole = Hole("line/score", 1, 2, lost=2, filled=0)
    with queue.writing() as writing:
        steps = [Joined(verdict("a")), hole, Joined(verdict("b", pub_seq=3))]
        Telling(Tell(), maps=False).write(Taken(), steps, writing)
    assert [one.kind for one in queue.first()] == ["verdict", "dropped", "verdict"]
    tell(
        queue, holes=[Hole("line/score", 4, 9, lost=6, filled=0), Hole("line/score", 4, 9, lost=0, filled=2)]
    )
    assert queue.topic("line/score") == (9, None)
    assert queue.topic("never heard of") is None


def test_topics_silent_for_longest_are_forgotten_where_there_are_too_many(queue, monkeypatch):
    monkeypatch.setattr("streamer.bridges.writing._TOPICS", 3)
    for number, stream in enumerate(["a", "b", "c", "a", "a", "d"]):
        tell(queue, verdict(number, stream=stream, pub_seq=number))
    assert {name: number for name, (number, _) in queue.topics().items()} == {
        "a/score": 4,
        "c/score": 2,
        "d/score": 5,
    }


def test_what_no_detector_says_is_counted_and_passed_over(queue):
    wrong = [
        verdict(None),
        verdict("a", pred_label="yes"),
        verdict("a", raw_score="high"),
        message("event", event="repeat"),
        message("operator"),
        message("dropped"),
    ]
    items, bad = tell(queue, *wrong, verdict("b"))
    assert [one.header["frame_id"] for one in items] == ["b"]
    assert bad == len(wrong)


def test_labels_of_long_ago_are_forgotten(queue, monkeypatch):
    monkeypatch.setattr("streamer.bridges.writing._REMEMBERED", 3)
    tell(queue, *(verdict(f"p{number}", pub_seq=number) for number in range(5)))
    assert queue._database.execute("SELECT count(*) FROM told").fetchone() == (3,)
    again = [verdict(f"p{number}", "revision", pub_seq=number) for number in range(5)]
    assert [one.header["frame_id"] for one in tell(queue, *again)[0]] == ["p0", "p1"]
