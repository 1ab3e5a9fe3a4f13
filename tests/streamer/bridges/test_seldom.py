"""Lines of the log that may come often."""

from structlog.testing import capture_logs

from streamer.bridges.seldom import EVERY_S, Seldom


def test_the_first_is_told_at_once_and_what_comes_within_a_minute_as_a_sum():
    now = [0.0]
    seldom = Seldom("bridge_queue_full", "dropped", clock=lambda: now[0])
    with capture_logs() as lines:
        seldom.add(0)
        assert lines == []
        assert seldom.add(2, why="first")
        now[0] += EVERY_S - 1
        assert not seldom.add(3, why="second")
        assert not seldom.add(4, why="third")
        now[0] += 1
        assert seldom.add(0)
        assert not seldom.add(0)
        seldom.add(5, why="last")
        seldom.flush()
        seldom.flush()
    assert [(line["event"], line["dropped"], line["why"]) for line in lines] == [
        ("bridge_queue_full", 2, "first"),
        ("bridge_queue_full", 7, "third"),
        ("bridge_queue_full", 5, "last"),
    ]
    assert {line["log_level"] for line in lines} == {"warning"}
