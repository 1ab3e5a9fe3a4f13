"""What a sender may put into `meta`, made plain before it goes out; what cannot go is named by its path."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from streamer.errors import WireError
from streamer.printable import printable
from streamer.wire.checks import MAX_DEPTH, shown

_EXPECTED = "text, finite numbers, true, false, null, lists and maps"
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def plain_meta(meta: object) -> dict[str, Any]:
    """`meta` as the detector takes it; numpy's numbers and arrays, tuples and mappings become plain ones.

    Args:
        meta: a mapping, or None for none.

    Raises:
        WireError: `bad_value` or `not_finite`; the text names the value by its path, `meta.part.when`.
    """
    if meta is None:
        return {}
    if not isinstance(meta, Mapping):
        raise WireError("bad_value", f"meta: got {kind(meta)}, expected a map")
    plain: dict[str, Any] = _plain(meta, "meta", MAX_DEPTH)
    return plain


def kind(value: object) -> str:
    """What a value is, for an error text: `a datetime`, `an Image`."""
    name = type(value).__name__
    if name == "bytes":
        return name
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def _plain(value: object, path: str, depth: int) -> Any:
    if depth == 0:
        raise _refused(path, f"is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        if not _SMALLEST <= value <= _LARGEST:
            raise _refused(path, f"got {shown(value)}, expected -2^63 to 2^64 - 1")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(path, f"got {value}, expected a finite number", "not_finite")
        return float(value)
    if isinstance(value, Mapping):
        return {_key(key, path): _plain(item, _below(path, key), depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value)]
    raise _refused(path, f"got {kind(value)}, expected {_EXPECTED}")


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise _refused(path, f"got the key {shown(key)}, {kind(key)}, expected text")
    return _text(key, path)


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _refused(path, f"got {shown(text)}, expected text that UTF-8 can hold") from None
    return str(text)


def _below(path: str, key: object) -> str:
    return f"{path}.{printable(key)}"


def _refused(path: str, text: str, code: str = "bad_value") -> WireError:
    return WireError(code, f"{path if len(path) <= 80 else f'{path[:77]}...'}: {text}")
