"""The address space: the types, the bridge's object, and a vision system for each stream."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from asyncua import Node, Server, ua

from streamer.bridges.opcua import names
from streamer.bridges.opcua.kept import State
from streamer.bridges.opcua.methods import METHODS, Method, arguments
from streamer.bridges.opcua.names import FIELDS, object_id, stream_id, type_id, type_name
from streamer.bridges.opcua.told import when

Call = Callable[..., Awaitable[Any]]

EVENTS = {"result": "ResultReadyEventType", "message": "DetectorMessageEventType"}
"""Event type by kind of what is told."""
_OF_THE_BRIDGE = (
    ("DetectorUp", ua.VariantType.Boolean, False),
    ("Heartbeat", ua.VariantType.UInt32, 0),
    ("LastItemNumber", ua.VariantType.UInt64, 0),
    ("StreamsLeftOut", ua.VariantType.UInt32, 0),
)
_SHARED = ("DetectorUp", "Heartbeat")
"""Variables of the bridge that every stream's object shows too: a PLC reads one folder."""


class Space:
    """Nodes of one server, and the values they show.

    Args:
        server: initialised, not started.
        most: streams that get an object; others are told by the bridge's events alone.
    """

    def __init__(self, server: Server, most: int) -> None:
        self._server = server
        self._most = most
        self._streams: set[str] = set()
        self._left_out: set[str] = set()
        self._methods: dict[str, ua.NodeId] = {}

    async def build(self, methods: Mapping[str, Call]) -> None:
        """Make the types and the bridge's object.

        Args:
            methods: what is done at a call, by the name of the method; those that are not here do not exist.
        """
        for index, uri in ((names.TYPES_INDEX, names.TYPES), (names.STREAMS_INDEX, names.STREAMS)):
            if await self._server.register_namespace(uri) != index:
                raise RuntimeError(f"{uri}: expected namespace {index}")  # all node ids would be others
        await self._build_event("ResultReadyEventType", names.RESULT_FIELDS)
        await self._build_event("DetectorMessageEventType", names.MESSAGE_FIELDS)
        management = await self._add_type("ResultManagementType")
        for name, call in methods.items():
            await self._build_method(management, METHODS[name], call)
        system = await self._add_type("VisionSystemType")
        counters = await system.add_object(type_id("VisionSystemType/Counters"), type_name("Counters"))
        for path, kind, default in _variables():
            parent = counters if path[0] == "Counters" else system
            nodeid = type_id("/".join(("VisionSystemType", *path)))
            await self._add_variable(parent, nodeid, path[-1], kind, default)
        await self._build_bridge()

    async def _build_bridge(self) -> None:
        objects = self._server.nodes.objects
        bridge = await self._add_object(
            objects, object_id(names.BRIDGE), ua.QualifiedName("MuscOnline", names.STREAMS_INDEX), "Organizes"
        )
        for name, kind, default in _OF_THE_BRIDGE:
            await self._add_variable(bridge, object_id(names.BRIDGE, name), name, kind, default)
        await self._add_management(bridge, object_id(names.BRIDGE, "ResultManagement"))
        await self._server.nodes.server.add_reference(bridge, ua.ObjectIds.HasNotifier)
        await bridge.set_event_notifier([ua.EventNotifier.SubscribeToEvents])

    async def _build_event(self, name: str, fields: Iterable[names.Field]) -> None:
        base = self._server.get_node(ua.NodeId(ua.ObjectIds.BaseEventType))
        kind = await base.add_object_type(type_id(name), type_name(name))
        for field in fields:
            value = ua.Variant(_default(field), field.kind, is_array=field.is_array)
            await kind.add_property(
                type_id(f"{name}/{field.name}"), type_name(field.name), value, varianttype=field.kind
            )

    async def _add_type(self, name: str) -> Node:
        base = self._server.get_node(ua.NodeId(ua.ObjectIds.BaseObjectType))
        return await base.add_object_type(type_id(name), type_name(name))

    async def _build_method(self, management: Node, method: Method, call: Call) -> None:
        node = await management.add_method(
            type_id(f"ResultManagementType/{method.name}"), type_name(method.name), call
        )
        self._methods[method.name] = node.nodeid
        sides = (("InputArguments", method.inputs), ("OutputArguments", method.outputs))
        for name, fields in sides:
            await node.add_property(
                type_id(f"ResultManagementType/{method.name}/{name}"),
                ua.QualifiedName(name, 0),
                arguments(fields),
                varianttype=ua.VariantType.ExtensionObject,
                datatype=ua.NodeId(ua.ObjectIds.Argument),
            )

    async def _add_management(self, parent: Node, nodeid: ua.NodeId) -> None:
        management = await self._add_object(
            parent, nodeid, type_name("ResultManagement"), "HasComponent", "ResultManagementType"
        )
        for method in self._methods.values():  # of the type: a node of its own for each stream says no more
            await management.add_reference(method, ua.ObjectIds.HasComponent)

    async def _add_object(
        self, parent: Node, nodeid: ua.NodeId, name: ua.QualifiedName, how: str, kind: str = ""
    ) -> Node:
        """An object without children: those that the library makes have other ids each time."""
        item = ua.AddNodesItem()
        item.RequestedNewNodeId, item.ParentNodeId = nodeid, parent.nodeid
        item.BrowseName, item.NodeClass = name, ua.NodeClass.Object
        item.ReferenceTypeId = ua.NodeId(getattr(ua.ObjectIds, how))
        item.TypeDefinition = type_id(kind) if kind else ua.NodeId(ua.ObjectIds.BaseObjectType)
        item.NodeAttributes = ua.ObjectAttributes(DisplayName=ua.LocalizedText(name.Name), EventNotifier=0)
        (added,) = await self._server.iserver.isession.add_nodes([item])
        added.StatusCode.check()
        return self._server.get_node(nodeid)

    async def _add_variable(
        self, parent: Node, nodeid: ua.NodeId, name: str, kind: ua.VariantType, value: Any
    ) -> None:
        await parent.add_variable(nodeid, type_name(name), ua.Variant(value, kind), varianttype=kind)

    async def add_stream(self, stream: str, state: State) -> bool:
        """Make a stream's object if there is none yet; whether it has one."""
        if stream in self._streams:
            return True
        if len(self._streams) >= self._most:
            if len(self._left_out) < self._most and stream not in self._left_out:
                self._left_out.add(stream)
                await self.write(object_id(names.BRIDGE, "StreamsLeftOut"), "UInt32", len(self._left_out))
            return False
        self._streams.add(stream)
        bridge = self._server.get_node(object_id(names.BRIDGE))
        system = await self._add_object(
            bridge,
            stream_id(stream),
            ua.QualifiedName(stream, names.STREAMS_INDEX),
            "HasComponent",
            "VisionSystemType",
        )
        counters = await self._add_object(
            system, stream_id(stream, "Counters"), type_name("Counters"), "HasComponent"
        )
        for path, kind, default in _variables():
            parent = counters if path[0] == "Counters" else system
            await self._add_variable(parent, stream_id(stream, *path), path[-1], kind, default)
        for name in _SHARED:
            await system.add_reference(object_id(names.BRIDGE, name), ua.ObjectIds.HasComponent)
        await self._add_management(system, stream_id(stream, "ResultManagement"))
        await system.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
        await self.show(stream, state)
        return True

    def has(self, stream: str) -> bool:
        """Whether a stream has an object."""
        return stream in self._streams

    async def show(self, stream: str, state: State) -> None:
        """Write a stream's variables; nothing runs in between: one Read finds what belongs together."""
        for fields, values in ((names.LAST_FIELDS, state.last), (names.REVISED_FIELDS, state.revised)):
            if values:
                for name, field in fields:
                    await self._write(stream_id(stream, name), FIELDS[field].kind, value_of(field, values))
        for name, count in state.counters.items():
            await self._write(stream_id(stream, "Counters", name), ua.VariantType.UInt64, count)

    async def write(self, nodeid: ua.NodeId, kind: str, value: Any) -> None:
        """Write one variable; `kind` is the name of its `ua.VariantType`."""
        await self._write(nodeid, ua.VariantType[kind], value)

    async def _write(self, nodeid: ua.NodeId, kind: ua.VariantType, value: Any) -> None:
        data = ua.DataValue(ua.Variant(value, kind), SourceTimestamp=datetime.now(UTC))
        await self._server.write_attribute_value(nodeid, data)


def _variables() -> list[tuple[tuple[str, ...], ua.VariantType, Any]]:
    """Of a stream: the path below its object, the type, and the value before there is one."""
    shown = [(name, FIELDS[field]) for name, field in (*names.LAST_FIELDS, *names.REVISED_FIELDS)]
    return [
        *(((name,), field.kind, _default(field)) for name, field in shown),
        *((("Counters", name), ua.VariantType.UInt64, 0) for name in names.COUNTERS),
    ]


def _default(field: names.Field) -> Any:
    if field.is_array:
        return []
    return datetime(1601, 1, 1, tzinfo=UTC) if field.kind == ua.VariantType.DateTime else field.default


def value_of(name: str, values: Mapping[str, Any]) -> Any:
    """A field's value as OPC UA has it, or its default: for a time that is not known, OPC UA's own zero."""
    field = FIELDS[name]
    value = values.get(name)
    if value is None:
        return _default(field)
    return when(value) if field.kind == ua.VariantType.DateTime else value
