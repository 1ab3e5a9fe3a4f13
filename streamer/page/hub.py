"""Updates to every open page: bounded for each, so that a slow one costs nobody else anything."""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from streamer.page.updates import Update

_MAY_WAIT = 200
"""Scores, pictures and states that wait for a client; of more the oldest are dropped, and counted."""
_MUST_WAIT = 10_000
"""Alarms and changed verdicts that wait; a client that reads none of so many is let go."""


class Client:
    """One open page: an async iterator of what to send to it, text or bytes; it ends when it is let go."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, streams: Iterable[str] | None, *, pictures: bool = False
    ) -> None:
        self._loop = loop
        self._pictures = pictures
        self._streams = None if streams is None else frozenset(streams)
        self._lock = threading.Lock()
        self._ready = asyncio.Event()
        self._signalled = False
        self._count = 0
        self._may: deque[tuple[int, str | bytes]] = deque()
        self._must: deque[tuple[int, str | bytes]] = deque()
        self._missed = 0
        self._picture = 0  # the count of the message with a picture that waits; of one at most
        self.closed = False

    def wants(self, one: Update) -> bool:
        """Whether an update concerns it."""
        return one.stream is None or self._streams is None or one.stream in self._streams

    def put(self, updates: Sequence[Update]) -> None:
        """Hand over what it wants; from any thread."""
        # Of pictures that come together the last is drawn: forty cameras do not send a page all of theirs.
        pictures = [one for one in updates if one.jpeg is not None] if self._pictures else []
        with self._lock:
            for one in updates:
                self._put(one, pictured=bool(pictures) and one is pictures[-1])
            if self._signalled:
                return
            self._signalled = True
        self._wake()

    def close(self) -> None:
        """End the iteration; from any thread."""
        self.closed = True
        self._wake()

    def missed(self, n: int) -> None:
        """Tell it that it missed something, so that it asks for what changed since its cursor."""
        with self._lock:
            self._missed += n
        self._wake()

    def __aiter__(self) -> "Client":
        return self

    async def __anext__(self) -> str | bytes:
        while not self.closed:
            self._ready.clear()
            found = self._take()
            if found is not None:
                return found
            await self._ready.wait()
        raise StopAsyncIteration

    def _put(self, one: Update, *, pictured: bool) -> None:
        self._count += 1
        if pictured := pictured and not self._picture:  # who is slow asks for what it draws in the end
            self._picture = self._count
        encoded = one.pictured if pictured else one.encoded
        if one.must_arrive:
            self._must.append((self._count, encoded))
            self.closed = self.closed or len(self._must) > _MUST_WAIT
            return
        self._may.append((self._count, encoded))
        if len(self._may) > _MAY_WAIT:
            self._gone(self._may.popleft())
            self._missed += 1

    def _take(self) -> str | bytes | None:
        with self._lock:
            if self._missed:
                n, self._missed = self._missed, 0
                return json.dumps({"type": "missed", "n": n})
            waiting = [queue for queue in (self._must, self._may) if queue]
            if waiting:
                return self._gone(min(waiting, key=lambda queue: queue[0][0]).popleft())
            self._signalled = False
            return None

    def _gone(self, waited: tuple[int, str | bytes]) -> str | bytes:
        """The message, which waits no more."""
        if waited[0] == self._picture:
            self._picture = 0
        return waited[1]

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:  # its loop has ended, and it with it
            self.closed = True


class Hub:
    """Hands updates to clients; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: set[Client] = set()
        self.cursor = 0

    @property
    def n_clients(self) -> int:
        """Clients that are open."""
        return len(self._clients)

    def join(
        self,
        loop: asyncio.AbstractEventLoop,
        streams: Iterable[str] | None = None,
        cursor: int | None = None,
        *,
        pictures: bool = False,
    ) -> Client:
        """A new client.

        Args:
            loop: in which it is iterated over.
            streams: whose updates it wants; None for all.
            cursor: the `change` it knows; where the store has gone on, it is told first that it missed some.
            pictures: it draws the one that came last, and gets it with its message.
        """
        client = Client(loop, streams, pictures=pictures)
        with self._lock:
            self._clients.add(client)
        if cursor is not None and cursor < self.cursor:
            client.missed(self.cursor - cursor)
        return client

    def leave(self, client: Client) -> None:
        """It is gone; nothing is kept for it any more."""
        client.close()
        with self._lock:
            self._clients.discard(client)

    def tell(self, updates: Sequence[Update], cursor: int | None = None) -> None:
        """Hand updates to every client they concern.

        Args:
            updates: in their order.
            cursor: the store's `change` with them.
        """
        if cursor is not None:
            self.cursor = max(self.cursor, cursor)
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            wanted = [one for one in updates if client.wants(one)]
            if wanted:
                client.put(wanted)
