"""Values of requests, checked before anything is done with them."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from streamer.errors import StreamerError, WireError
from streamer.page.identity import frame_id_of
from streamer.wire.checks import check_stream


class Body(BaseModel):
    """A body of JSON; an unknown key is an error, and nothing is taken for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _left_empty(cls, given: Any) -> Any:
        """A field of a form that nobody filled in was not given."""
        return {k: v for k, v in given.items() if v != ""} if isinstance(given, dict) else given


def printable_text(text: str) -> str:
    """Text without control characters, line breaks among them.

    Raises:
        ValueError: it has some.
    """
    if not text.isprintable():
        raise ValueError("expected printable characters")
    return text


def _stream(text: str) -> str:
    try:
        return check_stream(text)
    except WireError as error:
        raise ValueError(error.text) from None


def _key(text: str) -> str:
    try:
        frame_id_of(text)
    except StreamerError:
        raise ValueError("expected a frame's key, i:NUMBER or s:TEXT") from None
    return text


StreamName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_stream)]
Key = Annotated[str, Field(min_length=3, max_length=258), AfterValidator(_key)]
Name = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(printable_text)]
Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(printable_text)]
"""As long as the detector takes it."""
Note = Annotated[str, Field(max_length=2000)]
Number = Annotated[int, Field(ge=0, lt=2**63)]
"""Of an alarm or a group, as the database holds it."""

StreamQuery = Annotated[str, Query(min_length=1, max_length=128), AfterValidator(_stream)]
KeyQuery = Annotated[str, Query(min_length=3, max_length=258), AfterValidator(_key)]
TimeQuery = Annotated[float | None, Query(ge=0, le=1e14, allow_inf_nan=False)]
"""Milliseconds since 1970."""


def without_none(**values: Any) -> dict[str, Any]:
    """What was given."""
    return {name: value for name, value in values.items() if value is not None}
