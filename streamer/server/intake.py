"""Queues before decoding: a bounded one for each stream, emptied in turn; every drop is handed back."""

import threading
from collections import OrderedDict, deque

from musc_online.config_service import WhenFull
from streamer.server.stream import QueuedFrame


class Intake:
    """Frames that wait, per stream in order of arrival; streams take turns, whatever their rate.

    Args:
        max_bytes: payload bytes that all streams together may keep waiting.
    """

    def __init__(self, max_bytes: int) -> None:
        self._changed = threading.Condition()
        self._queues: OrderedDict[str, deque[QueuedFrame]] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._closed = False

    def offer(
        self, queued: QueuedFrame, *, length: int, when_full: WhenFull
    ) -> tuple[bool, list[QueuedFrame]]:
        """Put a frame into its stream's queue if there is room for it, or room can be made.

        Args:
            queued: the frame.
            length: frames that may wait in this stream.
            when_full: `drop_oldest` makes room where it can, and where other streams fill the queues drops
                nothing in vain; `drop_newest` and `block` do not.

        Returns:
            Whether the frame was taken, and the older ones of its stream dropped for it.
        """
        size = len(queued.message.payload)
        dropped = []
        with self._changed:
            queue = self._queues.get(queued.stream.name, deque())
            if when_full == "drop_oldest" and self._could_fit(queue, size, length):
                while not self._fits(queue, size, length):
                    oldest = queue.popleft()
                    self._bytes -= len(oldest.message.payload)
                    dropped.append(oldest)
            taken = self._fits(queue, size, length)
            if taken:
                queue.append(queued)
                self._bytes += size
                self._queues[queued.stream.name] = queue
                self._changed.notify()
        return taken, dropped

    def take(self) -> QueuedFrame | None:
        """The oldest frame of the stream whose turn it is; waits for one. None once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._queues.values()))
            # The stream served goes to the end of the queue; an empty one leaves it.
            while self._queues:
                name, queue = self._queues.popitem(last=False)
                if queue:
                    queued = queue.popleft()
                    self._bytes -= len(queued.message.payload)
                    if queue:
                        self._queues[name] = queue
                    return queued
            return None

    def close(self) -> None:
        """No more frames come; `take` empties the queues and then returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def status(self) -> dict[str, int]:
        """Frames and bytes waiting."""
        with self._changed:
            return {"frames": sum(map(len, self._queues.values())), "bytes": self._bytes}

    def _fits(self, queue: deque[QueuedFrame], size: int, length: int) -> bool:
        # A frame larger than the whole allowance still passes an empty house: the wire limits its size.
        return len(queue) < length and (self._bytes == 0 or self._bytes + size <= self._max_bytes)

    def _could_fit(self, queue: deque[QueuedFrame], size: int, length: int) -> bool:
        """Whether the frame would fit if nothing else of its stream waited."""
        others = self._bytes - sum(len(frame.message.payload) for frame in queue)
        return length > 0 and (others == 0 or others + size <= self._max_bytes)
