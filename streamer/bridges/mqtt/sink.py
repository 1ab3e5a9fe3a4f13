"""The bridge itself: items become messages, in order, and are confirmed before the queue lets go of them."""

import asyncio
import hashlib
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
from streamer.bridges.identity import bridge_id
from streamer.bridges.mqtt import tls
from streamer.bridges.mqtt.commands import Words
from streamer.bridges.mqtt.config import Mqtt
from streamer.bridges.mqtt.connection import Connection
from streamer.bridges.mqtt.counted import in_status
from streamer.bridges.mqtt.discovery import Discovery
from streamer.bridges.mqtt.memory import Memory
from streamer.bridges.mqtt.messages import Forbidden, Never, Outgoing
from streamer.bridges.mqtt.saying import OFFLINE, Saying
from streamer.bridges.mqtt.topics import Topics
from streamer.bridges.seldom import Seldom
from streamer.bridges.sink import Item, Refused, Undelivered
from streamer.errors import StreamerError

log = structlog.get_logger()


class MqttSink:
    """A `Sink` that publishes at QoS 1 and takes operators' words.

    Args:
        settings: its section.
        common: what all bridges have in common; its queue has been opened.

    Raises:
        StreamerError: one line: a password, certificate or key that cannot be read, a folder not written.
    """

    def __init__(self, settings: Mqtt, common: Common) -> None:
        self._settings, self._common = settings, common
        self._topics = Topics(settings.prefix, settings.line)
        self._access()
        bridge = bridge_id(common.queue.path)
        self._memory = Memory(common.queue.path)
        self.counted: Counter[str] = Counter()
        """`connections`, `lost`, `topics_left_out`, `pictures_left_out`, `commands_lost`."""
        self._saying = Saying(
            settings, self._topics, self._memory, bridge, self._make_discovery(), self.counted
        )
        self._words = Words(
            settings.commands,
            self._topics,
            self._memory,
            self._make_ask(),
            most=int(settings.max_payload_bytes),
        )
        self._connecting = Seldom("mqtt_connected", "times", "info")
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def figures(self) -> dict[str, int]:
        """Counts since the start: of connections, of what was left out, and of commands by outcome."""
        commands = {f"commands_{outcome}": count for outcome, count in dict(self._words.counts).items()}
        told, connection = Counter(self.counted), self._connection
        if connection is not None:
            told["commands_lost"] += connection.arrivals_lost
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
        messages, ends = self._saying.of_items(items, connection.terms.packet_bytes)
        of_items = len(messages)
        streams, states = self._saying.unsaid_states()
        messages += states
        try:
            confirmed = await connection.send(messages)
            while confirmed < ends[0]:  # its picture, and not yet itself
                confirmed += await connection.send(messages[confirmed:of_items])
        except (Forbidden, Never) as error:
            if error.topic in {messages[end - 1].topic for end in ends}:
                raise
            self._saying.leave_out(error)
            raise Undelivered(f"{error}; it goes on without") from None
        self._saying.keep_states(streams)
        if confirmed >= of_items:
            with suppress(Undelivered):  # then all that is retained is said in the next connection
                await self._say(connection, messages[confirmed:])
                self._saying.states_said(streams)
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
                    await connection.send([self._saying.availability(OFFLINE)])
                await connection.goodbye()
        finally:
            self._memory.close()
            self._connecting.flush()
            self._words.close()

    # --- the connection

    async def _connected(self) -> Connection:
        """The connection that stands, or a new one."""
        if self._connection is not None and not self._connection.is_lost:
            return self._connection
        if self._connection is not None:
            self.counted["lost"] += 1
            self.counted["commands_lost"] += self._connection.arrivals_lost
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
        self._connecting.add(broker=self._settings.address, topics=self._topics.base)
        self._begin(self._listen(connection))
        return connection

    async def _greet(self, connection: Connection) -> None:
        """Whatever is retained is said again: the broker may have lost it."""
        self.counted["connections"] += 1
        told = self._saying.retained(self._common.tell.streams, self.figures())
        removals = self._saying.removals(told)
        await self._say(connection, removals)
        self._saying.removed(removals)
        await self._say(connection, told)

    async def _say(self, connection: Connection, messages: Sequence[Outgoing]) -> None:
        """All of them, but for those that the broker refuses."""
        messages, sent = self._saying.allowed(messages), 0
        while sent < len(messages):
            try:
                sent += await connection.send(messages[sent:])
            except (Forbidden, Never) as error:
                self._saying.leave_out(error)
                if connection.is_lost:  # as some do who forbid something
                    raise Undelivered(str(error)) from None
                sent += 1

    async def _listen(self, connection: Connection) -> None:
        """Do commands one after the other, for as long as there is somebody to answer."""
        while (arrival := await connection.next_arrival()) is not None:
            answer = await self._words.answer(arrival)
            if answer is not None:
                try:
                    await connection.send([answer, self._saying.own_state(self.figures())])
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
