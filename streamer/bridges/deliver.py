"""What waits is handed to the sink, batch by batch, for as long as it takes."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog

from streamer.bridges.common import Retry
from streamer.bridges.queue import Queue
from streamer.bridges.sink import Counting, Item, Refused, Sink, Undelivered, Watchful

log = structlog.get_logger()

_LOOK_S = 1.0
# Another process may have put dead letters back.
_FINISH_S, _CLOSE_S = 20.0, 5.0


class Deliverer:
    """Hands the queue's items to a sink until stopped.

    Args:
        name: of the bridge, in the log.
        queue: what waits.
        sink: takes it.
        retry: how long to pause after a failure.

    Attributes:
        up: whether the receiver took what it was last handed; None before the first try.
        retries: tries that failed.
    """

    def __init__(self, name: str, queue: Queue, sink: Sink, retry: Retry) -> None:
        self._name, self._queue, self._sink, self._retry = name, queue, sink, retry
        self._more, self._stopping = asyncio.Event(), asyncio.Event()
        self._failures, self._refusing = 0, False
        self.up: bool | None = None
        self.retries = 0

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
        if not self._refusing:  # else the next delivery shows: until it is taken, pauses go on growing
            self._worked()
        return True

    async def _deliver(self, items: list[Item]) -> bool:
        """Hand over a batch; whether the connection still stands."""
        try:
            count = await self._sink.deliver(items)
        except Refused as refused:
            self._worked()
            await self._bury(items[0], str(refused))
            return True
        except Exception as error:
            self._refusing = True
            await self._failed(error)
            return False
        self._worked()
        arrived = items[: min(max(count, 1), len(items))]
        await self._written(partial(self._queue.delivered, arrived))
        return True

    async def _bury(self, item: Item, reason: str) -> None:
        log.warning(
            "bridge_refused", bridge=self._name, number=item.number, item=item.kind, stream=item.stream,
            frame_id=item.header.get("frame_id"), reason=reason, what_now="kept as a dead letter: --dead",
        )  # fmt: skip
        await self._written(partial(self._queue.refused, item, reason))

    async def _read(self) -> list[Item]:
        try:
            return await asyncio.to_thread(self._queue.first)
        except sqlite3.Error as error:
            log.error("bridge_queue_unreadable", bridge=self._name, error=" ".join(str(error).split()))
            await self._pause(_LOOK_S)
            return []

    async def _written(self, write: Callable[[], None]) -> None:
        """Until the disk takes it nothing more goes out: it would go out again and again."""
        while True:
            try:
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
        if lost.cancelled():
            return True
        await self._failed(lost.exception() or Undelivered("the connection is gone"))
        return False

    async def _wait_for_more(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._more.wait(), _LOOK_S)

    def _worked(self) -> None:
        if self.up is not True:
            log.info("bridge_receiver_up", bridge=self._name, failed_tries=self._failures)
        self.up, self._failures, self._refusing = True, 0, False

    async def _failed(self, error: BaseException) -> None:
        """Tell it once, and pause: the longer the more often it failed, and never all bridges at once."""
        if not isinstance(error, Undelivered):
            log.error("bridge_sink_failed", bridge=self._name, exc_info=error)
        elif self.up is not False:
            log.warning(
                "bridge_receiver_down", bridge=self._name, error=str(error), what_now="what is said waits"
            )
        self.up = False
        self.retries += 1
        longest = min(self._retry.longest_s, self._retry.first_s * 2 ** min(self._failures, 40))
        self._failures += 1
        await self._pause(random.uniform(0.0, longest))  # noqa: S311  (spreads tries, keeps no secret)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
