"""Events as clients subscribe to them: on a stream's object, on the bridge's, and on the server's."""

from datetime import UTC, datetime

from asyncua import Server, ua
from asyncua.common.event_objects import BaseEvent

from streamer.bridges.opcua import names
from streamer.bridges.opcua.names import object_id, stream_id, type_id
from streamer.bridges.opcua.space import EVENTS, value_of
from streamer.bridges.opcua.told import Told, when

_FIELDS = {"result": names.RESULT_FIELDS, "message": names.MESSAGE_FIELDS}


class Events:
    """Triggers events.

    Args:
        server: its address space is built.
    """

    def __init__(self, server: Server) -> None:
        self._service = server.iserver.isession.subscription_service

    async def trigger(self, one: Told, instance: str, *, has_object: bool) -> None:
        """Give an event to every subscription that asked for it.

        Args:
            one: with all its fields.
            instance: of what is kept: part of the event's id, which is the same if it is told again.
            has_object: whether its stream has an object; its source is the bridge's otherwise.
        """
        source = stream_id(one.stream) if has_object else object_id(names.BRIDGE)
        event = _event(one, source, instance)
        emitting = [object_id(names.BRIDGE), ua.NodeId(ua.ObjectIds.Server)]
        # The library hands an event to those alone who subscribed to the very node that emits it.
        for node in [source, *emitting] if has_object else emitting:
            event.emitting_node = node
            await self._service.trigger_event(event)


def _event(one: Told, source: ua.NodeId, instance: str) -> BaseEvent:
    event = BaseEvent(sourcenode=source, message=one.text, severity=one.level)
    happened = one.values.get("EndTime") or one.values.get("CreationTime")
    now = datetime.now(UTC)
    event.EventId = f"{instance}-{one.number}".encode()
    event.EventType = type_id(EVENTS[one.kind])
    event.SourceName = one.stream or "detector"
    event.Time = now if happened is None else when(happened)
    event.ReceiveTime = now
    for field in _FIELDS[one.kind]:
        event.add_property(field.name, value_of(field.name, one.values), field.kind)
    return event
