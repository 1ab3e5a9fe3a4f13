"""Queues before decoding: a bounded one for each stream, emptied in turn; every drop is handed back."""

import threading
from collections import OrderedDict, deque

from musc_online.config_service import WhenFull
from streamer.server.stream import QueuedFrame

_OWED_BY_NEW, _OWED_BY_LATE = 1, 100
"""Pictures that a stream must have decoded in time to count as quick: a new one; one that was late."""
_STREAMS = 4096


class Intake:
    """Frames that wait, per stream in order of arrival; streams take turns, whatever their rate.

    Several threads may take frames; of each stream one is being decoded at a time, so that its frames keep
    their order. Quick are streams that had a picture decoded in time, and the last 100 if ever one was not:
    of all others together one frame is being decoded at a time, so that they never hold all threads.

    Args:
        max_bytes: payload bytes that all streams together may keep waiting.
    """

    def __init__(self, max_bytes: int) -> None:
        self._changed = threading.Condition()
        self._queues: OrderedDict[str, deque[QueuedFrame]] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._closed = False
        self._busy: set[str] = set()
        self._held: set[str] = set()
        self._owed: OrderedDict[str, int] = OrderedDict()
        """Pictures to be decoded in time before a stream is quick; the least recent is forgotten first."""

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
                self._changed.notify_all()
        return taken, dropped

    def take(self) -> QueuedFrame | None:
        """The oldest frame of the stream whose turn it is; waits for one. None once closed and empty.

        Whoever takes a frame says `decoded`, whatever became of it: until then no other of its stream is
        taken.
        """
        with self._changed:
            while True:
                name = self._whose_turn()
                if name is not None:
                    return self._take_of(name)
                if self._closed and not any(self._queues.values()):
                    return None
                self._changed.wait()

    def decoded(self, queued: QueuedFrame, *, in_time: bool = True) -> None:
        """The frame is out of the way of the next one of its stream.

        Args:
            queued: a frame that was taken.
            in_time: false if its picture ran into `limits.decode_s`.
        """
        name = queued.stream.name
        with self._changed:
            self._busy.discard(name)
            owed = max(0, self._owed.pop(name, _OWED_BY_NEW) - 1)
            self._owed[name] = owed if in_time else _OWED_BY_LATE
            if len(self._owed) > _STREAMS:
                self._owed.popitem(last=False)
            self._changed.notify_all()

    def hold(self, stream: str) -> None:
        """Take no more frames of a stream until it is let go: enough of its own are under way."""
        with self._changed:
            self._held.add(stream)

    def let(self, stream: str) -> None:
        """Take frames of a stream again."""
        with self._changed:
            self._held.discard(stream)
            self._changed.notify_all()

    def given_up(self, queued: QueuedFrame) -> bool:
        """Whether a frame is too much for a stop: once closed, no more is tried of streams that were late."""
        with self._changed:
            return self._closed and self._owed.get(queued.stream.name, 0) > 0

    def close(self) -> None:
        """No more frames come; `take` empties the queues and then returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def status(self) -> dict[str, int]:
        """Frames and bytes waiting."""
        with self._changed:
            return {"frames": sum(map(len, self._queues.values())), "bytes": self._bytes}

    def _whose_turn(self) -> str | None:
        all_may = all(self._is_quick(name) for name in self._busy)
        out = self._busy | self._held
        for name, queue in self._queues.items():
            if queue and name not in out and (all_may or self._is_quick(name)):
                return name
        return None

    def _is_quick(self, name: str) -> bool:
        return self._owed.get(name, _OWED_BY_NEW) == 0

    def _take_of(self, name: str) -> QueuedFrame:
        # The stream served goes to the end of the queue; an empty one leaves it.
        queue = self._queues.pop(name)
        queued = queue.popleft()
        self._bytes -= len(queued.message.payload)
        if queue:
            self._queues[name] = queue
        self._busy.add(name)
        return queued

    def _fits(self, queue: deque[QueuedFrame], size: int, length: int) -> bool:
        # A frame larger than the whole allowance still passes an empty house: the wire limits its size.
        return len(queue) < length and (self._bytes == 0 or self._bytes + size <= self._max_bytes)

    def _could_fit(self, queue: deque[QueuedFrame], size: int, length: int) -> bool:
        """Whether the frame would fit if nothing else of its stream waited."""
        others = self._bytes - sum(len(frame.message.payload) for frame in queue)
        return length > 0 and (others == 0 or others + size <= self._max_bytes)
