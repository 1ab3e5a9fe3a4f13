"""Values that may be a secret by mistake: what is wrong with one is told without showing it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator

from streamer.bridges.common import ConfigPath, expanded
from streamer.bridges.untold import untold

_LONGEST = 4096


def keys_only(given: Any, example: str) -> Any:
    """A section as it was given; where it is none, or an address stands for a key, that is not shown.

    Args:
        given: by the file.
        example: of a key that it has.

    Raises:
        ValidationError: it is no section.
    """
    if given is not None and not isinstance(given, Mapping | BaseModel):
        raise untold(f"expected keys, such as {example}")
    if isinstance(given, Mapping) and any("@" in str(key) or "://" in str(key) for key in given):
        raise untold(f"has an address where a key is expected, such as {example}")
    return given


def _path(given: Any) -> Any:
    if given is None or isinstance(given, Path):
        return given
    if not isinstance(given, str) or not given.isprintable() or not 0 < len(given) <= _LONGEST:
        raise untold("expected the path of a file, as one line of text (what stands there is not shown)")
    try:
        return Path(expanded(given))
    except ValueError:
        raise untold(
            "names a variable or a user that there is not; expected the path of a file, with $$ for a dollar "
            "sign (what stands there is not shown)"
        ) from None


SecretPath = Annotated[ConfigPath, BeforeValidator(_path)]
"""The path of a file with a secret, for which somebody may take the key of the secret itself."""


def name_of(path: Path) -> str:
    """A file that cannot be read, as an error may name it: what is in a folder that there is is no secret.

    A secret in base64 or a token may have a `/` in it, or begin with one.
    """
    # Those of pathlib raise the name of what is longer than a file's name may be.
    is_in_folder = len(path.parent.parts) > path.parent.is_absolute() and os.path.isdir(path.parent)  # noqa: PTH112
    is_path = os.path.exists(path) or is_in_folder  # noqa: PTH110
    return str(path) if is_path else "the file (its name may be a secret itself)"
