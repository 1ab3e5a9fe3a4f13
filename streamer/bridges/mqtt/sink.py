"""The bridge itself: items become messages, in order, and are confirmed before the queue lets go of them."""

import asyncio
import hashlib
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from streamer.ask import ask
from streamer.auth import client_keys
from streamer.bridges.common import Common
from streamer.bridges.mqtt import tls
from streamer.bridges.mqtt.commands import Words
from streamer.bridges.mqtt.config import Mqtt
from streamer.bridges.mqtt.connection import Connection
from streamer.bridges.mqtt.counted import in_status
from streamer.bridges.mqtt.discovery import Discovery, stale
from streamer.bridges.mqtt.memory import Memory
from streamer.bridges.mqtt.messages import Forbidden, Never, Outgoing
from streamer.bridges.mqtt.payloads import VERSION, encode, payload
from streamer.bridges.mqtt.states import States
from streamer.bridges.mqtt.topics import Topics
from streamer.bridges.sink import Item, Refused, Undelivered
from streamer.errors import StreamerError

log = structlog.get_logger()

ONLINE, OFFLINE = b"online", b"offline"
_PROPERTIES = 512
"""Bytes of a packet beside its payload and topic, at most."""


class MqttSink:
    """A `Sink` that publishes at QoS 1 and takes operators' words.

    Args:
        settings: its section.
        common: what all bridges have in common.

    Raises:
        StreamerError: one line: a password, certificate or key that cannot be read, a folder not written.
    """

    def __init__(self, settings: Mqtt, common: Common) -> None:
        self._settings, self._common = settings, common
        self._topics = Topics(settings.prefix, settings.line)
        self._access()
        common.queue.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._memory = Memory(common.queue.path)
        self._states = States(self._memory.states())
        self._discovery = self._make_discovery()
        self._words = Words(
            settings.commands,
            self._topics,
            self._memory,
            self._make_ask(),
            most=int(settings.max_payload_bytes),
        )
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._detector: bytes | None = None
        self._announced: set[str] = set()
        self._unsaid: set[str] = set()
        self._forbidden: set[str] = set()
        self.counted: Counter[str] = Counter()
        """`connections`, `lost`, `topics_left_out`, `pictures_left_out`, `commands_lost`."""

    def figures(self) -> dict[str, int]:
        """Counts since the start: of connections, of what was left out, and of commands by outcome."""
        commands = {f"commands_{outcome}": count for outcome, count in dict(self._words.counts).items()}
        told, connection = Counter(self.counted), self._connection
        if connection is not None:
            told["commands_lost"] += connection.terms.arrivals_lost
        return {name: count for name, count in {**told, **commands}.items() if count}

    def counts(self) -> Mapping[str, tuple[str, int]]:
        """The same for the bridge's status, each one always there; from any thread."""
        return in_status(self.figures())

    async def open(self) -> None:
        """Connect, unless it is connected.

        Raises:
            Undelivered: not now.
        """
        await self._connected()

    async def lost(self) -> None:
        """Wait until the connection is gone: the broker tells that we are offline, so we come back at once.

        Raises:
            Undelivered: it is; the text says why.
        """
        if self._connection is not None:
            why = await self._connection.loss()
            raise Undelivered(f"mqtt {self._settings.address}: the connection was lost ({why})")

    async def deliver(self, items: Sequence[Item]) -> int:
        """Publish items in their order; how many of them, from the first, the broker has confirmed.

        Raises:
            Undelivered: not even the first.
            Refused: the first is too large for the broker, or it will never take it.
        """
        connection = await self._connected()
        messages, ends = self._messages(connection, items)
        of_items = len(messages)
        streams = sorted(self._unsaid)
        messages += self._allowed([self._state(stream) for stream in streams])
        try:
            confirmed = await connection.send(messages)
            while confirmed < ends[0]:  # its picture, and not yet itself
                confirmed += await connection.send(messages[confirmed:of_items])
        except (Forbidden, Never) as error:
            if error.topic in {messages[end - 1].topic for end in ends}:
                raise
            self._leave_out(error)
            raise Undelivered(f"{error}; it goes on without") from None
        if confirmed == len(messages):
            self._unsaid -= set(streams)
            self._keep_states(streams)
        return bisect_right(ends, confirmed)

    async def close(self) -> None:
        """Say that the bridge is offline, and disconnect; never raises."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        connection = self._connection
        try:
            if connection is not None and not connection.is_lost:
                with suppress(Undelivered, Refused):
                    await connection.send([Outgoing(self._topics.availability, OFFLINE, True, is_json=False)])
                await connection.goodbye()
        finally:
            self._memory.close()

    # --- what is sent

    def _messages(self, connection: Connection, items: Sequence[Item]) -> tuple[list[Outgoing], list[int]]:
        """Messages of the first items, and how many there are up to each item's last one."""
        messages: list[Outgoing] = []
        ends: list[int] = []
        for item in items:
            try:
                messages += self._of_item(connection, item)
            except Refused:
                if not ends:
                    raise
                break  # it is the first next time
            ends.append(len(messages))
        return messages, ends

    def _of_item(self, connection: Connection, item: Item) -> list[Outgoing]:
        if item.kind == "availability":
            self._detector = ONLINE if item.header.get("detector") == "up" else OFFLINE
            return [Outgoing(self._topics.detector, self._detector, retain=True, is_json=False)]
        topic = self._topics.of(item.stream, item.kind)
        picture = self._picture(connection, item)
        told = payload(item, most=self._most(connection, topic), picture=picture is not None)
        if self._states.take(item) and item.stream is not None:
            self._unsaid.add(item.stream)
        messages = [*self._allowed(self._introduced(item.stream)), *([] if picture is None else [picture])]
        return [*messages, Outgoing(topic, told)]

    def _most(self, connection: Connection, topic: str) -> int:
        most, packet = int(self._settings.max_payload_bytes), connection.terms.packet_bytes
        return most if packet is None else min(most, packet - len(topic) - _PROPERTIES)

    def _picture(self, connection: Connection, item: Item) -> Outgoing | None:
        if item.picture is None or item.stream is None:
            return None
        topic = self._topics.of(item.stream, "picture")
        if topic in self._forbidden:
            return None
        packet = connection.terms.packet_bytes or 2**28
        if len(item.picture) > min(self._settings.max_picture_bytes, packet - len(topic) - _PROPERTIES):
            self.counted["pictures_left_out"] += 1
            return None
        facts = (("number", str(item.number)), ("frame_id", json.dumps(item.header.get("frame_id"))))
        return Outgoing(topic, item.picture, is_json=False, facts=facts)

    def _state(self, stream: str) -> Outgoing:
        return Outgoing(self._topics.of(stream, "state"), encode(self._states.body(stream)), retain=True)

    def _own_state(self) -> Outgoing:
        told = {"v": VERSION, "kind": "bridge", "counts": self.figures()}
        return Outgoing(self._topics.bridge, encode(told), retain=True)

    def _introduced(self, stream: str | None) -> list[Outgoing]:
        """What Home Assistant must know of a stream that it has not heard of in this connection."""
        if self._discovery is None or stream is None or stream in self._announced:
            return []
        if stream not in self._states:  # there are too many
            return []
        found = self._discovery.messages(stream)
        try:
            self._memory.announce(found)
        except StreamerError as error:
            log.error("mqtt_not_kept", error=str(error))
        self._announced.add(stream)  # if it does not arrive, the next connection says it again
        return [Outgoing(topic, body, retain=True) for topic, body in found.items()]

    def _keep_states(self, streams: Sequence[str]) -> None:
        try:
            self._memory.keep_states({stream: self._states.body(stream) for stream in streams})
        except StreamerError as error:
            log.error("mqtt_not_kept", error=str(error))

    # --- the connection

    async def _connected(self) -> Connection:
        """The connection that stands, or a new one."""
        if self._connection is not None and not self._connection.is_lost:
            return self._connection
        if self._connection is not None:
            self.counted["lost"] += 1
            self.counted["commands_lost"] += self._connection.terms.arrivals_lost
            self._connection = None
        try:
            password, context = self._access()
        except StreamerError as error:
            raise Undelivered(str(error)) from None
        connection = Connection(
            self._settings,
            password=password,
            tls=context,
            will=self._topics.availability,
            client_id=self._settings.client_id or _client_id(self._topics.base),
        )
        await connection.start()
        try:
            for topic in await connection.listen(self._words.topics):
                log.warning("mqtt_command_not_allowed_by_broker", topic=topic)
            await self._greet(connection)
        except BaseException:
            connection.abandon()
            raise
        self._connection = connection
        log.info("mqtt_connected", broker=self._settings.address, topics=self._topics.base)
        self._begin(self._listen(connection))
        return connection

    async def _greet(self, connection: Connection) -> None:
        """Whatever is retained is said again: the broker may have lost it."""
        self._announced.clear()
        told = [one for stream in self._told_streams() for one in self._introduced(stream)]
        gone = stale(self._memory.announced(), [message.topic for message in told])
        await self._say(connection, [Outgoing(topic, b"", retain=True, is_json=False) for topic in gone])
        if gone:
            with suppress(StreamerError):
                self._memory.removed(gone)
        told += [self._state(stream) for stream in self._states.streams]
        if self._detector is not None:
            told.append(Outgoing(self._topics.detector, self._detector, retain=True, is_json=False))
        self.counted["connections"] += 1
        told.append(self._own_state())
        told.append(Outgoing(self._topics.availability, ONLINE, retain=True, is_json=False))
        await self._say(connection, told)

    async def _say(self, connection: Connection, messages: Sequence[Outgoing]) -> None:
        """All of them, but for those that the broker refuses."""
        messages, sent = self._allowed(messages), 0
        while sent < len(messages):
            try:
                sent += await connection.send(messages[sent:])
            except (Forbidden, Never) as error:
                self._leave_out(error)
                if connection.is_lost:  # as some do who forbid something
                    raise Undelivered(str(error)) from None
                sent += 1

    def _leave_out(self, error: Forbidden | Never) -> None:
        """Verdicts go on where the broker does not let us say what is beside them."""
        log.warning("mqtt_left_out", topic=error.topic, error=str(error), until="the next start")
        self.counted["topics_left_out"] += 1
        self._forbidden.add(error.topic)

    def _allowed(self, messages: Sequence[Outgoing]) -> list[Outgoing]:
        return [message for message in messages if message.topic not in self._forbidden]

    def _told_streams(self) -> list[str]:
        chosen = self._common.tell.streams
        return [stream for stream in self._states.streams if chosen is None or stream in chosen]

    async def _listen(self, connection: Connection) -> None:
        """Do commands one after the other, for as long as there is somebody to answer."""
        while (arrival := await connection.next_arrival()) is not None:
            answer = await self._words.answer(arrival)
            if answer is not None:
                try:
                    await connection.send([answer, self._own_state()])
                except (Undelivered, Refused) as error:
                    log.warning("mqtt_not_answered", error=str(error))
            if not connection.is_lost:
                connection.acknowledge(arrival)

    def _begin(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what it is made of

    def _access(self) -> tuple[str | None, tls.Context | None]:
        """The password and TLS, read anew: both are replaced while the bridge runs."""
        context = None if self._settings.tls is None else tls.context(self._settings.tls)
        return self._settings.password(), context

    def _make_discovery(self) -> Discovery | None:
        chosen = self._settings.home_assistant
        if not chosen.enabled:
            return None
        device = chosen.device or f"musc {self._settings.line}"
        return Discovery(self._topics, chosen.prefix, device, pictures=self._common.tell.pictures)

    def _make_ask(self) -> Any:
        detector = self._common.detector
        return partial(
            ask,
            endpoint=detector.control,
            keys=client_keys(detector.key, detector.server_key),
            timeout_s=self._settings.commands.timeout_s,
        )


def _client_id(base: str) -> str:
    """The same at every start, of 23 letters and digits at most, as every broker takes it."""
    return f"musc{hashlib.sha256(base.encode()).hexdigest()[:18]}"
