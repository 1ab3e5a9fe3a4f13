"""The publishing thread: numbers each message, keeps it in the history, sends it, then lets acks go."""

import queue
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import structlog
import zmq

from streamer.maps import MapEncoding, PatchGrid, encode_map
from streamer.server.history import Entry, History
from streamer.server.known_ids import Scored
from streamer.server.ledger import Ledger
from streamer.server.subscriptions import Subscriptions
from streamer.server.threads import Worker
from streamer.sockets import Socket
from streamer.wire.frame import Ack, pack
from streamer.wire.published import pack_message, topic_of

log = structlog.get_logger()

_ROOM = 256
# Messages that may wait for this thread; scoring waits when it is full, so that memory stays bounded.
_TOGETHER = 64
_TOPICS = 1024
_NOT_KEPT = frozenset(("status", "picture", "source"))
# Kinds of which only the newest says something, or which would leave the scores no room in the history.
_LOOK_S = 0.05
# Between looks at what subscribers ask for, while there is nothing to publish.


@dataclass(eq=False)
class Outgoing:
    """A message to publish. Once it is kept, `settle` is called; then it is sent; then `ack` goes out.

    `ack` is asked for only then: a sender that comes back meanwhile is told where it is now. `scored` is
    asked for as it is kept: which frame a score is of. `grid`: what `anomaly_map` was made of. `peer`: whose
    message an error is about. `payload`: the third part of what has no map.
    """

    stream: str
    kind: str
    header: dict[str, Any]
    anomaly_map: npt.NDArray[np.float32] | None = None
    grid: PatchGrid | None = None
    settle: Callable[[], None] | None = None
    ack: Callable[[], Ack | None] | None = None
    scored: Callable[[], Scored] | None = None
    peer: str = ""
    payload: bytes | None = None


class Outlet(Protocol):
    """Whoever takes messages to publish."""

    def put(self, message: Outgoing) -> None:
        """Hand a message over."""
        ...


class Outbox(Worker):
    """Owns the scores' socket, which drops for subscribers that do not keep up: nobody waits for them.

    Args:
        socket: bound XPUB socket, a PUB to its peers; closed when the thread ends, as `acks` is.
        acks: PUSH socket to the receiving thread, which owns the senders' socket.
        history: what is published is kept here first, so that a subscriber can fetch what it missed.
        ledger: whose tallies are kept with it.
        map_encoding: of `streamer.maps`.
        heartbeat: called every `heartbeat_s` for the `status` messages to publish.
        observe: told each score's `publish` time, in milliseconds: its share of what went out together.
    """

    def __init__(
        self,
        socket: Socket,
        acks: Socket,
        history: History,
        ledger: Ledger,
        *,
        map_encoding: MapEncoding,
        heartbeat: Callable[[], list[Outgoing]],
        heartbeat_s: float,
        observe: Callable[[Mapping[str, float]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("outbox", failed)
        self.published = 0
        self.history_failed: str | None = None
        self._socket, self._acks = socket, acks
        self._subscriptions = Subscriptions(socket)
        self._history, self._ledger = history, ledger
        self._map_encoding = map_encoding
        self._heartbeat, self._heartbeat_s = heartbeat, heartbeat_s
        self._observe = observe
        self._heartbeat_at = time.monotonic()
        self._waiting: queue.Queue[Outgoing | None] = queue.Queue(_ROOM)
        self._numbers: tuple[OrderedDict[str, int], ...] = (OrderedDict(), OrderedDict())
        # Of topics that are not kept, and of those that are. However many bad frames name streams, whose
        # errors are kept, the numbers that only stand here do not begin anew.

    def put(self, message: Outgoing) -> None:
        """Hand a message over; waits while the thread is `_ROOM` messages behind."""
        self._waiting.put(message)

    def stop(self) -> None:
        """Publish what waits, then end."""
        self._waiting.put(None)
        self.join()

    def work(self) -> None:
        """Publish until stopped."""
        more = True
        try:
            while more:
                messages, more = self._next()
                with self.progress.step("publish"):
                    self._subscriptions.read()
                    self._publish(messages)
                    if time.monotonic() >= self._heartbeat_at:
                        self._publish(self._heartbeat())
                        self._heartbeat_at = time.monotonic() + self._heartbeat_s
            self._keep([], [])  # what was counted since the last message
        finally:
            self._socket.close()
            self._acks.close()

    def _next(self) -> tuple[list[Outgoing], bool]:
        messages: list[Outgoing] = []
        try:
            while len(messages) < _TOGETHER:
                patience = 0.0 if messages else max(0.0, self._heartbeat_at - time.monotonic())
                message = self._waiting.get(timeout=min(patience, _LOOK_S))
                if message is None:
                    return messages, False
                messages.append(message)
        except queue.Empty:
            pass
        return messages, True

    def _publish(self, messages: list[Outgoing]) -> None:
        begun = time.perf_counter()
        entries = [self._entry(message) for message in messages]
        kept = [
            entry for message, entry in zip(messages, entries, strict=True) if message.kind not in _NOT_KEPT
        ]
        if kept:  # a heartbeat says nothing of whether the disk takes scores again
            self._keep(kept, messages)
        for message, entry in zip(messages, entries, strict=True):
            if message.settle is not None:
                # Before sending: who has seen a score finds it in `status` too.
                message.settle()
            parts = [entry.topic.encode(), entry.header]
            self._socket.send_multipart(
                parts if entry.payload is None else [*parts, entry.payload], zmq.DONTWAIT
            )
            self.published += 1
            ack = None if message.ack is None else message.ack()
            if ack is not None:
                sender, answer = ack
                self._acks.send_multipart([sender, pack(answer)], zmq.DONTWAIT)
        spent = 1e3 * (time.perf_counter() - begun)
        for message in messages:
            if message.kind == "score":
                self._observe({"publish": spent / len(messages)})

    def _keep(self, entries: list[Entry], messages: list[Outgoing]) -> None:
        tallies: dict[str, dict[str, Any] | None] = {}
        try:
            if self._history.on_disk:
                scores = [(message.stream, message.header) for message in messages if message.kind == "score"]
                tallies = self._ledger.take_changed(scores)
                self._history.add(entries, tallies)
            else:
                self._history.add(entries)
            self.history_failed = None
        except sqlite3.Error as error:
            self._ledger.mark_changed(tallies)
            if self.history_failed is None:
                log.error(
                    "history_failed", error=str(error), what_now="scores go out, gaps cannot be fetched"
                )
            self.history_failed = str(error)

    def _number(self, topic: str, kind: str) -> int:
        """The topic's next `pub_seq`; the least recent of many topics is left to the history."""
        numbers = self._numbers[kind not in _NOT_KEPT]
        number = numbers.pop(topic, None)
        if number is None:
            try:
                number = self._history.next_number(topic)
            except sqlite3.Error:
                number = 0
        numbers[topic] = number + 1
        if len(numbers) > _TOPICS:
            numbers.popitem(last=False)
        return number

    def _entry(self, message: Outgoing) -> Entry:
        topic = topic_of(message.stream, message.kind)
        number = self._number(topic, message.kind)
        header, payload = message.header, message.payload
        if message.anomaly_map is not None:
            entry, payload = encode_map(message.anomaly_map, self._map_encoding, message.grid)
            header = {**header, "anomaly_map": entry}
        parts = pack_message(topic, {"kind": message.kind, **header, "pub_seq": number})
        scored = None if message.scored is None else message.scored()
        return Entry(topic, number, parts[1], payload, scored, message.peer)
