"""One service for one folder or file: a lock that ends with the process that holds it, however it ends."""

import errno
import fcntl
import json
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

import structlog

from musc_online import snapshot
from streamer.errors import StreamerError

log = structlog.get_logger()

FOLDER = ".musc-online.lock"
"""The lock's name in a folder. It stays where it is: what counts is who holds it."""

_TAKEN = frozenset({errno.EACCES, errno.EAGAIN})
_SHOWN = 4096


class HeldError(StreamerError):
    """Another process has the lock; `holder` says which, as far as it is known."""

    def __init__(self, text: str, holder: str) -> None:
        super().__init__(text)
        self.holder = holder


class Lock:
    """Held from its making until `release`, or the end of the process.

    In it is who holds it: process, host, since when. On a file system that has no locks it is none, which the
    log says; on NFS it holds between hosts whose mounts share locks (not with `nolock`).

    Args:
        key: of the configuration, for the error.
        what: the folder or file that is locked; the lock lies in the one, beside the other.
        is_folder: which of the two.

    Raises:
        HeldError: another service has it.
        StreamerError: the lock cannot be made.
    """

    def __init__(self, key: str, what: Path, *, is_folder: bool) -> None:
        try:
            path = _beside(what) if not is_folder else what.resolve() / FOLDER
            self._file = _open(path)
        except (OSError, RuntimeError) as error:  # the latter of a link to itself
            reason = error.strerror if isinstance(error, OSError) else error
            expected = "a folder to write to" if is_folder else "a file that can be written"
            raise StreamerError(f"{key}: {what}: cannot be used ({reason}); expected {expected}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = _holder(self._file)
                os.close(self._file)
                raise HeldError(
                    f"{key}: {what}: is in use by another detector ({holder}); stop that one, or set another "
                    f"{key}",
                    holder,
                ) from None
            log.warning("lock_unsupported", path=str(path), text=str(error))
        # A child that outlives this process must not go on holding it.
        os.register_at_fork(after_in_child=self._forget)
        self._sign()

    def release(self) -> None:
        """Let others have it; done twice it does nothing."""
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            self._forget()

    def _forget(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _sign(self) -> None:
        about = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        with suppress(OSError):  # who holds it is told; that it is held does not hang on that
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(about).encode(), 0)


def _beside(what: Path) -> Path:
    """Where the lock of a file lies; whoever comes to the file by a link comes to the same lock.

    Raises:
        OSError, RuntimeError: it is no file, or there cannot be one.
    """
    real = what.resolve()
    real.parent.mkdir(parents=True, exist_ok=True)
    if real.exists() and not real.is_file():
        raise OSError(errno.EINVAL, "it is no file")
    return real.with_name(f".{real.name}.lock")


def _open(path: Path) -> int:
    """A descriptor of the lock's file; what else lies in its place is set aside."""
    flags = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            snapshot.set_aside(path)
    try:
        return os.open(path, flags | os.O_RDWR, 0o644)
    except PermissionError:  # another user's: a lock can be asked for all the same
        return os.open(path, flags & ~os.O_CREAT | os.O_RDONLY)


def _holder(file: int) -> str:
    try:
        about = json.loads(os.pread(file, _SHOWN, 0))
        return f"process {int(about['pid'])} on {str(about['host'])[:80]!r}, since {str(about['since'])[:40]}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "it does not say which"
