"""One page for one store: a lock that ends with the process that holds it, however it ends."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

import structlog

from streamer.errors import StreamerError
from streamer.page.tokens import make_folder

log = structlog.get_logger()

_TAKEN = frozenset({errno.EACCES, errno.EAGAIN})


class StoreLock:
    """Held from its making to the end of the process; the file stays where it is.

    A second page would count on in the first one's numbers, and each would tell its browsers half of it. On
    a file system that has no locks it is none, which the log says.

    Args:
        folder: the store's, made if missing.

    Raises:
        StreamerError: another page has it, or the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        path = folder / "lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise StreamerError(f"store.path: {path}: cannot be used ({error.strerror})") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(self._file)
                raise StreamerError(
                    f"store.path: {folder}: is in use by another page (process {holder}); stop that one, or "
                    "set another store.path (--store)"
                ) from None
            log.warning("lock_unsupported", path=str(path), error=str(error))
        with suppress(OSError):  # who holds it is told; that it is held does not hang on that
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it."""
        os.close(self._file)
