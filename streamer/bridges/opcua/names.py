"""Names that stay: namespaces, node ids, and the fields of a result in the order in which they are told."""

from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import quote

from asyncua import ua

TYPES = "urn:musc-online:machine-vision:types"
"""Namespace of the types: their names are of OPC 40100-1, their namespace is not (docs/bridges-opcua.md)."""
STREAMS = "urn:musc-online:machine-vision:streams"
"""Namespace of the objects: the bridge and one vision system a stream."""
TYPES_INDEX = 2
STREAMS_INDEX = 3
"""Always registered in this order, behind OPC UA's own namespace and the server's."""

BRIDGE = "bridge"
"""Identifier of the object that holds all others."""


class Verdict(IntEnum):
    """What a PLC reads of a part."""

    NONE = 0
    GOOD = 1
    ANOMALOUS = 2


class ResultState(IntEnum):
    """As OPC 40100-1 counts them."""

    UNDEFINED = 0
    COMPLETED = 1
    PROCESSING = 2
    ABORTED = 3
    FAILED = 4


@dataclass(frozen=True)
class Field:
    """One field of an event and of what is fetched.

    Attributes:
        name: in the event, as a browse name and as a method's output.
        kind: of its values.
        default: before there is one.
        is_array: whether one result has several.
    """

    name: str
    kind: ua.VariantType
    default: object
    is_array: bool = False


def _text(name: str) -> Field:
    return Field(name, ua.VariantType.String, "")


def _number(name: str) -> Field:
    return Field(name, ua.VariantType.Double, float("nan"))


def _count(name: str, kind: ua.VariantType = ua.VariantType.UInt32) -> Field:
    return Field(name, kind, 0)


def _time(name: str) -> Field:
    return Field(name, ua.VariantType.DateTime, None)


def _truth(name: str) -> Field:
    return Field(name, ua.VariantType.Boolean, False)


RESULT_FIELDS = (
    _count("ItemNumber", ua.VariantType.UInt64),
    _count("PreviousItemNumber", ua.VariantType.UInt64),
    _text("ResultId"),
    _text("StreamName"),
    _text("FrameId"),
    _text("PartId"),
    _text("JobId"),
    _text("ExternalId"),
    _text("ProductId"),
    _truth("IsPartial"),
    _truth("IsSimulated"),
    _truth("IsRevision"),
    Field("ResultState", ua.VariantType.Int32, 0),
    _time("CreationTime"),
    _time("StartTime"),
    _time("EndTime"),
    _number("ProcessingDuration"),
    _number("TotalDuration"),
    Field("Verdict", ua.VariantType.Int32, 0),
    Field("VerdictBefore", ua.VariantType.Int32, 0),
    _number("RawScore"),
    _number("PredScore"),
    _number("Threshold"),
    _truth("Late"),
    _count("Revision"),
    _text("State"),
    _count("References"),
    _text("KnownDefect"),
    _text("ModelId"),
    Field("Regions", ua.VariantType.Double, (), is_array=True),
)
"""Of a ResultReady event and of what is fetched later; docs/bridges-opcua.md says what each one holds."""

MESSAGE_FIELDS = (
    _count("ItemNumber", ua.VariantType.UInt64),
    _count("PreviousItemNumber", ua.VariantType.UInt64),
    _text("StreamName"),
    _text("Kind"),
    _text("Code"),
    _text("FrameId"),
    _count("Group"),
    _time("CreationTime"),
    _text("Text"),
    Field("Level", ua.VariantType.UInt16, 1),
)
"""Of a DetectorMessage event: whatever is told and is no result."""

LAST_FIELDS = (
    ("LastItemNumber", "ItemNumber"),
    ("LastResultId", "ResultId"),
    ("LastFrameId", "FrameId"),
    ("LastPartId", "PartId"),
    ("LastJobId", "JobId"),
    ("LastVerdict", "Verdict"),
    ("LastScore", "RawScore"),
    ("Threshold", "Threshold"),
    ("LastIsPartial", "IsPartial"),
    ("LastResultState", "ResultState"),
    ("LastLate", "Late"),
    ("LastCreationTime", "CreationTime"),
    ("LastEndTime", "EndTime"),
    ("State", "State"),
)
"""Variables of a stream, and the field of its newest frame's last result that each one holds."""

REVISED_FIELDS = (
    ("LastRevisedItemNumber", "ItemNumber"),
    ("LastRevisedFrameId", "FrameId"),
    ("LastRevisedPartId", "PartId"),
    ("LastRevisedVerdict", "Verdict"),
    ("LastRevisedVerdictBefore", "VerdictBefore"),
    ("LastRevisedScore", "RawScore"),
)
"""Variables of a stream, and the field of the result that was told again last."""

COUNTERS = ("Results", "Anomalous", "Revisions", "Aborted", "Messages")
"""Under `Counters` of a stream; they go on over restarts."""

FIELDS = {field.name: field for field in (*RESULT_FIELDS, *MESSAGE_FIELDS)}


def type_id(name: str) -> ua.NodeId:
    """Node id of a type or of a part of one, as `ResultReadyEventType/ResultId`."""
    return ua.NodeId(name, TYPES_INDEX)


def object_id(*path: str) -> ua.NodeId:
    """Node id of an object or variable, the same in every life of the bridge.

    Args:
        path: names from the bridge down. A stream's may be any that the wire lets through: what is no letter,
            digit, `_`, `.` or `-` of ASCII is written in percent, so that no client's notation breaks on it.
    """
    return ua.NodeId("/".join(quote(part, safe="") for part in path), STREAMS_INDEX)


def stream_id(stream: str, *path: str) -> ua.NodeId:
    """As `object_id`, of a stream's object or something under it."""
    return object_id("stream", stream, *path)


def type_name(name: str) -> ua.QualifiedName:
    """Browse name in the namespace of the types: of types, and of what instances have of them."""
    return ua.QualifiedName(name, TYPES_INDEX)
