"""What waits is handed to the sink, batch by batch, for as long as it takes."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog

from streamer.bridges.common import Retry
from streamer.bridges.queue import Queue
from streamer.bridges.seldom import Seldom
from streamer.bridges.sink import Counting, Item, Refused, Sink, Undelivered, Watchful, Working
from streamer.progress import Progress

log = structlog.get_logger()

_LOOK_S = 1.0
# Another process may have put dead letters back.
_SAY_S = 60.0
# Between two lines that say that the receiver is away.
_FINISH_S, _CLOSE_S = 20.0, 5.0
_BRIEF_S = 10.0
# A connection that ended sooner, though it took something, is one of those that others cut again and again.


class Deliverer:
    """Hands the queue's items to a sink until stopped.

    Args:
        name: of the bridge, in the log.
        queue: what waits.
        sink: takes it.
        retry: how long to pause after a failure.

    Attributes:
        up: whether the receiver is there: it let us in, and since the last failure it took an item, or the
            connection stood for `longest_s`; None before the first try.
        retries: tries that failed.
        progresses: of the queue's disk, and of a sink that works in threads. A receiver that keeps a bridge
            waiting is in none: the sink's timeouts are for that.
    """

    def __init__(self, name: str, queue: Queue, sink: Sink, retry: Retry) -> None:
        self._name, self._queue, self._sink, self._retry = name, queue, sink, retry
        self._more, self._stopping = asyncio.Event(), asyncio.Event()
        # Whoever lets us in and then takes nothing, or cuts us off, is not there: that it was opened is no
        # proof then, and pauses go on growing.
        self._failures, self._doubted, self._proven = 0, False, False
        self._opened_at, self._brief = 0.0, 0
        self._said: bool | None = None
        self._said_down_at, self._times_down = -float("inf"), 0
        self._faults = Seldom("bridge_sink_failed", "failures", "error")
        self._unreadable = Seldom("bridge_queue_unreadable", "failures", "error")
        self._refusals = Seldom("bridge_refused", "refused")
        self.up: bool | None = None
        self.retries = 0
        self._disk = Progress()
        self.progresses = [self._disk, *([sink.progress] if isinstance(sink, Working) else [])]

    @property
    def counts(self) -> Mapping[str, tuple[str, int]]:
        """What the sink counts beside its deliveries."""
        return self._sink.counts() if isinstance(self._sink, Counting) else {}

    def wake(self) -> None:
        """The queue has more; to be called in the loop."""
        self._more.set()

    def stop(self) -> None:
        """End once what is being delivered is done; to be called in the loop."""
        self._stopping.set()
        self._more.set()

    async def run(self) -> None:
        """Deliver until stopped."""
        working = asyncio.ensure_future(self._work())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # Then what is being delivered is finished, unless the receiver keeps it waiting.
            done, _ = await asyncio.wait({working}, timeout=_FINISH_S)
            if not done:
                log.warning(
                    "bridge_cut_short", bridge=self._name, what_now="it is delivered after the next start"
                )
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
            with suppress(Exception):
                await asyncio.wait_for(self._sink.close(), _CLOSE_S)
            for seldom in (self._faults, self._unreadable, self._refusals):
                seldom.flush()
        if not working.cancelled() and (error := working.exception()) is not None:
            raise error

    async def _work(self) -> None:
        is_open = False
        while not self._stopping.is_set():
            if not is_open:
                is_open = await self._open()
                continue
            self._more.clear()
            items = await self._read()
            is_open = await (self._deliver(items) if items else self._idle())

    async def _open(self) -> bool:
        try:
            await self._sink.open()
        except Exception as error:
            await self._failed(error)
            return False
        self._opened_at, self._proven = time.monotonic(), False
        if not self._doubted:
            self._is_up()
        return True

    async def _deliver(self, items: list[Item]) -> bool:
        """Hand over a batch; whether the connection still stands."""
        try:
            count = await self._sink.deliver(items)
        except Refused as refused:  # of the item alone: who refuses all that comes is not seen to be there
            await self._bury(items[0], str(refused))
            return True
        except Exception as error:
            self._doubted = True
            self._ended()
            await self._failed(error)
            return False
        self._works()
        arrived = items[: min(max(count, 1), len(items))]
        await self._written(partial(self._queue.delivered, arrived))
        return True

    async def _bury(self, item: Item, reason: str) -> None:
        self._refusals.add(
            bridge=self._name, number=item.number, item=item.kind, stream=item.stream,
            frame_id=item.header.get("frame_id"), reason=reason, what_now="kept as dead letters: --dead",
        )  # fmt: skip
        await self._written(partial(self._queue.refused, item, reason))

    async def _read(self) -> list[Item]:
        try:
            with self._disk.step("read the queue"):
                return await asyncio.to_thread(self._queue.first)
        except sqlite3.Error as error:
            self._unreadable.add(bridge=self._name, error=" ".join(str(error).split()))
            await self._pause(_LOOK_S)
            return []

    async def _written(self, write: Callable[[], None]) -> None:
        """Until the disk takes it nothing more goes out: it would go out again and again."""
        while True:
            try:
                with self._disk.step("write the queue"):
                    return await asyncio.to_thread(write)
            except sqlite3.Error:  # the queue says so
                if self._stopping.is_set():
                    return None
                await self._pause(_LOOK_S)

    async def _idle(self) -> bool:
        """Wait for more, or for a connection that is noticed to be gone; whether it still stands."""
        if not isinstance(self._sink, Watchful):
            await self._wait_for_more()
            return True
        lost = asyncio.ensure_future(self._sink.lost())
        more = asyncio.ensure_future(self._wait_for_more())
        try:
            await asyncio.wait({lost, more}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (lost, more):
                task.cancel()
            await asyncio.gather(lost, more, return_exceptions=True)
        if not self._proven and time.monotonic() - self._opened_at >= self._retry.longest_s:
            self._works()
        if lost.cancelled():
            return True
        self._doubted = not self._proven
        self._ended()
        await self._failed(lost.exception() or Undelivered("the connection is gone"))
        return False

    async def _wait_for_more(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._more.wait(), _LOOK_S)

    def _works(self) -> None:
        """There is proof that the receiver is there."""
        self._is_up()
        self._failures, self._doubted, self._proven = 0, False, True

    def _is_up(self) -> None:
        self.up = True
        if self._said is not True:
            log.info("bridge_receiver_up", bridge=self._name, failed_tries=self._failures)
            self._said = True

    def _is_down(self, error: BaseException) -> None:
        """Tell it once, and of a receiver that comes and goes once a minute."""
        self._times_down += self.up is not False
        self.up = False
        if not isinstance(error, Undelivered):
            if self._faults.add(bridge=self._name, exc_info=error):
                self._said = False
        elif self._said is not False and time.monotonic() - self._said_down_at >= _SAY_S:
            log.warning(
                "bridge_receiver_down", bridge=self._name, error=str(error), times=self._times_down,
                what_now="what is said waits",
            )  # fmt: skip
            self._said, self._said_down_at, self._times_down = False, time.monotonic(), 0

    def _ended(self) -> None:
        """A connection that took something is gone: of those that soon are, the next comes ever later.

        So two bridges of one client_id, who cut each other off, do not keep a broker busy.
        """
        if not (self._proven and isinstance(self._sink, Watchful)):
            return
        stood_s = time.monotonic() - self._opened_at
        brief = self._brief + 1 if stood_s < _BRIEF_S else max(0, self._brief - 1)
        self._brief = 0 if stood_s >= self._retry.longest_s else brief

    async def _failed(self, error: BaseException) -> None:
        """Tell it, and pause: the longer the more often it failed, and never all bridges at once."""
        self._is_down(error)
        self.retries += 1
        doublings = min(max(self._failures, self._brief - 1), 40)
        longest = min(self._retry.longest_s, self._retry.first_s * 2**doublings)
        self._failures += 1
        await self._pause(random.uniform(0.0, longest))  # noqa: S311  (spreads tries, keeps no secret)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
