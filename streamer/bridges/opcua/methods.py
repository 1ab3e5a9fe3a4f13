"""Methods under `ResultManagement`: fetching what was missed, and the detector's words that are allowed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from asyncua import ua

from streamer.bridges.opcua import names
from streamer.bridges.opcua.config import Commands
from streamer.bridges.opcua.kept import Kept
from streamer.bridges.opcua.names import MESSAGE_FIELDS, RESULT_FIELDS, Field
from streamer.errors import StreamerError, WireError
from streamer.printable import printable

Say = Callable[[Mapping[str, Any]], dict[str, Any]]
"""One request to the detector, in a thread of its own; raises StreamerError."""

CALLER: ContextVar[str | None] = ContextVar("caller", default=None)
"""Name of the user whose session calls; None for nobody in particular."""

_MOST = 200
"""Results of one answer; there may be more."""
_BESIDE_ITEMS = 4096
"""Bytes of an answer beside its results, at most."""
_SCALARS = tuple(field for field in RESULT_FIELDS if not field.is_array)
_WAITING = 4
"""Words that may wait for the detector at a time."""


@dataclass(frozen=True)
class Method:
    """A method's name and what goes in and comes out."""

    name: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]


def _text(name: str) -> Field:
    return Field(name, ua.VariantType.String, "")


def _columns(fields: Sequence[Field]) -> tuple[Field, ...]:
    return tuple(Field(field.name, field.kind, (), is_array=True) for field in fields)


_AFTER = (
    Field("AfterItemNumber", ua.VariantType.UInt64, 0),
    Field("MaxItems", ua.VariantType.UInt32, 0),
)
_MORE = (
    Field("More", ua.VariantType.Boolean, False),
    Field("OldestItemNumber", ua.VariantType.UInt64, 0),
)
_DONE = (Field("Done", ua.VariantType.Boolean, False), _text("Code"), _text("Text"))

METHODS = {
    method.name: method
    for method in (
        Method("GetResultById", (_text("ResultId"),), RESULT_FIELDS),
        Method("GetResultsAfter", _AFTER, (*_MORE, *_columns(_SCALARS))),
        Method("GetMessagesAfter", _AFTER, (*_MORE, *_columns(MESSAGE_FIELDS))),
        Method("Confirm", (_text("FrameId"), _text("Verdict"), _text("Name")), _DONE),
        Method("Accept", (Field("Group", ua.VariantType.UInt32, 0),), _DONE),
        Method("SetThreshold", (Field("Value", ua.VariantType.Double, 0.0),), _DONE),
    )
}
"""All there are; which of them exist says `commands.allow`, but for those that only read."""
_WORDS = {"Confirm": "confirm", "Accept": "accept", "SetThreshold": "threshold"}


def arguments(fields: Sequence[Field]) -> list[ua.Argument]:
    """As a method's node describes them."""
    return [
        ua.Argument(
            Name=field.name,
            DataType=ua.NodeId(field.kind.value),
            ValueRank=1 if field.is_array else -1,
            ArrayDimensions=[0] if field.is_array else [],
        )
        for field in fields
    ]


