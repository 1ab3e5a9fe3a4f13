"""Delivering over real connections: receivers that are away, come back, say no, or say nothing."""

import asyncio
import random
import sqlite3
from contextlib import asynccontextmanager

import pytest
from receiver_support import receiving
from store_support import verdict
from streamer_support import PATIENCE_S
from structlog.testing import capture_logs
from tcp_bridge import Tcp, WatchfulTcp

from streamer.bridges import deliver
from streamer.bridges.common import Retry, Tell
from streamer.bridges.deliver import Deliverer
from streamer.bridges.queue import Queue
from streamer.bridges.telling import Joined, Telling
from streamer.following.gaps import Taken

FAST = Retry(first_s=0.01, longest_s=0.05)


@pytest.fixture
def queue(tmp_path):
    queue = Queue(tmp_path, "tcp", max_items=10**6, max_bytes=10**9)
    yield queue
    queue.close()


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def fill(queue, count, begin=0):
    told = [Joined(verdict(number, pub_seq=number)) for number in range(begin, begin + count)]
    with queue.writing() as writing:
        Telling(Tell(), maps=False).write(Taken(), told, writing)


def ids(items):
    return [item["header"]["frame_id"] for item in items]


async def until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def delivering(queue, sink, retry=FAST):
    """A deliverer that runs, and is stopped in the orderly way."""
    one = Deliverer("tcp", queue, sink, retry)
    running = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        one.stop()
        await running


def test_what_waits_arrives_in_order_and_is_gone_from_the_queue(queue, receiver):
    async def work():
        fill(queue, 250)
        async with delivering(queue, Tcp(receiver.port)) as one:
            await until(lambda: len(receiver.items) == 250)
            fill(queue, 3, begin=250)
            one.wake()
            await until(lambda: queue.counters()["delivered"] == 253)
            assert (one.up, one.retries) == (True, 0)

    asyncio.run(work())
    assert ids(receiver.items) == list(range(253))
    assert [item["number"] for item in receiver.items] == list(range(1, 254))
    assert queue.first() == []


def test_a_receiver_that_is_away_is_told_once_and_waited_for(queue, receiver):
    async def work():
        receiver.stop()
        async with delivering(queue, Tcp(receiver.port)) as one:
            fill(queue, 5)
            await until(lambda: one.retries > 5)
            assert one.up is False
            receiver.start()
            await until(lambda: len(receiver.items) == 5)
            assert one.up is True
            receiver.stop()
            fill(queue, 5, begin=5)
            one.wake()
            await until(lambda: one.up is False)
            receiver.start()
            await until(lambda: len(set(ids(receiver.items))) == 10)

    with capture_logs() as lines:
        asyncio.run(work())
    told = [line["event"] for line in lines if line["event"].startswith("bridge_receiver")]
    assert told == ["bridge_receiver_down", "bridge_receiver_up"] * 2
    assert list(dict.fromkeys(ids(receiver.items))) == list(range(10))


def test_of_a_batch_that_broke_off_what_arrived_is_not_sent_again(queue, receiver):
    async def work():
        fill(queue, 10)
        # What it says no to in the middle of a batch ends it there.
        refused = []
        receiver.refuses = lambda item: (
            item["header"]["frame_id"] == 4 and not refused.append(1) and len(refused) < 2
        )
        async with delivering(queue, Tcp(receiver.port)):
            await until(lambda: queue.counters()["items"] == 0)

    asyncio.run(work())
    assert {0, 1, 2, 3} <= set(ids(receiver.items))
    assert ids(receiver.items)[:4] == [0, 1, 2, 3]
    assert queue.counters()["delivered"] + queue.counters()["refused"] == 10


def test_what_is_refused_holds_nothing_up_and_is_kept(queue, receiver):
    async def work():
        fill(queue, 6)
        receiver.refuses = lambda item: item["header"]["frame_id"] in {0, 3}
        async with delivering(queue, Tcp(receiver.port)) as one:
            await until(lambda: queue.counters()["items"] == 0)
            assert one.up is True
            receiver.refuses = lambda _: False
            assert [letter.item.header["frame_id"] for letter in queue.letters()] == [0, 3]
            assert queue.redeliver() == 2
            one.wake()
            await until(lambda: queue.counters()["items"] == 0)

    with capture_logs() as lines:
        asyncio.run(work())
    told = [line for line in lines if line["event"] == "bridge_refused"]
    assert [(line["frame_id"], line["reason"]) for line in told] == [
        (0, "the receiver says no"),
        (3, "the receiver says no"),
    ]
    assert set(ids(receiver.items)) == set(range(6))
    assert ids(receiver.items)[-2:] == [0, 3]


