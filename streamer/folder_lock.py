"""One process for one folder: a lock that ends with the process that holds it, however it ends."""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

import structlog

from streamer.errors import StreamerError

log = structlog.get_logger()

_TAKEN = frozenset({errno.EACCES, errno.EAGAIN})


class FolderLock:
    """Held from its making to the end of the process; the file `lock` stays where it is.

    On a file system that has no locks it is none, which the log says.

    Args:
        folder: made if missing, then readable by its owner only.
        key: of the configuration, for errors.
        whose: what holds it, for errors.
        option: of the command line that sets the key too; "" where there is none.

    Raises:
        StreamerError: another process has it, or the folder cannot be used.
    """

    def __init__(self, folder: Path, key: str, whose: str, option: str = "") -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StreamerError(f"{key}: {folder} cannot be made ({error.strerror})") from None
        path = folder / "lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise StreamerError(f"{key}: {path}: cannot be used ({error.strerror})") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(self._file)
                also = f" ({option})" if option else ""
                raise StreamerError(
                    f"{key}: {folder}: is in use by another {whose} (process {holder}); stop that one, or "
                    f"set another {key}{also}"
                ) from None
            log.warning("lock_unsupported", path=str(path), error=str(error))
        with suppress(OSError):  # who holds it is told; that it is held does not hang on that
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it."""
        os.close(self._file)
