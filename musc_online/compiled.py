"""Numba compilation as this package uses it: no GIL, cached on disk, typed for mypy."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])


def reordering(function: Function) -> Function:
    """As `compiled`, and sums may be taken in any order: what lets a sum over one row use vectors."""
    return _compile(function, {"reassoc", "contract", "nsz"})


def compiled(function: Function) -> Function:
    """Compile on first call; later processes load the machine code from numba's cache.

    Numba's cache looks only at the function's own file, but this code is spread over several: its stamp
    is replaced by one of the whole folder and of what every matcher runs (`lnamd`), so that an edit of any
    of them compiles anew.
    """
    return _compile(function, set())


def emitting(function: Callable[..., Any]) -> Callable[..., None]:
    """An intrinsic: the function returns the signature and the generator of its instructions."""
    return cast(Callable[..., None], intrinsic(prefer_literal=True)(function))


def _compile(function: Function, fastmath: set[str]) -> Function:
    try:
        dispatcher = njit(nogil=True, cache=True, fastmath=fastmath)(function)
    except RuntimeError:  # no folder that numba may write to: compile in every process
        return cast(Function, njit(nogil=True, fastmath=fastmath)(function))
    index = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if index is not None and hasattr(index, "_source_stamp"):
        index._source_stamp = _stamp(function.__code__.co_filename)
    return cast(Function, dispatcher)


@cache
def _stamp(filename: str) -> str:
    digest = hashlib.sha256()
    shared = {Path(__file__).resolve(), Path(__file__).resolve().with_name("lnamd.py")}
    for path in sorted({*shared, *Path(filename).resolve().parent.glob("*.py")}):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
