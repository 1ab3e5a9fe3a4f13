"""Values of requests, checked before anything is done with them."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streamer.errors import FrameId, WireError
from streamer.wire.checks import check_frame_id, check_stream


class Body(BaseModel):
    """A body of JSON; an unknown key is an error, and nothing is taken for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters")
    return text


def _stream(text: str) -> str:
    try:
        return check_stream(text)
    except WireError as error:
        raise ValueError(error.text) from None


def frame_id_of(key: str) -> FrameId:
    """The frame id that a key stands for: `i:17` is a number, `s:part-0017` text.

    Raises:
        ValueError: it is none.
    """
    kind, colon, text = key.partition(":")
    try:
        if kind == "i" and colon and len(text) <= 20:
            return check_frame_id(int(text))
        if kind == "s" and colon:
            return check_frame_id(text)
    except (ValueError, WireError):
        pass
    raise ValueError("expected a frame's key, i:NUMBER or s:TEXT")


def _key(text: str) -> str:
    frame_id = frame_id_of(text)
    return f"{'i' if isinstance(frame_id, int) else 's'}:{frame_id}"


StreamName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_stream)]
Key = Annotated[str, Field(min_length=3, max_length=258), AfterValidator(_key)]
Name = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_printable)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
"""As long as the detector takes it."""
Note = Annotated[str, Field(max_length=1000)]

StreamQuery = Annotated[str, Query(min_length=1, max_length=128), AfterValidator(_stream)]
KeyQuery = Annotated[str, Query(min_length=3, max_length=258), AfterValidator(_key)]
TimeQuery = Annotated[float | None, Query(ge=0, le=1e14, allow_inf_nan=False)]
"""Milliseconds since 1970."""


def without_none(**values: Any) -> dict[str, Any]:
    """What was given."""
    return {name: value for name, value in values.items() if value is not None}
