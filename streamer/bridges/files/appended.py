"""A file to which whole lines are added: all of them or none, and what a crash tore is cut off."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_BLOCK = 64 * 1024
_LONGEST = 16 * 2**20
"""Of a line that is read: a header has 4 MiB at most, of which JSON makes some more."""

LastLine = Callable[[str], tuple[str, int] | None]


class Foreign(Exception):  # noqa: N818 - says what the file is
    """Somebody else has written into the file: it is left as it is, and not continued."""


class Appended:
    """One file, opened for each writing: whoever moves or deletes it takes nothing that comes later.

    Args:
        path: of the file.
        head: its first line, b"" for none.
        begins: what every file of ours begins with.
        number: reads a line's bridge and number.
        sync: whether what is added is on the disk when `add` returns.

    Attributes:
        size: bytes it has, as far as we wrote them; -1 before `mend`.
        last: bridge and number of its last line, None of an empty file.
        torn: bytes that `mend` has cut off.
    """

    def __init__(self, path: Path, head: bytes, begins: bytes, number: LastLine, *, sync: bool) -> None:
        self.path = path
        self.size = -1
        self.last: tuple[str, int] | None = None
        self.torn = 0
        self._head, self._begins, self._number, self._sync = head, begins, number, sync

    def changed(self) -> bool:
        """Whether it is not as we left it: new, gone, longer or shorter."""
        try:
            return self.path.lstat().st_size != self.size
        except FileNotFoundError:
            return True

    def mend(self) -> None:
        """Cut off a last line without an end, and read the number of the one before it.

        Raises:
            Foreign: it does not begin as ours do, or its last line has no number.
            OSError: it cannot be used.
        """
        handle = self._open()
        try:
            size = os.fstat(handle).st_size
            if not self._begins.startswith(os.pread(handle, len(self._begins), 0)):
                raise Foreign
            end = _after_last_line(handle, size)
            if end < len(self._head):
                end = 0
            self.last = None if end <= len(self._head) else self._number_before(handle, end)
            if end < size:
                os.ftruncate(handle, end)
                self.torn += size - end
            self.size = end
        finally:
            os.close(handle)

    def add(self, lines: bytes) -> int:
        """Add whole lines; returns how many bytes the file has grown by.

        Raises:
            OSError: nothing was added, be the disk full or gone.
        """
        handle = self._open()
        try:
            before = os.fstat(handle).st_size
            data = lines if before else self._head + lines
            try:
                _write(handle, data)
                if self._sync:
                    os.fsync(handle)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(handle, before)
                raise
            self.size = before + len(data)
        finally:
            os.close(handle)
        return len(data)

    def _open(self) -> int:
        # Not through a link, which may lead anywhere, nor into a pipe, which would wait for a reader.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(self.path, flags, 0o644)

    def _number_before(self, handle: int, end: int) -> tuple[str, int]:
        start = _after_last_line(handle, end - 1)
        if end - start > _LONGEST:
            raise Foreign
        line = os.pread(handle, end - start, start)
        try:
            found = self._number(line.decode())
        except UnicodeDecodeError:
            found = None
        if found is None:
            raise Foreign
        return found


def _after_last_line(handle: int, end: int) -> int:
    """Where the line that `end` lies in begins: behind the last line break before it."""
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