class Broken(Tcp):
    """Of one's own, with a fault in it."""

    faults = 3

    async def deliver(self, items):
        if self.faults:
            self.faults -= 1
            raise KeyError("a fault of the sink")
        return await super().deliver(items)


def test_a_fault_of_a_sink_loses_nothing_and_is_told(queue, receiver):
    async def work():
        fill(queue, 2)
        async with delivering(queue, Broken(receiver.port)) as one:
            await until(lambda: len(receiver.items) == 2)
            assert one.retries == 3

    with capture_logs() as lines:
        asyncio.run(work())
    assert [line["event"] for line in lines].count("bridge_sink_failed") == 3


def test_pauses_are_of_any_length_up_to_twice_the_last_and_no_longer_than_the_longest(
    queue, receiver, monkeypatch
):
    bounds = []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append((low, high)) or 0.0)

    async def work():
        receiver.stop()
        async with delivering(queue, Tcp(receiver.port), Retry(first_s=0.5, longest_s=3)) as one:
            await until(lambda: one.retries >= 6)
            receiver.start()
            fill(queue, 1)
            await until(lambda: receiver.items)
            del bounds[:]
            receiver.stop()
            fill(queue, 1, begin=1)
            one.wake()
            await until(lambda: bounds)

    asyncio.run(work())
    assert bounds[0] == (0.0, 0.5)


def test_the_longest_pause_is_bounded(queue, receiver, monkeypatch):
    bounds = []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append(high) or 0.0)

    async def work():
        receiver.stop()
        async with delivering(queue, Tcp(receiver.port), Retry(first_s=0.5, longest_s=3)):
            await until(lambda: len(bounds) >= 6)

    asyncio.run(work())
    assert bounds[:6] == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_a_sink_that_notices_a_lost_connection_is_opened_again_without_anything_to_deliver(queue, receiver):
    async def work():
        async with delivering(queue, WatchfulTcp(receiver.port)) as one:
            await until(lambda: receiver.n_connections == 1)
            receiver.stop()
            await until(lambda: one.up is False)
            receiver.start()
            await until(lambda: receiver.n_connections == 2)
            await until(lambda: one.up is True)
            fill(queue, 1)
            one.wake()
            await until(lambda: receiver.items)

    asyncio.run(work())


def test_what_is_being_delivered_is_finished_at_the_end(queue, receiver):
    async def work():
        fill(queue, 3)
        receiver.answers.clear()
        one = Deliverer("tcp", queue, Tcp(receiver.port), FAST)
        running = asyncio.create_task(one.run())
        await until(lambda: receiver.got)
        one.stop()
        fill(queue, 1, begin=3)
        receiver.answers.set()
        await running

    asyncio.run(work())
    assert ids(receiver.items) == [0, 1, 2]
    assert [item.header["frame_id"] for item in queue.first()] == [3]


def test_a_receiver_that_says_nothing_does_not_hold_up_the_end_for_ever(queue, receiver, monkeypatch):
    monkeypatch.setattr(deliver, "_FINISH_S", 0.2)

    async def work():
        fill(queue, 3)
        receiver.answers.clear()
        one = Deliverer("tcp", queue, Tcp(receiver.port), FAST)
        running = asyncio.create_task(one.run())
        await until(lambda: receiver.got)
        one.stop()
        await running

    with capture_logs() as lines:
        asyncio.run(work())
    assert "bridge_cut_short" in [line["event"] for line in lines]
    assert len(queue.first()) == 3


def test_while_the_queue_cannot_be_written_nothing_goes_out_twice(queue, receiver, monkeypatch):
    monkeypatch.setattr(deliver, "_LOOK_S", 0.05)
    fails = [3]
    delivered = queue.delivered

    def full(items):
        if fails[0]:
            fails[0] -= 1
            raise sqlite3.OperationalError("database or disk is full")
        delivered(items)

    monkeypatch.setattr(queue, "delivered", full)

    async def work():
        fill(queue, 4)
        async with delivering(queue, Tcp(receiver.port)):
            await until(lambda: queue.counters()["items"] == 0)

    asyncio.run(work())
    assert ids(receiver.items) == [0, 1, 2, 3]
    assert fails == [0]
