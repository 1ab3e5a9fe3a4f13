"""One connection to a broker, from its handshake to its loss; after that a new one is made."""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from streamer.bridges.mqtt.config import Mqtt
from streamer.bridges.mqtt.messages import Arrival, Forbidden, Never, Outgoing, arrival_of, properties_of
from streamer.bridges.mqtt.tls import Context
from streamer.bridges.sink import Refused, Undelivered
from streamer.printable import printable

log = structlog.get_logger()

_VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}
_CONNECT_S = 5.0
_ARRIVALS, _UNDONE = 64, 16
_PER_MESSAGE = 64
"""Bytes of a packet beside its topic and payload, at most, where its properties are few."""
_NEVER = frozenset({0x90, 0x95, 0x99})
"""Topic name invalid, packet too large, payload format invalid: the same message is never taken."""

# What paho says of each packet is nobody's news; what goes wrong we say ourselves.
_QUIET = logging.getLogger("streamer.bridges.mqtt.paho")
_QUIET.setLevel(logging.CRITICAL)


@dataclass
class Terms:
    """What the broker takes, as it said when it let us in: messages in flight, bytes of one; None for any."""

    in_flight: int
    packet_bytes: int | None = None
    refusal: str | None = None
    arrivals_lost: int = 0


class Connection(aiomqtt.Client):
    """aiomqtt's client, where a confirm says whether the broker took it, and a loss is noticed at once.

    aiomqtt itself passes over the reason code of a confirm, and waits for one until its time is up though
    the connection is gone.

    Args:
        settings: the section of the configuration.
        password: of `settings.username`, or None.
        tls: None for plaintext.
        will: topic that gets `offline`, retained, when this connection breaks.
        client_id: by which the broker knows the session.
    """

    def __init__(
        self, settings: Mqtt, *, password: str | None, tls: Context | None, will: str, client_id: str
    ) -> None:
        is_5 = settings.version == "5"
        lasting = settings.session_expiry_s > 0
        super().__init__(
            settings.host,
            settings.port,
            username=settings.username,
            password=password,
            identifier=client_id,
            protocol=_VERSIONS[settings.version],
            will=aiomqtt.Will(will, b"offline", qos=1, retain=True),
            clean_session=None if is_5 else not lasting,
            clean_start=(not lasting) if is_5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=_of_connect(settings) if is_5 else None,
            keepalive=settings.keepalive_s,
            timeout=settings.timeout_s,
            max_inflight_messages=0,  # counted here, by what the broker says
            tls_context=tls,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=_QUIET,
        )
        self._client.connect_timeout = min(_CONNECT_S, settings.timeout_s)
        # Acknowledged once it is done: until then the broker holds back more than `_UNDONE`.
        self._client.manual_ack_set(True)
        self._is_5, self._tls = is_5, tls
        self._confirms: dict[int, asyncio.Future[ReasonCode]] = {}
        self.terms = Terms(settings.in_flight)
        self.arrivals: asyncio.Queue[Arrival] = asyncio.Queue(_ARRIVALS)

    async def start(self) -> None:
        """Connect and be let in.

        Raises:
            Undelivered: not now; the text says why, without the password.
        """
        try:
            await self.__aenter__()
        except (aiomqtt.MqttError, ValueError) as error:
            self.abandon()
            raise Undelivered(f"{self._where()}: {_reason(error)}") from None
        except BaseException:
            self.abandon()
            raise
        self._disconnected.add_done_callback(_seen)
        if self._client.socket() is None:  # aiomqtt forgets what came right behind the handshake
            self.abandon()
            raise Undelivered(f"{self._where()}: closed the connection at once")
        if self.terms.refusal is not None:
            await self.goodbye()
            raise Undelivered(f"{self._where()}: {self.terms.refusal}")

    @property
    def is_lost(self) -> bool:
        """Whether it has ended; what is published then never arrives."""
        return self._disconnected.done()

    async def loss(self) -> str:
        """Wait for its end; says why."""
        await asyncio.wait([self._disconnected])
        error = self._disconnected.exception()
        return "was closed" if error is None else _reason(error)

    async def send(self, messages: Sequence[Outgoing]) -> int:
        """Publish in order; returns how many of them, from the first, the broker has confirmed (1 or more).

        As many are on the way as the configuration and the broker allow. Where one fails, those behind it
        may have arrived, and arrive again.

        Raises:
            Undelivered: not even the first; `Forbidden` where the broker said so.
            Never: the first will not be taken whenever it is sent.
        """
        waiting: deque[asyncio.Future[ReasonCode]] = deque()
        confirmed, begun = 0, 0
        try:
            while confirmed < len(messages):
                while begun < len(messages) and len(waiting) < self.terms.in_flight:
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

    def _publish(self, message: Outgoing) -> asyncio.Future[ReasonCode]:
        """Its confirm, to come; one that cannot be sent has failed already."""
        confirm: asyncio.Future[ReasonCode] = self._loop.create_future()
        most, size = self.terms.packet_bytes, len(message.topic.encode()) + len(message.payload)
        if most is not None and size + _PER_MESSAGE > most:
            said = f"{message.topic}: has {size} bytes, the broker takes {most}"
            confirm.set_exception(Never(said, message.topic))
        elif self.is_lost:
            confirm.set_exception(Undelivered(f"{self._where()}: the connection is lost"))
        else:
            properties = properties_of(message) if self._is_5 else None
            try:
                info = self._client.publish(message.topic, message.payload, 1, message.retain, properties)
            except ValueError as error:
                confirm.set_exception(Never(f"{message.topic}: {error}", message.topic))
                return confirm
            if info.rc != paho.MQTT_ERR_SUCCESS:
                confirm.set_exception(Undelivered(f"{self._where()}: {paho.error_string(info.rc)}"))
                return confirm
            self._confirms[info.mid] = confirm
            confirm.add_done_callback(lambda _: self._confirms.pop(info.mid, None))
        return confirm

    async def _confirmed(self, message: Outgoing, confirm: asyncio.Future[ReasonCode]) -> None:
        lost = self._disconnected
        either: list[asyncio.Future[Any]] = [confirm, lost]
        await asyncio.wait(either, timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED)
        if not confirm.done() or confirm.cancelled():
            if lost.done():
                raise Undelivered(f"{self._where()}: the connection was lost ({_of_future(lost)})")
            self.abandon()  # what comes late would come out of order
            raise Undelivered(f"{self._where()}: no confirm of {message.topic} within {self.timeout:g} s")
        code = confirm.result()
        if code.is_failure:
            said = f"{self._where()}: {message.topic} is refused ({code})"
            raise (Never if code.value in _NEVER else Forbidden)(said, message.topic)

    async def listen(self, topics: Sequence[str]) -> list[str]:
        """Subscribe at QoS 1; returns those that the broker does not allow.

        Raises:
            Undelivered: the connection is lost.
        """
        # As published: that a command is retained is to be known also where it comes live.
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        refused = []
        for topic in topics:
            try:
                codes = await (
                    self.subscribe(topic, options=options) if self._is_5 else self.subscribe(topic, qos=1)
                )
            except aiomqtt.MqttError as error:
                raise Undelivered(f"{self._where()}: {_reason(error)}") from None
            if any(getattr(code, "value", code) >= 0x80 for code in codes):
                refused.append(topic)
        return refused

    async def next_arrival(self) -> Arrival | None:
        """What came next; None once the connection is lost, whatever came before."""
        arriving = asyncio.ensure_future(self.arrivals.get())
        try:
            either: list[asyncio.Future[Any]] = [arriving, self._disconnected]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return None if self.is_lost else arriving.result()
        finally:
            arriving.cancel()

    def acknowledge(self, arrival: Arrival) -> None:
        """It is done, and need not be sent again."""
        self._client.ack(arrival.mid, arrival.qos)

    async def goodbye(self) -> None:
        """Disconnect without the last will; never raises."""
        with suppress(aiomqtt.MqttError):
            await self.__aexit__(None, None, None)
        self.abandon()

    def abandon(self) -> None:
        """Cut the connection: the broker publishes the last will."""
        self._client._sock_close()
        if self._tls is not None:
            self._tls.close()
        if not self._disconnected.done():
            self._disconnected.set_result(None)
        for confirm in list(self._confirms.values()):
            confirm.cancel()

    def _where(self) -> str:
        return f"mqtt {self._hostname}:{self._port}"

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.terms.in_flight = min(self.terms.in_flight, getattr(properties, "ReceiveMaximum", 65535))
        self.terms.packet_bytes = getattr(properties, "MaximumPacketSize", None)
        if getattr(properties, "MaximumQoS", 2) < 1:
            self.terms.refusal = "the broker takes no QoS 1; nothing can be handed on for certain"
        elif not getattr(properties, "RetainAvailable", 1):
            self.terms.refusal = "the broker keeps no retained messages; availability and state are such"
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():  # aiomqtt would wait until its time is up
            self._connected.set_exception(aiomqtt.MqttError("closed the connection before it answered"))
            return
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_publish(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        confirm = self._confirms.get(mid)
        if confirm is not None and not confirm.done():
            confirm.set_result(reason_code)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            self.arrivals.put_nowait(arrival_of(message))
        except UnicodeDecodeError:
            self.terms.arrivals_lost += 1
            self._client.ack(message.mid, message.qos)
        except asyncio.QueueFull:  # of QoS 0; the broker holds back what wants to be acknowledged
            self.terms.arrivals_lost += 1


def _of_connect(settings: Mqtt) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = settings.session_expiry_s
    # The broker keeps back what is larger than any command, before we have read it.
    properties.MaximumPacketSize = settings.commands.max_bytes + 4096
    properties.ReceiveMaximum = _UNDONE
    return properties


def _seen(future: asyncio.Future[None]) -> None:
    """Its error is nobody's duty to look at: asyncio would say so."""
    if not future.cancelled():
        future.exception()


def _of_future(future: asyncio.Future[None]) -> str:
    error = future.exception()
    return "closed" if error is None else _reason(error)


def _reason(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))[:300] or type(error).__name__
