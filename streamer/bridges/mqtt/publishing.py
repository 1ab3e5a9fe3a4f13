"""Messages on their way to the broker: in order, each until the broker has said whether it takes it."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.reasoncodes import ReasonCode

from streamer.bridges.mqtt.handshake import Terms
from streamer.bridges.mqtt.messages import Forbidden, Never, Outgoing, properties_of
from streamer.bridges.sink import Refused, Undelivered
from streamer.printable import printable

log = structlog.get_logger()

_PER_MESSAGE = 64
"""Bytes of a packet beside its topic and payload, at most, where its properties are few."""
_NEVER = frozenset({0x90, 0x95, 0x99})
"""Topic name invalid, packet too large, payload format invalid: the same message is never taken."""


class Publishing:
    """Publishes at QoS 1 on one connection. Several may send at a time: each its own messages in order.

    Of all of them together no more are on the way than the broker takes: that is for its owner to tell paho.

    Args:
        client: of paho.
        terms: what the broker takes.
        lost: gives what is done once the connection has ended, with what it ended by.
        where: the broker, for errors.
        timeout_s: for a confirm.
        is_5: whether messages have properties.
        abandon: cuts the connection.
    """

    def __init__(
        self,
        client: paho.Client,
        terms: Terms,
        lost: Callable[[], "asyncio.Future[None]"],
        *,
        where: str,
        timeout_s: float,
        is_5: bool,
        abandon: Callable[[], None],
    ) -> None:
        self._client, self._terms, self._lost = client, terms, lost
        self._where, self._timeout_s, self._is_5 = where, timeout_s, is_5
        self._abandon = abandon
        self._confirms: dict[int, asyncio.Future[ReasonCode]] = {}

    async def send(self, messages: Sequence[Outgoing]) -> int:
        """Publish in order; returns how many of them, from the first, the broker has confirmed (1 or more).

        Where one fails, those behind it may have arrived, and arrive again.

        Raises:
            Undelivered: not even the first; `Forbidden` where the broker said so.
            Never: the first will not be taken whenever it is sent.
        """
        waiting: deque[asyncio.Future[ReasonCode]] = deque()
        confirmed, begun = 0, 0
        try:
            while confirmed < len(messages):
                while begun < len(messages) and len(waiting) < self._terms.in_flight:
                    waiting.append(self._publish(messages[begun]))
                    begun += 1
                await self._confirmed(messages[confirmed], waiting[0])
                waiting.popleft()
                confirmed += 1
        except (Undelivered, Refused) as error:
            if not confirmed:
                raise
            log.warning("mqtt_stopped", confirmed=confirmed, error=str(error))
        finally:
            for future in waiting:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # has been seen
        return confirmed

    def confirm(self, mid: int, code: ReasonCode) -> None:
        """The broker has answered a message."""
        confirm = self._confirms.get(mid)
        if confirm is not None and not confirm.done():
            confirm.set_result(code)

    def stop(self) -> None:
        """Nothing is confirmed any more."""
        for confirm in list(self._confirms.values()):
            confirm.cancel()

    def _publish(self, message: Outgoing) -> "asyncio.Future[ReasonCode]":
        """Its confirm, to come; one that cannot be sent has failed already."""
        confirm: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        most, size = self._terms.packet_bytes, len(message.topic.encode()) + len(message.payload)
        if most is not None and size + _PER_MESSAGE > most:
            said = f"{message.topic}: has {size} bytes, the broker takes {most}"
            confirm.set_exception(Never(said, message.topic))
        elif self._lost().done():
            confirm.set_exception(Undelivered(f"{self._where}: the connection is lost"))
        else:
            properties = properties_of(message) if self._is_5 else None
            try:
                info = self._client.publish(message.topic, message.payload, 1, message.retain, properties)
            except ValueError as error:
                confirm.set_exception(Never(f"{message.topic}: {error}", message.topic))
                return confirm
            if info.rc != paho.MQTT_ERR_SUCCESS:
                confirm.set_exception(Undelivered(f"{self._where}: {paho.error_string(info.rc)}"))
                return confirm
            self._confirms[info.mid] = confirm
            confirm.add_done_callback(lambda _: self._confirms.pop(info.mid, None))
        return confirm

    async def _confirmed(self, message: Outgoing, confirm: "asyncio.Future[ReasonCode]") -> None:
        lost = self._lost()
        either: list[asyncio.Future[Any]] = [confirm, lost]
        await asyncio.wait(either, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not confirm.done() or confirm.cancelled():
            if lost.done():
                error = lost.exception()
                why = "closed" if error is None else reason(error)
                raise Undelivered(f"{self._where}: the connection was lost ({why})")
            self._abandon()  # what comes late would come out of order
            raise Undelivered(f"{self._where}: no confirm of {message.topic} within {self._timeout_s:g} s")
        code = confirm.result()
        if code.is_failure:
            said = f"{self._where}: {message.topic} is refused ({code})"
            raise (Never if code.value in _NEVER else Forbidden)(said, message.topic)


def reason(error: BaseException) -> str:
    """Why it failed, on one line."""
    return printable(" ".join(str(error).split()))[:300] or type(error).__name__
