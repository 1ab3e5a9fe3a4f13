"""Delivering over real connections: in order, to the end, whatever is refused or damaged."""

import asyncio
import sqlite3
import threading

from deliver_support import FAST, delivering, fill, ids, queue, receiver, until
from streamer_support import PATIENCE_S
from structlog.testing import capture_logs
from tcp_bridge import Tcp
from told_support import sink as files_sink

from streamer.bridges import deliver
from streamer.bridges.deliver import Deliverer

__all__ = ["queue", "receiver"]


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


def test_an_item_that_is_damaged_holds_nothing_up(queue, receiver):
    async def work():
        fill(queue, 4)
        queue._database.execute("UPDATE item SET header = x'00ff' WHERE number IN (1, 3)")
        async with delivering(queue, Tcp(receiver.port)):
            await until(lambda: queue.counters()["items"] == 0)

    asyncio.run(work())
    assert [(item["number"], item["header"].get("reason")) for item in receiver.items] == [
        (1, "damaged"), (2, None), (3, "damaged"), (4, None),
    ]  # fmt: skip


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
    told = [line for line in lines if line["event"] == "bridge_refused"]  # the second one at the end
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
    told = [line["failures"] for line in lines if line["event"] == "bridge_sink_failed"]
    assert told == [1, 2]  # the first at once, and of more no line each


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


def steps(one):
    return [name for progress in one.progresses for name, _ in progress.overdue(-1e6)]


def hung(work):
    """`work` that does not come back, and the gate behind which it waits."""
    gate = threading.Event()

    def hang(*values):
        assert gate.wait(PATIENCE_S)
        return work(*values)

    return hang, gate


def test_a_queue_that_hangs_is_seen(queue, receiver, monkeypatch):
    async def work():
        for name, method in (("read the queue", "first"), ("write the queue", "delivered")):
            hang, gate = hung(getattr(queue, method))
            with monkeypatch.context() as patch:
                patch.setattr(queue, method, hang)
                fill(queue, 1)
                async with delivering(queue, Tcp(receiver.port)) as one:
                    await until(lambda one=one, name=name: steps(one) == [name])
                    gate.set()
                    await until(lambda: queue.counters()["items"] == 0)

    asyncio.run(work())


def test_files_that_hang_are_seen(queue, tmp_path, monkeypatch):
    async def work():
        sink = files_sink(tmp_path)
        hang, gate = hung(sink._write)
        monkeypatch.setattr(sink, "_write", hang)
        fill(queue, 1)
        async with delivering(queue, sink) as one:
            await until(lambda: steps(one) == ["write files"])
            gate.set()
            await until(lambda: queue.counters()["items"] == 0)
            assert steps(one) == []

    asyncio.run(work())
