from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.bridges.mqtt.topics import Topics, check_levels, check_prefix, level
from streamer.errors import StreamerError

HOSTILE = [
    "", "+", "#", "a/b", "/", "$SYS", "$share/g/#", "..", "%", "%2F", "a b", "\0", "\n", "\x1b[2J", "\ud800",
    "\u202e", "\ufeff", "\uffff", "Prüfstand 1", "+/+/#", "\U0001f600", "x" * 128,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_plain_level(name):
    made = level(name)
    assert made.isascii()
    assert made.isprintable()
    assert made
    assert not set(made) & set("+#/$ \0")
    topic = Topics("musc", name).of(name, "state")
    assert len(topic.split("/")) == 5


@given(st.lists(st.text(st.characters()), min_size=2, max_size=2, unique=True))
def test_two_names_never_become_one_level_and_each_comes_back(names):
    one, other = map(level, names)
    assert one != other
    for name in filter(None, names):
        assert unquote(level(name), errors="surrogatepass") == name


@pytest.mark.parametrize("text", ["", "+", "a/#", "/a", "a/", "a//b", "$SYS/a", "a\n", "\ud800", "x" * 1025])
def test_a_prefix_is_no_filter_and_has_no_empty_level(text):
    with pytest.raises(StreamerError):
        check_levels(text)


def test_a_prefix_leaves_room_for_the_rest_of_a_topic():
    assert check_prefix("plant/hall-2/vision") == "plant/hall-2/vision"
    with pytest.raises(StreamerError, match="at most 200"):
        check_prefix("x" * 201)


def test_answers_go_nowhere_but_where_they_may():
    topics = Topics("musc", "line 1")
    assert topics.takes_answers("musc/line%201/answers/mine")
    assert topics.takes_answers("scada/answers/7", ("scada/answers",))
    for topic in (
        "musc/line%201/availability", "musc/line%201/commands/confirm", "musc/line%201/streams/a/state",
        "scada/answers/7", "$SYS/x", "musc/line%201/answers/+", "musc/line%201/answers/", "",
    ):  # fmt: skip
        assert not topics.takes_answers(topic), topic
    assert not topics.takes_answers("scada/answersX", ("scada/answers",))
    assert not topics.takes_answers("musc/line%201/state", ("musc",))
