"""Receivers that are away, come and go, or take nothing: pauses, lines, and what is said to be up."""

import asyncio
import random

from deliver_support import delivering, fill, ids, queue, receiver, until
from structlog.testing import capture_logs
from tcp_bridge import Tcp, WatchfulTcp

from streamer.bridges import deliver
from streamer.bridges.common import Retry
from streamer.bridges.deliver import Deliverer
from streamer.bridges.sink import Refused, Undelivered

__all__ = ["queue", "receiver"]


def test_a_receiver_that_is_away_is_told_once_and_waited_for(queue, receiver, monkeypatch):
    monkeypatch.setattr(deliver, "_SAY_S", 0.0)

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


def test_a_receiver_that_lets_in_and_cuts_off_is_asked_ever_less_often_and_told_once(
    queue, receiver, monkeypatch
):
    bounds = []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append(high) or 0.0)

    async def work():
        receiver.stop()
        receiver.cuts = True
        async with delivering(queue, WatchfulTcp(receiver.port), Retry(first_s=0.5, longest_s=30_000)) as one:
            await until(lambda: len(bounds) >= 3)
            receiver.start()
            await until(lambda: receiver.n_connections >= 5)
            assert one.up is False
            fill(queue, 1)
            receiver.cuts = False
            await until(lambda: one.up)
            receiver.cuts = True
            receiver.cut_off()
            await until(lambda: one.up is False)

    with capture_logs() as lines:
        asyncio.run(work())
    ended = bounds.index(0.5, 1)  # what was taken in between ended the long pauses
    assert ended >= 7
    assert bounds.count(0.5) == 2
    assert bounds[:ended] == [min(0.5 * 2**n, 30_000) for n in range(ended)]
    # It was away again within a minute: that is not told.
    told = [line["event"] for line in lines if line["event"].startswith("bridge_receiver")]
    assert told == ["bridge_receiver_down", "bridge_receiver_up"]


def test_a_receiver_that_soon_cuts_off_whatever_it_took_is_asked_ever_less_often(
    queue, receiver, monkeypatch
):
    """As two bridges of one MQTT client_id do to each other."""
    bounds = []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append(high) or 0.0)
    monkeypatch.setattr(deliver, "_BRIEF_S", 1e9)

    async def work():
        async with delivering(queue, WatchfulTcp(receiver.port), Retry(first_s=0.5, longest_s=30_000)) as one:
            for n in range(7):
                fill(queue, 1, begin=n)
                one.wake()
                await until(lambda n=n: queue.counters()["delivered"] == n + 1)
                if n == 5:  # from here on it stands long enough
                    monkeypatch.setattr(deliver, "_BRIEF_S", 0.0)
                receiver.cut_off()
                await until(lambda n=n: len(bounds) == n + 1)

    asyncio.run(work())
    assert bounds == [0.5, 1, 2, 4, 8, 4, 2]
    assert ids(receiver.items) == list(range(7))


def test_a_receiver_that_opens_and_takes_nothing_is_not_said_to_be_up(queue, receiver, monkeypatch):
    """Nor is one that refuses whatever comes."""
    bounds, seen = [], []
    monkeypatch.setattr(random, "uniform", lambda low, high: bounds.append(high) or 0.0)
    answers = [Undelivered("not now")] * 4 + [Refused("never")]

    class Unwilling(Tcp):
        async def deliver(self, items):
            seen.append(one.up)
            if answers:
                raise answers.pop(0)
            return await super().deliver(items)

    fill(queue, 2)
    one = Deliverer("tcp", queue, Unwilling(receiver.port), Retry(first_s=0.5, longest_s=3))

    async def work():
        running = asyncio.create_task(one.run())
        await until(lambda: queue.counters()["delivered"] == 1)
        one.stop()
        await running

    asyncio.run(work())
    assert seen == [True, False, False, False, False, False]
    assert bounds == [0.5, 1.0, 2.0, 3.0]
    assert one.up is True


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
            await until(lambda: queue.counters()["delivered"] == 1)
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
