"""What is kept for clients that were away: bounded, counted once, on disk before it leaves the queue."""

import json
import sqlite3
import stat

import pytest
from opcua_support import verdict

from streamer.bridges.opcua.config import Names
from streamer.bridges.opcua.kept import FILE, Kept
from streamer.bridges.opcua.told import told
from streamer.bridges.sink import Item
from streamer.errors import StreamerError

QUEUE = "0123456789abcdef"


def results(*numbers, **fields):
    return [told(verdict(number, **fields), Names()) for number in numbers]


def numbers(kept, stream=None, after=0):
    found, more = kept.after("result", stream, after, 1000, 2**20)
    assert not more
    return [one["ItemNumber"] for one in found]


def test_each_stream_keeps_its_own_last_results(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=3, streams=8)
    kept.add(results(1, 2, 3, 4, stream="a"))
    kept.add(results(5, stream="b"))
    kept.add(results(*range(6, 16), stream="a"))
    assert numbers(kept) == [5, 13, 14, 15]
    assert numbers(kept, "a", after=13) == [14, 15]
    assert (kept.oldest("result", "a"), kept.oldest("result", None), kept.oldest("message", "a")) == (
        13,
        5,
        0,
    )
    kept.close()


def test_streams_beyond_the_most_are_kept_in_the_room_of_all(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=5, streams=4)
    for number in range(1, 2500, 10):
        kept.add([one for i in range(10) for one in results(number + i, stream=f"s{number + i}")])
    assert len(kept.states) == 4
    # All together have room for two kinds of each stream; it is looked at every thousand items.
    assert len(numbers(kept, after=2000)) == 500
    assert numbers(kept)[0] > 1000
    kept.close()


def test_what_is_told_again_is_the_same_and_is_not_counted_again(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    first = kept.add(results(1, 2))
    again = kept.add(results(2, 3))
    assert again[0] == first[1]
    assert [one.values["PreviousItemNumber"] for one in (*first, again[1])] == [0, 1, 2]
    assert kept.states["line"].counters["Results"] == 3
    kept.close()


def test_a_batch_that_the_disk_does_not_take_leaves_nothing_behind(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    kept.add(results(1))
    before = kept.states["line"]
    broken = results(2, 3)
    broken[1].values["RawScore"] = object()  # cannot be written
    with pytest.raises(TypeError):
        kept.add(broken)
    assert numbers(kept) == [1]
    assert kept.states["line"] == before
    assert [one.values["PreviousItemNumber"] for one in kept.add(results(2, 3))] == [1, 2]
    kept.close()


def test_a_full_disk_is_said_and_what_was_kept_is_still_read(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    kept.add(results(1))
    pages = kept._writer.execute("PRAGMA page_count").fetchone()[0]
    kept._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        kept.add(results(*range(2, 400)))
    assert numbers(kept) == [1]
    kept.close()


def test_another_queue_goes_on_behind_the_last_number_that_was_told(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    (old,) = kept.add(results(kept.number_of(7)))
    kept.close()
    for _ in range(2):  # and so it is after the next start
        kept = Kept(tmp_path, "f" * 16, keep=10, streams=8)
        (new,) = kept.add(results(kept.number_of(1), frame_id="new", pred_label=False))
        assert (old.number, new.number) == (7, 8)
        assert new.values["FrameId"] == "new"
        assert new.values["PreviousItemNumber"] == 7
        assert numbers(kept) == [7, 8]
        assert kept.get(old.values["ResultId"])["FrameId"] == "part-7"
        assert kept.states["line"].counters["Results"] == 2
        assert kept.states["line"].last["FrameId"] == "new"
        kept.close()
    # One that is moved back is another one again: its numbers would be those of other results.
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    assert kept.number_of(8) == 16
    kept.close()


def test_one_queue_keeps_its_numbers_over_restarts(tmp_path):
    for number in (1, 2, 3):
        kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
        assert kept.number_of(number) == number
        kept.add(results(number))
        kept.close()


def test_an_item_names_the_one_before_it_though_it_was_told_and_left_before(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=2, streams=1)
    kept.add(results(1))
    kept.add(results(2, 3, 4))
    # A bridge that was killed delivers again: all of them, though two have left meanwhile.
    again = kept.add(results(2, 3, 4))
    assert [one.values["PreviousItemNumber"] for one in again] == [0, 2, 3]
    assert kept.states["line"].counters["Results"] == 4
    assert numbers(kept) == [3, 4]
    kept.add(results(5, stream="beyond the most"))
    (one,) = kept.add(results(6, stream="beyond the most"))
    assert one.values["PreviousItemNumber"] == 5
    kept.close()


def test_an_answer_has_no_more_bytes_than_a_message_and_one_result_at_least(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    kept.add(results(1, 2, 3, 4))
    (body,) = kept.after("result", None, 3, 1, 0)[0]
    most = 2 * (len(json.dumps(body)) + 300)
    found, more = kept.after("result", None, 0, 10, most)
    assert ([one["ItemNumber"] for one in found], more) == ([1, 2], True)
    found, more = kept.after("result", None, 2, 10, most)
    assert ([one["ItemNumber"] for one in found], more) == ([3, 4], False)
    assert kept.after("result", None, 0, 10, 0)[1]
    kept.close()


def test_ids_that_are_none_find_nothing(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    kept.add(results(1))
    for given in (
        "",
        "-1",
        f"{kept.instance}-",
        f"{kept.instance}-x",
        f"{kept.instance}-{10**30}",
        f"{kept.instance}-2",
    ):
        assert kept.get(given) is None
    assert kept.get(f"{kept.instance}-1")["FrameId"] == "part-1"
    kept.close()


def test_a_damaged_file_is_told_in_one_line_and_a_new_one_is_its_owners_alone(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    kept.close()
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StreamerError, match=r"cannot be used .*delete it"):
        Kept(tmp_path, QUEUE, keep=10, streams=8)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {
            "raw_score": float("nan"),
            "meta": [1],
            "regions": [[1, 2], "x", None],
            "latency_ms": 5,
            "revision": -1,
        },
        {"raw_score": True, "pred_label": 1, "capture_ns": "now", "scored_ns": 2**70, "n_references": 2**40},
        {"frame_id": ["a"], "meta": {"part_id": "\ud800half"}, "state": None, "model_id": 7, "late": "yes"},
    ],
)
def test_a_header_of_anything_becomes_values_of_the_right_kind(tmp_path, header):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    (one,) = kept.add([told(Item(1, "verdict", "s/score", 0, "s", header), Names())])
    assert kept.get(one.values["ResultId"]) == one.values
    assert isinstance(one.text, str)
    kinds = {
        "RawScore": float,
        "Verdict": int,
        "FrameId": str,
        "PartId": str,
        "CreationTime": int,
        "State": str,
    }
    for name, kind in kinds.items():
        assert isinstance(one.values.get(name, kind()), kind)
    assert one.values.get("Verdict", 0) == 0
    assert one.values.get("References", 0) < 2**32
    one.values.get("PartId", "").encode()
    kept.close()


def test_what_the_queue_lets_go_of_is_not_undone_by_a_power_cut(tmp_path):
    kept = Kept(tmp_path, QUEUE, keep=10, streams=8)
    assert kept._writer.execute("PRAGMA synchronous").fetchone() == (2,)  # full
    kept.close()
