"""A queue with room, or with little, and items in it."""

from store_support import Clock, verdict

from streamer.bridges.common import Tell
from streamer.bridges.queue import Queue
from streamer.bridges.telling import Joined, Telling
from streamer.following.gaps import Taken

PLENTY = {"max_items": 10**6, "max_bytes": 10**9}


def a_queue(folder, **options):
    folder.mkdir(exist_ok=True)
    return Queue(folder, "tcp", **{**PLENTY, "clock": Clock(), **options})


def fill(queue, count, begin=0, **fields):
    with queue.writing() as writing:
        told = [
            Joined(verdict(f"p{number}", pub_seq=number, **fields)) for number in range(begin, begin + count)
        ]
        Telling(Tell(), maps=True).write(Taken(), told, writing)


def named(items):
    return [item.header.get("frame_id") for item in items]
