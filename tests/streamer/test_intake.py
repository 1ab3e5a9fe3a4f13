"""Queues before decoding: what is dropped for a new frame, and what is not."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musc_online import config
from streamer.server.intake import Intake
from streamer.server.stream import QueuedFrame, Stream
from streamer.wire.frame import FrameMessage

LINE, OTHER = (Stream(name, config.load({})) for name in ("line", "other"))


def frame(name, size=10, stream=LINE):
    return QueuedFrame(FrameMessage(stream.name, name, "png", bytes(size)), stream, 0)


def offered(intake, queued, length=3, when_full="drop_oldest"):
    taken, dropped = intake.offer(queued, length=length, when_full=when_full)
    return taken, [old.message.frame_id for old in dropped]


def waiting(intake):
    intake.close()
    return [queued.message.frame_id for queued in taken_in_turn(intake)]


def taken_in_turn(intake):
    while (queued := intake.take()) is not None:
        yield queued
        intake.decoded(queued)


def test_the_oldest_make_room_in_a_full_queue():
    intake = Intake(1000)
    assert [offered(intake, frame(i)) for i in range(5)] == [
        (True, []), (True, []), (True, []), (True, [0]), (True, [1])
    ]  # fmt: skip
    assert waiting(intake) == [2, 3, 4]


def test_as_many_as_it_takes_make_room_for_a_large_one():
    intake = Intake(100)
    for i in range(4):
        offered(intake, frame(i, 20), length=9)
    assert offered(intake, frame("large", 70), length=9) == (True, [0, 1, 2])
    assert intake.status() == {"frames": 2, "bytes": 90}
    assert waiting(intake) == [3, "large"]


def test_nothing_is_dropped_where_that_makes_no_room():
    """Other streams hold the bytes: the stream's own frames were all dropped, and the new one as well."""
    intake = Intake(100)
    offered(intake, frame("theirs", 80, OTHER))
    for i in range(2):
        assert offered(intake, frame(i, 10)) == (True, [])
    assert offered(intake, frame("too much", 30)) == (False, [])
    assert offered(intake, frame("just", 20)) == (True, [0, 1])
    assert intake.status() == {"frames": 2, "bytes": 100}
    assert waiting(intake) == ["theirs", "just"]


def test_one_larger_than_all_allowance_passes_alone_and_only_alone():
    intake = Intake(100)
    for i in range(3):
        offered(intake, frame(i, 20))
    assert offered(intake, frame("huge", 500)) == (True, [0, 1, 2])
    assert offered(intake, frame("next", 1)) == (True, ["huge"])
    offered(intake, frame("theirs", 20, OTHER))
    assert offered(intake, frame("huge again", 500)) == (False, [])
    assert waiting(intake) == ["next", "theirs"]


@pytest.mark.parametrize("when_full", ["drop_newest", "block"])
def test_the_other_rules_drop_nothing_that_waits(when_full):
    intake = Intake(50)
    assert [offered(intake, frame(i, 20), 2, when_full) for i in range(3)] == [
        (True, []), (True, []), (False, [])
    ]  # fmt: skip
    assert offered(intake, frame("large", 40), 9, when_full) == (False, [])
    assert waiting(intake) == [0, 1]


def test_a_queue_of_one_holds_the_newest():
    intake = Intake(1000)
    assert [offered(intake, frame(i), length=1) for i in range(3)] == [(True, []), (True, [0]), (True, [1])]
    assert waiting(intake) == [2]


SIZES = st.integers(0, 40)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from([LINE, OTHER]), SIZES), max_size=12),
    SIZES,
    st.integers(1, 4),
    st.sampled_from(["drop_oldest", "drop_newest", "block"]),
)
def test_no_more_is_dropped_than_makes_room(before, size, length, when_full):
    most, intake = 50, Intake(50)
    held = {LINE: [], OTHER: []}
    for stream, one in before:
        queued = frame(object(), one, stream)
        if intake.offer(queued, length=4, when_full="block")[0]:
            held[stream].append(queued)

    def fits(n_dropped):
        """By the rules: so many frames a stream, so many bytes in all, one alone whatever its size."""
        kept = held[LINE][n_dropped:]
        n_bytes = sum(len(queued.message.payload) for queued in kept + held[OTHER])
        return len(kept) < length and (n_bytes == 0 or n_bytes + size <= most)

    may_drop = len(held[LINE]) if when_full == "drop_oldest" else 0
    enough = next((count for count in range(may_drop + 1) if fits(count)), None)
    new = frame("new", size)
    expected = (False, []) if enough is None else (True, held[LINE][:enough])
    assert intake.offer(new, length=length, when_full=when_full) == expected
    if enough is not None:
        held[LINE] = [*held[LINE][enough:], new]
    intake.close()
    left = {LINE: [], OTHER: []}
    for queued in taken_in_turn(intake):
        left[queued.stream].append(queued)
    assert left == held


