"""Messages on their way to and from a broker, and what it may say to one."""

from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from streamer.bridges.sink import Refused, Undelivered


class Forbidden(Undelivered):
    """The broker does not allow a message on this topic now; it may tomorrow."""

    def __init__(self, text: str, topic: str) -> None:
        super().__init__(text)
        self.topic = topic


class Never(Refused):
    """The broker will never take this message."""

    def __init__(self, text: str, topic: str) -> None:
        super().__init__(text)
        self.topic = topic


@dataclass(frozen=True)
class Outgoing:
    """A message to publish at QoS 1; `properties` are of MQTT 5, and left out of older versions."""

    topic: str
    payload: bytes
    retain: bool = False
    is_json: bool = True
    answers: bytes | None = None
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Arrival:
    """A message that came; `again`: the broker says that it was sent before and not acknowledged."""

    topic: str
    payload: bytes
    retain: bool
    again: bool
    qos: int = 0
    mid: int = 0
    response_topic: str | None = None
    correlation: bytes | None = None


def properties_of(message: Outgoing) -> Properties:
    """What MQTT 5 says beside its payload."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if message.is_json:
        properties.PayloadFormatIndicator = 1
        properties.ContentType = "application/json"
    if message.answers is not None:
        properties.CorrelationData = message.answers
    if message.facts:
        properties.UserProperty = list(message.facts)
    return properties


def arrival_of(message: paho.MQTTMessage) -> Arrival:
    """A message as paho has it.

    Raises:
        UnicodeDecodeError: its topic is no text.
    """
    given = message.properties
    return Arrival(
        message.topic,
        bytes(message.payload),
        bool(message.retain),
        bool(message.dup),
        message.qos,
        message.mid,
        getattr(given, "ResponseTopic", None),
        getattr(given, "CorrelationData", None),
    )
