"""Requests that wait for the matching thread, done one after the other beside those answered at once."""

import queue
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from streamer.progress import Progress
from streamer.server.threads import Worker
from streamer.sockets import Context, Socket

_EACH = 8
_ALL = 64
# Requests that may wait: of one connection, and of all. A request is at most 64 KiB.


@dataclass(frozen=True)
class Waiting:
    """A request in its turn: where its answer goes, and how the answer is made, or that it is not."""

    envelope: tuple[bytes, ...]
    answer: Callable[[], bytes]
    give_up: Callable[[], bytes]


class Waiters(Worker):
    """Makes the answers of requests that wait, in the order they came, and hands them to `answers`.

    `offer`, `answers` and `stop` belong to the thread that owns the control socket.

    Args:
        context: of that socket.
        failed: told of an error of the thread itself.
        progress: of those whose work requests are; who waits for a thread that is watched renews it.
    """

    def __init__(self, context: Context, failed: Callable[[BaseException], None], progress: Progress) -> None:
        super().__init__("requests", failed, progress)
        self.answers: Socket = context.socket(zmq.PAIR)
        self._made: Socket = context.socket(zmq.PAIR)
        endpoint = f"inproc://answers-{id(self)}"
        for end in (self.answers, self._made):
            # No limit: at most `_ALL` answers are on their way.
            end.rcvhwm = end.sndhwm = end.linger = 0
        self.answers.bind(endpoint)
        self._made.connect(endpoint)
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._of: Counter[bytes] = Counter()
        self._stopping = False

    def offer(self, waiting: Waiting) -> bool:
        """Let a request wait; False where its connection, or all together, have too many waiting."""
        peer = waiting.envelope[0]
        if self._of[peer] >= _EACH or self._of.total() >= _ALL:
            return False
        self._of[peer] += 1
        self._queue.put(waiting)
        return True

    def take(self) -> list[bytes]:
        """An answer that is there, behind its envelope."""
        parts = self.answers.recv_multipart(zmq.DONTWAIT)
        self._of[parts[0]] -= 1
        if not self._of[parts[0]]:
            del self._of[parts[0]]
        return parts

    def stop(self) -> None:
        """Finish the request at hand, give up those behind it, and end; their answers can be taken."""
        self._stopping = True
        self._queue.put(None)
        self.join()

    def work(self) -> None:
        """Answer until stopped."""
        try:
            while (waiting := self._queue.get()) is not None:
                answer = waiting.give_up if self._stopping else waiting.answer
                with self.progress.step("request"):
                    made = answer()
                self._made.send_multipart([*waiting.envelope, made])
        finally:
            self._made.close()