A, B, C, D = (Stream(name, config.load({})) for name in "abcd")


def filled(*ids, bytes_each=1, new=""):
    """Frames named after their streams: "a1" is the stream `a`'s. All but `new` have had one decoded."""
    intake, streams = Intake(1000), {"a": A, "b": B, "c": C, "d": D}
    for name in streams.keys() - set(new):
        assert offered(intake, frame("before", 1, streams[name]))[0]
        intake.decoded(intake.take())
    for one in ids:
        assert offered(intake, frame(one, bytes_each, streams[one[0]]), length=9)[0]
    return intake


def taken(intake):
    queued = intake.take()
    return queued, queued.message.frame_id


def test_of_each_stream_one_frame_is_out_at_a_time():
    intake = filled("a1", "a2", "b1", "a3")
    first, name = taken(intake)
    assert name == "a1"
    second, name = taken(intake)
    assert name == "b1"  # the turn is a's, but a1 is not decoded yet
    waits = Taker(intake)
    intake.decoded(second)
    assert not waits.found.is_set()
    intake.decoded(first)
    assert waits.result().message.frame_id == "a2"
    intake.close()
    last = Taker(intake)
    intake.decoded(waits.result())
    assert last.result().message.frame_id == "a3"
    intake.decoded(last.result())
    assert intake.take() is None


class Taker(threading.Thread):
    """Somebody who waits for a frame."""

    def __init__(self, intake):
        super().__init__(daemon=True)
        self._intake, self.found = intake, threading.Event()
        self.start()

    def run(self):
        self.taken = self._intake.take()
        self.found.set()

    def result(self):
        assert self.found.wait(60)
        return self.taken


def test_slow_streams_share_one_place_and_others_pass_them():
    intake = filled("a1", "b1", "c1", "a2", "b2", "c2", "d1")
    for _ in range(2):  # two at a time, as there are workers
        queued, name = taken(intake)
        assert name in {"a1", "b1"}
        intake.decoded(queued, in_time=False)
    order = []
    slow, name = taken(intake)
    while name[0] not in "ab":
        order.append(name)
        intake.decoded(slow)
        slow, name = taken(intake)
    assert (order, name) == (["c1", "d1"], "a2")
    queued, name = taken(intake)
    assert name == "c2"  # the turn is b's, but b2 waits for a2
    intake.decoded(queued)
    intake.decoded(slow, in_time=False)
    assert taken(intake)[1] == "b2"


def test_new_streams_share_one_place_until_a_picture_was_in_time():
    intake = filled("a1", "b1", "c1", new="ab")
    first, name = taken(intake)
    assert name == "a1"
    quick, name = taken(intake)
    assert name == "c1"
    intake.decoded(quick)
    waits = Taker(intake)
    intake.decoded(first)
    assert waits.result().message.frame_id == "b1"
    offered(intake, frame("a2", 1, A))
    assert taken(intake)[1] == "a2"


def test_a_slow_stream_is_as_others_again_after_a_hundred_pictures_in_time():
    intake = filled("a1", "b1")
    for _ in range(2):
        intake.decoded(intake.take(), in_time=False)
    for number in range(99):
        offered(intake, frame(f"a{number}", 1, A))
        intake.decoded(intake.take())
    offered(intake, frame("a", 1, A))
    offered(intake, frame("b", 1, B))
    hundredth, _ = taken(intake)
    assert intake.status()["frames"] == 1
    waits = Taker(intake)
    assert not waits.found.wait(0.05)
    intake.decoded(hundredth)
    b, a = waits.result(), None
    offered(intake, frame("a", 1, A))
    a, _ = taken(intake)
    assert (a.stream, b.stream) == (A, B)


def test_once_closed_no_more_of_slow_streams_are_decoded():
    intake = filled("a1", "b1", "a2", "b2")
    intake.decoded(intake.take(), in_time=False)
    intake.decoded(intake.take())
    slow = intake.take()
    assert not intake.given_up(slow)
    intake.close()
    assert intake.given_up(slow)
    assert not intake.given_up(intake.take())
