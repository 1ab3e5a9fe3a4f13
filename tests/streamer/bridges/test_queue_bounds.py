"""What a queue does with too much, and with what it cannot read: counted, told, and nothing else lost."""

from queue_support import a_queue, fill, named
from store_support import verdict
from structlog.testing import capture_logs

from streamer.bridges.common import Tell
from streamer.bridges.telling import Joined, Telling
from streamer.following.gaps import Taken


def test_of_too_many_items_the_oldest_that_were_not_tried_go_and_it_is_told_in_their_place(tmp_path):
    queue = a_queue(tmp_path, max_items=20)
    fill(queue, 10)
    tried = queue.first(3)
    fill(queue, 30, begin=10)
    assert queue.counters()["items"] == 20
    kept = queue.first()
    assert kept[:3] == tried
    mark, rest = kept[3], kept[4:]
    assert mark.kind == "dropped"
    assert mark.header["reason"] == "queue_full"
    assert named(rest) == [f"p{number}" for number in range(24, 40)]
    assert (mark.header["lost"], mark.header["first"], mark.header["last"]) == (21, 4, 24)
    assert [one.number for one in kept] == sorted(one.number for one in kept)
    assert queue.counters()["dropped"] == 21
    fill(queue, 1, begin=40)  # all of it may have gone out meanwhile: nothing more goes
    assert named(queue.first())[4:] == [*named(rest), "p40"]
    queue.delivered(queue.first(4))
    queue.close()
    queue = a_queue(tmp_path, max_items=20)
    assert named(queue.first()) == [*named(rest), "p40"]
    queue.close()


def test_a_mark_of_what_went_goes_with_more_and_counts_on(tmp_path):
    queue = a_queue(tmp_path, max_items=10)
    for begin in range(0, 50, 5):
        fill(queue, 5, begin=begin)
    (mark, *rest) = queue.first()
    assert mark.header["lost"] == 50 - len(rest) == queue.counters()["dropped"]
    assert named(rest) == [f"p{number}" for number in range(50 - len(rest), 50)]
    queue.close()


def test_a_full_queue_is_told_at_once_and_then_not_with_every_item(tmp_path):
    with capture_logs() as lines:
        queue = a_queue(tmp_path, max_items=10)
        for begin in range(50):
            fill(queue, 1, begin=begin)
        n_dropped = queue.counters()["dropped"]
        queue.close()
    told = [line["dropped"] for line in lines if line["event"] == "bridge_queue_full"]
    assert sum(told) == n_dropped > 30
    assert len(told) < 10  # the first, and the rest at the end


def test_what_was_handed_over_before_a_restart_keeps_its_place(tmp_path):
    queue = a_queue(tmp_path, max_items=20)
    fill(queue, 10)
    handed_over = queue.first()
    queue.close()
    queue = a_queue(tmp_path, max_items=20)
    fill(queue, 30, begin=10)
    assert queue.first()[:10] == handed_over
    queue.close()


def test_an_item_that_is_damaged_is_lost_alone_and_told_in_its_place(tmp_path):
    queue = a_queue(tmp_path)
    fill(queue, 5)
    size = queue.counters()["bytes"]
    queue._database.execute("UPDATE item SET header = ? WHERE number = 2", (b"\x80\x80",))
    queue._database.execute("UPDATE item SET header = ? WHERE number = 5", (b"\xc1",))
    with capture_logs() as lines:
        found = queue.first()
        assert queue.first() == found
        assert named(found) == ["p0", None, "p2", "p3", None]
        mark = found[1]
        assert (mark.kind, mark.number, mark.header["reason"]) == ("dropped", 2, "damaged")
        assert (mark.header["lost"], mark.header["first"], mark.header["last"]) == (1, 2, 2)
        counters = queue.counters()
        assert (counters["lost"], counters["items"]) == (2, 5)
        assert counters["bytes"] < size
        queue.delivered(found)
        assert (queue.counters()["items"], queue.counters()["bytes"]) == (0, 0)
        queue.close()
    told = [(line["number"], line["lost"]) for line in lines if line["event"] == "bridge_item_damaged"]
    assert told == [(2, 1), (5, 1)]


def test_of_a_frame_whose_verdict_was_damaged_the_next_one_is_told(tmp_path):
    queue = a_queue(tmp_path)
    fill(queue, 1, label=True)
    queue._database.execute("UPDATE item SET header = x'c1'")
    queue.delivered(queue.first())
    with queue.writing() as writing:
        revision = verdict("p0", "revision", label=True, pub_seq=0)
        Telling(Tell(), maps=False).write(Taken(), [Joined(revision)], writing)
    assert named(queue.first()) == ["p0"]
    queue.close()


def test_a_damaged_mark_and_a_damaged_letter_stop_nothing(tmp_path):
    queue = a_queue(tmp_path, max_items=10)
    fill(queue, 20)
    queue._database.execute("UPDATE item SET header = x'c1' WHERE kind = 'dropped'")
    fill(queue, 5, begin=20)
    assert named(queue.first())[1:] == [f"p{number}" for number in range(16, 25)]
    queue.refused(queue.first()[1], "no such line")
    queue._database.execute("UPDATE dead SET header = x'c1'")
    (letter,) = queue.letters()
    assert letter.reason.startswith("no such line (damaged since: ")
    assert (letter.item.number, letter.item.header) == (17, {})
    queue.redeliver()
    assert queue.first()[1].header["reason"] == "damaged"
    queue.close()


def test_a_queue_of_before_a_figure_was_counted_counts_it_from_now_on(tmp_path):
    queue = a_queue(tmp_path)
    queue._database.execute("DELETE FROM counter WHERE name = 'letters_dropped'")
    queue.close()
    queue = a_queue(tmp_path)
    assert queue.counters()["letters_dropped"] == 0
    queue.close()


def test_bytes_are_bounded_too(tmp_path):
    queue = a_queue(tmp_path, max_bytes=100_000)
    fill(queue, 200, meta={"note": "x" * 2000})
    counters = queue.counters()
    assert counters["bytes"] <= 100_000
    assert counters["items"] < 50
    items = []
    while found := queue.first():
        items += found
        queue.delivered(found)
    assert named(items)[-1] == "p199"
    assert (queue.counters()["items"], queue.counters()["bytes"]) == (0, 0)
    queue.close()


def test_of_a_frame_whose_verdict_went_for_want_of_room_the_next_one_is_told(tmp_path):
    queue = a_queue(tmp_path, max_items=3)
    fill(queue, 6, label=True)
    queue.delivered(queue.first())
    for frame in ("p0", "p5"):
        revision = verdict(frame, "revision", label=True, pub_seq=0)
        with queue.writing() as writing:
            Telling(Tell(), maps=False).write(Taken(), [Joined(revision)], writing)
    assert named(queue.first()) == ["p0"]  # of p5 the same was told
    queue.close()


def test_dead_letters_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("streamer.bridges.queue._LETTERS", 3)
    queue = a_queue(tmp_path)
    fill(queue, 5)
    with capture_logs() as lines:
        for item in queue.first():
            queue.refused(item, "no")
    assert [line["dropped"] for line in lines if line["event"] == "bridge_dead_letters_full"] == [1]
    assert queue.counters()["letters_dropped"] == 2
    assert named(letter.item for letter in queue.letters()) == ["p2", "p3", "p4"]
    assert (queue.counters()["dead"], queue.counters()["refused"]) == (3, 5)
    queue.close()
