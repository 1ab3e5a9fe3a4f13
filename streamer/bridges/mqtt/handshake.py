"""What both sides say of themselves when a connection begins."""

from dataclasses import dataclass
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from streamer.bridges.mqtt.config import Mqtt

_UNDONE = 16
"""Messages that a broker may send us before we have acknowledged any."""
_BESIDE_A_COMMAND = 4096
_LEAST_PACKET = 2048
# A verdict without its regions, its topic and properties.


@dataclass
class Terms:
    """What the broker takes, as it said when it let us in: messages in flight, bytes of one; None for any.

    Attributes:
        refusal: why we cannot be with such a broker at all, or None.
    """

    in_flight: int
    packet_bytes: int | None = None
    refusal: str | None = None

    def agree(self, said: Properties | None) -> None:
        """Take what the broker says of itself; before MQTT 5 it says nothing."""
        self.in_flight = max(1, min(self.in_flight, getattr(said, "ReceiveMaximum", 65535)))
        self.packet_bytes = getattr(said, "MaximumPacketSize", None)
        if getattr(said, "MaximumQoS", 2) < 1:
            self.refusal = "the broker takes no QoS 1; nothing can be handed on for certain"
        elif not getattr(said, "RetainAvailable", 1):
            self.refusal = "the broker keeps no retained messages; availability and state are such"
        elif self.packet_bytes is not None and self.packet_bytes < _LEAST_PACKET:
            self.refusal = (
                f"the broker takes packets of {self.packet_bytes} bytes at most, expected {_LEAST_PACKET}: "
                "no verdict fits"
            )


def of_connect(settings: Mqtt) -> Properties:
    """What we say of ourselves, in MQTT 5."""
    properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = settings.session_expiry_s
    # The broker keeps back what is larger than any command, before we have read it.
    properties.MaximumPacketSize = settings.commands.max_bytes + _BESIDE_A_COMMAND
    properties.ReceiveMaximum = _UNDONE
    return properties  # type: ignore[no-any-return]
