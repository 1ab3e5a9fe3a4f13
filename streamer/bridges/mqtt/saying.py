"""What is said: of items in their order, and what a broker is to keep of it for those who come later."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

from streamer.bridges.mqtt.config import Mqtt
from streamer.bridges.mqtt.discovery import Discovery, stale
from streamer.bridges.mqtt.memory import Memory
from streamer.bridges.mqtt.messages import Forbidden, Never, Outgoing
from streamer.bridges.mqtt.payloads import VERSION, encode, payload
from streamer.bridges.mqtt.states import States
from streamer.bridges.mqtt.topics import Topics
from streamer.bridges.sink import Item, Refused
from streamer.errors import StreamerError

log = structlog.get_logger()

ONLINE, OFFLINE = b"online", b"offline"
_PROPERTIES = 512
"""Bytes of a packet beside its payload and topic, at most."""


class Saying:
    """Makes messages; what the broker forbids of them is left out, but for verdicts.

    Args:
        settings: of the section.
        topics: of the bridge.
        memory: of what was said before.
        bridge: id of the queue whose numbers the items have.
        discovery: what Home Assistant is told, or None.
        counted: gets `topics_left_out` and `pictures_left_out`.
    """

    def __init__(
        self,
        settings: Mqtt,
        topics: Topics,
        memory: Memory,
        bridge: str,
        discovery: Discovery | None,
        counted: Counter[str],
    ) -> None:
        self._settings, self._topics, self._memory = settings, topics, memory
        self._bridge, self._discovery, self._counted = bridge, discovery, counted
        self._states = States(bridge, memory.states())
        self._detector: bytes | None = None
        self._announced: set[str] = set()
        self._unsaid: set[str] = set()
        self._forbidden: set[str] = set()

    # --- items

    def of_items(self, items: Sequence[Item], packet_bytes: int | None) -> tuple[list[Outgoing], list[int]]:
        """Messages of the first items, and how many there are up to each item's last one: 1 item or more.

        Args:
            items: 1 or more.
            packet_bytes: that the broker takes; None for any.

        Raises:
            Refused: the first is too large.
        """
        messages: list[Outgoing] = []
        ends: list[int] = []
        for item in items:
            try:
                messages += self._of_item(item, packet_bytes)
            except Refused:
                if not ends:
                    raise
                break  # it is the first next time
            ends.append(len(messages))
        return messages, ends

    def _of_item(self, item: Item, packet_bytes: int | None) -> list[Outgoing]:
        if item.kind == "availability":
            self._detector = ONLINE if item.header.get("detector") == "up" else OFFLINE
            return [Outgoing(self._topics.detector, self._detector, retain=True, is_json=False)]
        topic = self._topics.of(item.stream, item.kind)
        picture = self._picture(item, packet_bytes)
        most = int(self._settings.max_payload_bytes)
        if packet_bytes is not None:
            most = min(most, packet_bytes - len(topic) - _PROPERTIES)
        told = payload(item, self._bridge, most=most, picture=picture is not None)
        if self._states.take(item) and item.stream is not None:
            self._unsaid.add(item.stream)
        messages = [*self.allowed(self._introduced(item.stream)), *([] if picture is None else [picture])]
        return [*messages, Outgoing(topic, told)]

    def _picture(self, item: Item, packet_bytes: int | None) -> Outgoing | None:
        if item.picture is None or item.stream is None:
            return None
        topic = self._topics.of(item.stream, "picture")
        if topic in self._forbidden:
            return None
        most = (packet_bytes or 2**28) - len(topic) - _PROPERTIES
        if len(item.picture) > min(self._settings.max_picture_bytes, most):
            self._counted["pictures_left_out"] += 1
            return None
        facts = (("number", str(item.number)), ("frame_id", json.dumps(item.header.get("frame_id"))))
        return Outgoing(topic, item.picture, is_json=False, facts=facts)

    # --- what is retained

    def unsaid_states(self) -> tuple[list[str], list[Outgoing]]:
        """Streams whose state has changed and was not confirmed since, and their messages, if allowed."""
        streams = sorted(self._unsaid)
        return streams, self.allowed([self._state(stream) for stream in streams])

    def states_said(self, streams: Sequence[str]) -> None:
        """The broker has confirmed their states."""
        self._unsaid -= set(streams)

    def keep_states(self, streams: Sequence[str]) -> None:
        """On disk, before the queue lets go of the items that they are of: a kill must not undo them."""
        try:
            self._memory.keep_states({stream: self._states.body(stream) for stream in streams})
        except StreamerError as error:
            log.error("mqtt_not_kept", error=str(error))

    def retained(self, streams: Sequence[str] | None, counts: Mapping[str, int]) -> list[Outgoing]:
        """All that is retained, to be said to a broker that may have lost it; `online` comes last.

        Args:
            streams: that are told, None for all: of others Home Assistant forgets what it knew.
            counts: of the bridge.
        """
        self._announced.clear()
        told = [
            one
            for stream in self._states.streams
            if streams is None or stream in streams
            for one in self._introduced(stream)
        ]
        told += [self._state(stream) for stream in self._states.streams]
        if self._detector is not None:
            told.append(Outgoing(self._topics.detector, self._detector, retain=True, is_json=False))
        told.append(self.own_state(counts))
        return [*told, self.availability(ONLINE)]

    def removals(self, retained: Sequence[Outgoing]) -> list[Outgoing]:
        """Empty messages for the topics that still have something retained, which `retained` says no more."""
        gone = stale(self._memory.announced(), [message.topic for message in retained])
        return [Outgoing(topic, b"", retain=True, is_json=False) for topic in gone]

    def removed(self, removals: Sequence[Outgoing]) -> None:
        """The broker has confirmed them; where the disk does not take that they are said again."""
        if removals:
            with suppress(StreamerError):
                self._memory.removed([message.topic for message in removals])

    def availability(self, word: bytes) -> Outgoing:
        """Of the bridge."""
        return Outgoing(self._topics.availability, word, retain=True, is_json=False)

    def own_state(self, counts: Mapping[str, int]) -> Outgoing:
        """Counts of the bridge itself."""
        told = {"v": VERSION, "kind": "bridge", "counts": counts}
        return Outgoing(self._topics.bridge, encode(told), retain=True)

    def _state(self, stream: str) -> Outgoing:
        return Outgoing(self._topics.of(stream, "state"), encode(self._states.body(stream)), retain=True)

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

    # --- what is forbidden

    def leave_out(self, error: Forbidden | Never) -> None:
        """Verdicts go on where the broker does not let us say what is beside them."""
        log.warning("mqtt_left_out", topic=error.topic, error=str(error), until="the next start")
        self._counted["topics_left_out"] += 1
        self._forbidden.add(error.topic)

    def allowed(self, messages: Sequence[Outgoing]) -> list[Outgoing]:
        """Those that the broker has not forbidden."""
        return [message for message in messages if message.topic not in self._forbidden]
