"""One connection to a broker, from its handshake to its loss; after that a new one is made."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from streamer.bridges.mqtt.config import Mqtt
from streamer.bridges.mqtt.handshake import Terms, of_connect
from streamer.bridges.mqtt.messages import Arrival, Outgoing, arrival_of
from streamer.bridges.mqtt.publishing import Publishing, reason
from streamer.bridges.mqtt.tls import Context
from streamer.bridges.sink import Undelivered
from streamer.printable import printable

_VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}
_CONNECT_S = 5.0
_ARRIVALS = 64
_NO_REASON, _TAKEN_OVER = 0x80, 0x8E

# What paho says of each packet is nobody's news; what goes wrong we say ourselves.
_QUIET = logging.getLogger("streamer.bridges.mqtt.paho")
_QUIET.setLevel(logging.CRITICAL)


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
            properties=of_connect(settings) if is_5 else None,
            keepalive=settings.keepalive_s,
            timeout=settings.timeout_s,
            max_inflight_messages=settings.in_flight,
            tls_context=tls,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=_QUIET,
        )
        self._client.connect_timeout = min(_CONNECT_S, settings.timeout_s)
        # Acknowledged once it is done: until then the broker holds back more than a few.
        self._client.manual_ack_set(True)
        self._is_5, self._tls = is_5, tls
        self.terms = Terms(settings.in_flight)
        self.arrivals_lost = 0
        self.arrivals: asyncio.Queue[Arrival] = asyncio.Queue(_ARRIVALS)
        self._publishing = Publishing(
            self._client,
            self.terms,
            lambda: self._disconnected,
            where=self._where(),
            timeout_s=self.timeout,
            is_5=is_5,
            abandon=self.abandon,
        )

    async def start(self) -> None:
        """Connect and be let in.

        Raises:
            Undelivered: not now; the text says why, without the password.
        """
        try:
            await self.__aenter__()
        except (aiomqtt.MqttError, ValueError) as error:
            self.abandon()
            raise Undelivered(f"{self._where()}: {reason(error)}") from None
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
        return "was closed" if error is None else reason(error)

    async def send(self, messages: Sequence[Outgoing]) -> int:
        """Publish in order; returns how many of them, from the first, the broker has confirmed (1 or more).

        Raises:
            Undelivered: not even the first; `Forbidden` where the broker said so.
            Never: the first will not be taken whenever it is sent.
        """
        return await self._publishing.send(messages)

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
                raise Undelivered(f"{self._where()}: {reason(error)}") from None
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
        self._publishing.stop()

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
        self.terms.agree(properties)
        # Of deliveries and answers together: paho keeps back what is more, in order. Its own setter takes no
        # number once there is a connection, when what the broker says of itself is not known yet.
        client._max_inflight_messages = self.terms.in_flight
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
        why = self._why(flags, reason_code)
        if why is not None and not self._disconnected.done():
            self._disconnected.set_exception(aiomqtt.MqttError(why))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _why(self, flags: paho.DisconnectFlags, code: ReasonCode) -> str | None:
        """Where the broker's own word says too little: some end a session that is taken over without any."""
        same = f"another client has the client_id '{printable(self.identifier)}'"
        if code.value == _TAKEN_OVER:
            return f"session taken over: {same}"
        if code.value == _NO_REASON and not flags.is_disconnect_packet_from_server:
            return f"it broke without a word from the broker; if it does so again and again, perhaps {same}"
        return None

    def _on_publish(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        self._publishing.confirm(mid, reason_code)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            self.arrivals.put_nowait(arrival_of(message))
        except UnicodeDecodeError:
            self.arrivals_lost += 1
            self._client.ack(message.mid, message.qos)
        except asyncio.QueueFull:  # of QoS 0; the broker holds back what wants to be acknowledged
            self.arrivals_lost += 1


def _seen(future: asyncio.Future[None]) -> None:
    """Its error is nobody's duty to look at: asyncio would say so."""
    if not future.cancelled():
        future.exception()
