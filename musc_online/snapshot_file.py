"""A snapshot as a file: one safetensors file, written beside the old one and moved over it in one step.

What is not an array is JSON in the array `state`, since the header of a safetensors file is bounded; the
header holds the schema, a digest of everything, and a few facts for whoever looks at it. A file that is
damaged, or of a schema that is not read, is refused whole.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from musc_online.errors import SnapshotError, UnreadableError
from musc_online.journal import to_disk
from musc_online.snapshot_schemas import SCHEMA, current

Arrays = dict[str, npt.NDArray[Any]]

MAX_STATE = 2**30
"""Bytes of JSON that are read."""
PART = ".part"
"""Ends the name of what is being written."""

_STATE = "state"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_DAMAGE = (SafetensorError, AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A detector's state, apart from the detector: may be written by another thread."""

    arrays: Arrays
    state: dict[str, Any]


def pack(snapshot: Snapshot) -> tuple[Arrays, dict[str, str]]:
    """What a file holds: its arrays, and the text in its header."""
    text = json.dumps(snapshot.state, sort_keys=True).encode()
    about = {name: snapshot.state.get(name) for name in ("fingerprint", "matcher", "arrivals", "saved_ns")}
    header = {"schema": str(snapshot.state["schema"]), "about": json.dumps(about, sort_keys=True)}
    signed = {**header, "digest": digest(snapshot.arrays, text, header)}
    return {**snapshot.arrays, _STATE: np.frombuffer(text, np.uint8)}, signed


def write(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot beside `path` and move it there in one step: readers see the old file or the new.

    Raises:
        SnapshotError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    arrays, header = pack(snapshot)
    # The library writes beside its target under a name of its own: in a folder of ours it can be cleared.
    folder = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        beside = folder / path.name
        save_file(arrays, beside, header)
        to_disk(beside)
        beside.replace(path)
        to_disk(path.parent)
    except (OSError, SafetensorError) as error:
        raise SnapshotError(
            f"{path}: the snapshot could not be written ({error}); {_advice(error)}"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read(path: Path, max_bytes: int | None = None) -> Snapshot:
    """Read a snapshot whole and check it.

    Args:
        path: the file.
        max_bytes: a larger file is no snapshot; None for no bound.

    Raises:
        SnapshotError: missing, too large, damaged, or of another schema.
        UnreadableError: it could not be opened for a reason that is not in the file.
    """
    size = check_readable(path)
    if max_bytes is not None and size > max_bytes:
        raise SnapshotError(f"{path}: has {size} bytes, expected at most {max_bytes}; it was not loaded")
    try:
        with safe_open(path, "numpy") as opened:
            header = opened.metadata() or {}
            names = [name for name in opened.keys() if name != _STATE]  # noqa: SIM118  (not a mapping)
            arrays = {name: opened.get_tensor(name) for name in names}
            text = _text(opened, header)
        if header["digest"] != digest(arrays, text, header):
            raise SnapshotError("the snapshot is damaged (its digest does not match)")
        state = current(json.loads(text))
    except OSError as error:  # the file could be opened a moment ago: safe_open hides the reason
        raise unreadable(path, error) from None
    except MemoryError:
        raise UnreadableError(
            f"{path}: the snapshot cannot be read just now (no memory for {size} bytes); it is left as it is"
        ) from None
    except _DAMAGE as error:
        raise SnapshotError(
            f"{path}: is not a snapshot or is damaged ({type(error).__name__}: {error})"
        ) from None
    except SnapshotError as error:
        raise SnapshotError(f"{path}: {error}; it was not loaded") from None
    return Snapshot(arrays, state)


def read_state(path: Path) -> dict[str, Any]:
    """The state of a snapshot as it was written, without its arrays, and unchecked.

    Raises:
        SnapshotError: it says nothing that can be read.
        UnreadableError: it could not be opened for a reason that is not in the file.
    """
    check_readable(path)
    try:
        with safe_open(path, "numpy") as opened:
            state: dict[str, Any] = json.loads(_text(opened, opened.metadata() or {}))
    except OSError as error:
        raise unreadable(path, error) from None
    except MemoryError:
        raise UnreadableError(f"{path}: the snapshot cannot be read just now (no memory)") from None
    except (*_DAMAGE, SnapshotError) as error:
        raise SnapshotError(
            f"{path}: is not a snapshot of this service or is damaged ({type(error).__name__}: {error})"
        ) from None
    return state


def exists(path: Path) -> bool:
    """Whether there is something in a snapshot's place, if only a link to nothing.

    Raises:
        UnreadableError: that cannot be said just now.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:  # of the folder: no permission, a disk that is away
        raise unreadable(path, error) from None
    return True


def check_readable(path: Path) -> int:
    """Tell a file that is damaged from one that cannot be opened just now; returns its size in bytes.

    Raises:
        SnapshotError: there is none, or something else in its place.
        UnreadableError: no descriptor left, no permission, a disk that is away.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for who writes to it
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
            raise SnapshotError(f"{path}: is {kind}, expected a snapshot")
        path.open("rb").close()
    except FileNotFoundError:
        what = "is a link to nothing, expected" if path.is_symlink() else "there is no"
        raise SnapshotError(f"{path}: {what} {'a snapshot' if 'link' in what else 'snapshot'}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SnapshotError(f"{path}: is a link to itself, expected a snapshot") from None
        raise unreadable(path, error) from None
    return found.st_size


def unreadable(path: Path, error: OSError) -> UnreadableError:
    """The system's refusal as one of ours."""
    reason = error.strerror or error
    return UnreadableError(f"{path}: the snapshot cannot be read just now ({reason}); it is left as it is")


def set_aside(path: Path) -> Path:
    """Rename what was refused so that the next one does not overwrite it; returns its new path."""
    named = f"{path.name}.refused-{time.strftime('%Y%m%d-%H%M%S')}"
    refused, again = path.with_name(named), 1
    while os.path.lexists(refused):
        again += 1
        refused = path.with_name(f"{named}-{again}")
    path.rename(refused)
    return refused


def digest(arrays: Mapping[str, npt.NDArray[Any]], text: bytes, header: Mapping[str, str]) -> str:
    """Of the whole content: the state's text, the arrays, and the header, which had no more by schema 4."""
    found = hashlib.sha256(text)
    for name in ("schema", "about") if _STATE not in header else ():
        found.update(header[name].encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.data if array.size else b"")
    return found.hexdigest()


def _text(opened: Any, header: Mapping[str, str]) -> bytes:
    """The state's JSON; up to schema 4 it was in the header."""
    if _STATE in header:
        return header[_STATE].encode()
    found = opened.get_slice(_STATE)
    size = int(np.prod(found.get_shape(), dtype=np.float64))
    if size > MAX_STATE or found.get_dtype() != "U8":
        raise SnapshotError(
            f"state: got {size} values of {found.get_dtype()}, expected at most {MAX_STATE} bytes"
        )
    return bytes(opened.get_tensor(_STATE))


def _advice(error: Exception) -> str:
    # The library tells the system's refusals in words only.
    text = str(error)
    full = getattr(error, "errno", None) in _NO_ROOM or any(f"os error {code})" in text for code in _NO_ROOM)
    return "free space or choose another path" if full else "see that the folder can be written to"


__all__ = [
    "MAX_STATE",
    "PART",
    "SCHEMA",
    "Arrays",
    "Snapshot",
    "check_readable",
    "digest",
    "exists",
    "pack",
    "read",
    "read_state",
    "set_aside",
    "unreadable",
    "write",
]