class Calls:
    """What is done at a call.

    Args:
        kept: what can be fetched.
        commands: which words of the detector are allowed.
        say: to the detector.
        as_value: a field's value as OPC UA has it, of its name and all values.
        most_bytes: of an answer: what is longer than the server's messages are, no client reads.
    """

    def __init__(
        self,
        kept: Kept,
        commands: Commands,
        say: Say,
        as_value: Callable[[str, Mapping[str, Any]], Any],
        most_bytes: int,
    ) -> None:
        self._kept, self._commands = kept, commands
        self._most_bytes = most_bytes - _BESIDE_ITEMS
        self._say, self._as_value = say, as_value
        self._waiting = 0

    def by_name(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """The methods that there are to be."""
        reading: dict[str, Callable[..., Awaitable[Any]]] = {
            "GetResultById": self._get,
            "GetResultsAfter": self._results,
            "GetMessagesAfter": self._messages,
        }
        words = {"Confirm": self._confirm, "Accept": self._accept, "SetThreshold": self._threshold}
        allowed = {name: call for name, call in words.items() if _WORDS[name] in self._commands.allow}
        return {**reading, **allowed}

    async def _get(self, _parent: ua.NodeId, *given: ua.Variant) -> Any:
        asked = _inputs("GetResultById", given)
        if isinstance(asked, ua.StatusCode):
            return asked
        values = self._kept.get(asked[0])
        if values is None:
            return ua.StatusCode(ua.StatusCodes.BadNotFound)
        return [self._variant(field, values) for field in RESULT_FIELDS]

    def _variant(self, field: Field, values: Mapping[str, Any]) -> ua.Variant:
        return ua.Variant(self._as_value(field.name, values), field.kind, is_array=field.is_array)

    async def _results(self, parent: ua.NodeId, *given: ua.Variant) -> Any:
        return self._after("GetResultsAfter", "result", _SCALARS, parent, given)

    async def _messages(self, parent: ua.NodeId, *given: ua.Variant) -> Any:
        return self._after("GetMessagesAfter", "message", MESSAGE_FIELDS, parent, given)

    def _after(
        self,
        name: str,
        kind: str,
        fields: Sequence[Field],
        parent: ua.NodeId,
        given: Sequence[ua.Variant],
    ) -> Any:
        asked = _inputs(name, given)
        if isinstance(asked, ua.StatusCode):
            return asked
        number, most = asked
        stream = stream_of(parent)
        most = min(most or _MOST, _MOST)
        found, more = self._kept.after(kind, stream, number, most, self._most_bytes)
        columns = [
            ua.Variant([self._as_value(field.name, one) for one in found], field.kind, is_array=True)
            for field in fields
        ]
        oldest = ua.Variant(self._kept.oldest(kind, stream), ua.VariantType.UInt64)
        return [ua.Variant(more, ua.VariantType.Boolean), oldest, *columns]

    async def _confirm(self, parent: ua.NodeId, *given: ua.Variant) -> Any:
        asked = _inputs("Confirm", given)
        if isinstance(asked, ua.StatusCode):
            return asked
        frame_id, said, name = asked
        request = {"kind": "confirm", "frame_id": frame_id, "verdict": said}
        return await self._tell(parent, {**request, "name": name} if name else request)

    async def _accept(self, parent: ua.NodeId, *given: ua.Variant) -> Any:
        asked = _inputs("Accept", given)
        if isinstance(asked, ua.StatusCode):
            return asked
        return await self._tell(parent, {"kind": "accept", "group": asked[0]})

    async def _threshold(self, parent: ua.NodeId, *given: ua.Variant) -> Any:
        asked = _inputs("SetThreshold", given)
        if isinstance(asked, ua.StatusCode):
            return asked
        return await self._tell(parent, {"kind": "threshold", "value": asked[0]})

    async def _tell(self, parent: ua.NodeId, request: dict[str, Any]) -> Any:
        """One word to the detector; what it says of it."""
        stream, user = stream_of(parent), CALLER.get()
        if stream is None:
            return ua.StatusCode(ua.StatusCodes.BadNodeIdInvalid)
        if self._commands.users is not None and user not in self._commands.users:
            return ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
        if self._waiting >= _WAITING:
            return ua.StatusCode(ua.StatusCodes.BadTooManyOperations)
        self._waiting += 1
        try:
            who = f"opcua:{user}" if user else "opcua"
            await asyncio.to_thread(self._say, {**request, "stream": stream, "who": who})
        except WireError as error:
            return _done(False, error.code, error.text)
        except StreamerError as error:
            return _done(False, "no_answer", str(error))
        finally:
            self._waiting -= 1
        return _done(True, "", "")


def _done(done: bool, code: str, text: str) -> list[ua.Variant]:
    return [
        ua.Variant(done, ua.VariantType.Boolean),
        ua.Variant(code, ua.VariantType.String),
        ua.Variant(printable(text)[:512], ua.VariantType.String),
    ]


def stream_of(parent: ua.NodeId) -> str | None:
    """The stream whose `ResultManagement` a method is called on; None for the bridge's, which is of all."""
    parts = str(parent.Identifier).split("/")
    return (
        unquote(parts[1]) if parent.NamespaceIndex == names.STREAMS_INDEX and parts[0] == "stream" else None
    )


def _inputs(name: str, given: Sequence[ua.Variant]) -> list[Any] | ua.StatusCode:
    """The arguments, checked here: the library hands over whatever a client sent."""
    wanted = METHODS[name].inputs
    if len(given) != len(wanted):
        missing = len(given) < len(wanted)
        return ua.StatusCode(
            ua.StatusCodes.BadArgumentsMissing if missing else ua.StatusCodes.BadTooManyArguments
        )
    for field, one in zip(wanted, given, strict=True):
        if one.is_array or one.VariantType != field.kind or isinstance(one.Value, datetime):
            return ua.StatusCode(ua.StatusCodes.BadInvalidArgument)
        if field.kind == ua.VariantType.String and len(one.Value or "") > 1024:
            return ua.StatusCode(ua.StatusCodes.BadInvalidArgument)
    return ["" if one.Value is None else one.Value for one in given]
