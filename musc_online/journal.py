"""What changed a detector since its snapshot, as an append-only file of records.

A record is a prefix (mark, bytes of the header, bytes of the arrays, CRC-32 of both, CRC-32 of the prefix),
the header as msgpack, and the arrays as they lie in memory. So a record that was being written when the
process was killed is told from one that is damaged: the one is cut short, the other does not match.
"""

import errno
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from musc_online.errors import SnapshotError

Arrays = Mapping[str, npt.NDArray[Any]]

_MARK = b"mjr1"
_PREFIX = struct.Struct("<4sIQI")
_CHECK = struct.Struct("<I")
_HEAD = _PREFIX.size + _CHECK.size
_MOST_HEADER = 2**24
_KINDS = "fiu"
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO})
# A link; a socket, or a device that is not there.


@dataclass(frozen=True, eq=False)
class Record:
    """One change: what it was, and where in the file it begins and ends."""

    fields: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    begins: int
    ends: int


class DamagedError(SnapshotError):
    """A record is whole and does not match its checksum, or is none; `at` is where it begins."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.at = at


class Writer:
    """Appends records to a file, which is made if missing.

    Args:
        path: of the file; must not be a link.
        durable: every `append` waits for the disk; otherwise a killed process loses nothing, a power cut may.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self.path, self._durable = path, durable
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o600)
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._file)
            raise OSError(f"{path}: is no file")
        self.size = found.st_size
        if durable and not found.st_size:
            to_disk(path.parent)  # that there is such a file

    def append(self, fields: Mapping[str, Any], arrays: Arrays | None = None, *, wait: bool = True) -> None:
        """Add a record, whole or not at all.

        Args:
            fields: whatever msgpack takes.
            arrays: of numbers, by name.
            wait: for the disk, where the file is durable.

        Raises:
            OSError: the disk is full or gone; the file is as it was, as far as the disk allows.
            ValueError: a header too large to be read again.
        """
        parts = packed(fields, arrays or {})
        before = self.size
        try:
            self.size += _write_all(self._file, parts)
            if self._durable and wait:
                os.fdatasync(self._file)
        except OSError:
            self.size = before
            os.ftruncate(self._file, before)
            raise

    def close(self) -> None:
        """Close the file; nothing is lost."""
        os.close(self._file)


def to_disk(path: Path) -> None:
    """Have a file's content, or a folder's names, on disk.

    Raises:
        OSError: it is not.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def packed(fields: Mapping[str, Any], arrays: Arrays) -> list[bytes | memoryview]:
    """A record as the parts that follow each other in the file."""
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = [[name, array.dtype.str, list(array.shape)] for name, array in kept.items()]
    header = msgpack.packb({**fields, "arrays": about})
    if len(header) > _MOST_HEADER:
        raise ValueError(f"a header of {len(header)} bytes, at most {_MOST_HEADER} are read")
    parts = [header, *(array.data.cast("B") for array in kept.values() if array.size)]
    check = 0
    for part in parts:
        check = zlib.crc32(part, check)
    prefix = _PREFIX.pack(_MARK, len(header), sum(map(len, parts[1:])), check)
    return [prefix + _CHECK.pack(zlib.crc32(prefix)), *parts]


def records(path: Path, *, arrays: bool = True) -> Iterator[Record]:
    """The records of a file, oldest first, up to where a last one is cut short.

    Args:
        path: of the file.
        arrays: False passes over them, and over whether they are damaged.

    Raises:
        DamagedError: a record is damaged; those before it have been given.
        OSError: the file cannot be read.
    """
    descriptor, size = _open(path)
    with os.fdopen(descriptor, "rb") as file:
        begins = 0
        while (record := _next(file, path, begins, size, arrays=arrays)) is not None:
            yield record
            begins = record.ends


def _open(path: Path) -> tuple[int, int]:
    """A file's descriptor and size; a pipe or whatever else lies in its place is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise DamagedError(f"{path}: is no file ({error.strerror})", 0) from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise DamagedError(f"{path}: is no file", 0)
    return descriptor, found.st_size


def _next(file: Any, path: Path, begins: int, size: int, *, arrays: bool) -> Record | None:
    """The record at `begins`; None where the file ends before it does."""
    if size - begins < _HEAD:
        return None
    head = file.read(_HEAD)
    mark, n_header, n_arrays, check = _PREFIX.unpack(head[: _PREFIX.size])
    if mark != _MARK or _CHECK.unpack(head[_PREFIX.size :])[0] != zlib.crc32(head[: _PREFIX.size]):
        raise DamagedError(f"{path}: is no record at byte {begins}", begins)
    ends = begins + _HEAD + n_header + n_arrays
    if ends > size:
        return None
    if n_header > _MOST_HEADER:
        raise DamagedError(f"{path}: the record at byte {begins} has a header of {n_header} bytes", begins)
    header = file.read(n_header)
    if not arrays:
        file.seek(ends)
        return Record(_fields(header, path, begins), {}, begins, ends)
    body = bytearray(n_arrays)
    file.readinto(body)
    if zlib.crc32(body, zlib.crc32(header)) != check:
        raise DamagedError(f"{path}: the record at byte {begins} is damaged", begins)
    fields = _fields(header, path, begins)
    try:
        kept = _arrays(fields["arrays"], memoryview(body))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{path}: the record at byte {begins} does not fit ({error})", begins) from None
    return Record(fields, kept, begins, ends)


def _fields(header: bytes, path: Path, begins: int) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(header)
        if isinstance(fields, dict):
            return fields
    except (ValueError, RecursionError, msgpack.UnpackException):
        pass
    raise DamagedError(f"{path}: the record at byte {begins} has no header that can be read", begins)


def _arrays(about: Sequence[Any], body: memoryview) -> dict[str, npt.NDArray[Any]]:
    kept, at = {}, 0
    for name, text, shape in about:
        dtype = np.dtype(str(text))
        if dtype.kind not in _KINDS or dtype.hasobject:
            raise ValueError(f"dtype: got {text}, expected numbers")
        count = int(np.prod(shape, dtype=np.int64))
        kept[str(name)] = (
            np.frombuffer(body, dtype, count, at).reshape(shape) if count else np.empty(shape, dtype)
        )
        at += count * dtype.itemsize
    return kept


def _write_all(descriptor: int, parts: Sequence[bytes | memoryview]) -> int:
    """Write every byte, however many the system takes at once; how many there were."""
    total = sum(map(len, parts))
    left = [memoryview(part) for part in parts if len(part)]
    while left:
        done = os.writev(descriptor, left)
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if left and done:
            left[0] = left[0][done:]
    return total
