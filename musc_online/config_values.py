"""Values of the configuration: numbers that are numbers and of this world, paths with `~` and `$VARIABLE`."""

import math
import os
import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)

MOST = 2**31 - 1
"""Of what is counted: what sockets, databases and array libraries take."""
LARGEST = 1e9
"""Of seconds, milliseconds and scores: some thirty years, and more than any timer takes wrongly."""

Positive = Annotated[int, Field(ge=1, le=MOST)]
Natural = Annotated[int, Field(ge=0, le=MOST)]
Seconds = Annotated[float, Field(gt=0, le=LARGEST)]
Bytes = Annotated[ByteSize, Field(ge=1, le=2**62)]

_VARIABLE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")


def expanded(given: Any) -> Any:
    """A path as it is written in a file, with `~`, `$VARIABLE` and `${VARIABLE}` replaced; `$$` is a dollar.

    Raises:
        ValueError: a variable or a user that there is not.
    """
    if not isinstance(given, str):
        return given
    text = _VARIABLE.sub(_value, given)
    if not text.startswith("~"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        raise ValueError("expected a user that exists after ~") from None


def expanded_weights(given: Any) -> Any:
    """As `expanded`, also where a tag stands before the path, as in `openai:~/clip.pt`."""
    tag, colon, path = given.partition(":") if isinstance(given, str) else ("", "", given)
    return f"{tag}:{expanded(path)}" if colon else expanded(given)


def _value(found: re.Match[str]) -> str:
    dollar, *names = found.groups()
    if dollar:
        return "$"
    name = names[0] or names[1]
    if name not in os.environ:
        raise ValueError(f"the environment has no variable '{name}'; set it, or write $$ for a dollar sign")
    return os.environ[name]


ConfigPath = Annotated[
    Path,
    BeforeValidator(expanded),
    # What a file says is replaced once more when it is read again: by itself.
    PlainSerializer(lambda path: str(path).replace("$", "$$"), return_type=str, when_used="json"),
]
Weights = Annotated[str, BeforeValidator(expanded_weights)]


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error; empty, it is all defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, given: Any, info: ValidationInfo) -> Any:
        wanted = cls.model_fields[str(info.field_name)].annotation
        if given is None and _is_filled(wanted):
            return () if get_origin(wanted) is tuple else {}
        if not _admits(wanted, bool):
            _refuse(given, _is_text(wanted))
        return given


def _is_filled(wanted: Any) -> bool:
    """Whether nothing after a key means all defaults: of a section, or of a list that may be empty."""
    if get_origin(wanted) is tuple:
        return get_args(wanted)[-1] is Ellipsis and not _admits(wanted, int)
    return get_origin(wanted) is dict or (isinstance(wanted, type) and issubclass(wanted, BaseModel))


def _admits(wanted: Any, kind: type) -> bool:
    if get_origin(wanted) in (Union, UnionType, tuple, Annotated):
        return any(_admits(part, kind) for part in get_args(wanted))
    if get_origin(wanted) is Literal:
        return any(type(value) is kind for value in get_args(wanted))
    return wanted in (kind, Any) or get_origin(wanted) is dict


def _is_text(wanted: Any) -> bool:
    return wanted is str or (get_origin(wanted) in (Union, UnionType) and str in get_args(wanted))


def _refuse(given: Any, text: bool) -> None:
    """Python takes a truth value for 1, and YAML reads yes, no, on and off as truth values."""
    if isinstance(given, bool):
        raise ValueError("expected text; put it in quotes" if text else "expected a number or a word")
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError("expected a finite number")
    if isinstance(given, list | tuple):
        for one in given:
            _refuse(one, text)
