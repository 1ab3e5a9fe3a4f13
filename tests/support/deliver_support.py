"""A deliverer that runs on a queue and a receiver of the test."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from receiver_support import receiving
from store_support import verdict
from streamer_support import PATIENCE_S

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
