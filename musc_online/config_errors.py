"""What is wrong with a configuration, as one line that names the key, the value and what was expected."""

import difflib
from types import UnionType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem that pydantic found, and how many more there are.

    A key that is unknown comes first: one that is missing is likely the one that was meant.

    Args:
        model: the whole configuration, whose keys are named where one is unknown.
    """
    problems = error.errors(include_url=False)
    first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    # Union members ("literal['all']", "int") and list indices appear in pydantic's path; keys are enough.
    location = [part for part in first["loc"] if isinstance(part, int) or str(part).isidentifier()]
    key = ".".join(map(str, location)) or "config"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        # The key itself need not be a name: `ring.capacity`, `max-bytes`.
        above = [part for part in first["loc"][:-1] if part in location]
        return f"{_unknown_key([*map(str, above), str(first['loc'][-1])], model)}{more}"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], dict | BaseModel) else f"got {_shortened(first['input'])}, "
    if first["type"] == "string_type" and not isinstance(first["input"], list | dict | None):
        message = f"{message}; put it in quotes"
    if not location:  # a rule between sections, whose message names its keys
        return f"{message}{more}"
    return f"{key}: {shown}{message[0].lower()}{message[1:]}{more}"


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _unknown_key(location: list[str], model: type[BaseModel]) -> str:
    section: Any = model
    for part in location[:-1]:
        # A list's index stands for its element: streams.0.rin is a key of one stream's section.
        section = get_args(section)[0] if part.isdigit() else _section(section.model_fields[part].annotation)
    allowed = list(section.model_fields)
    close = difflib.get_close_matches(location[-1], allowed, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"unknown key {'.'.join(location)!r}; {hint}allowed here: {', '.join(allowed)}"


def _section(wanted: Any) -> Any:
    """Of a section that may be left out, written `Tls | None`, the section."""
    parts = [one for one in get_args(wanted) if isinstance(one, type) and issubclass(one, BaseModel)]
    return parts[0] if isinstance(wanted, UnionType) and parts else wanted
