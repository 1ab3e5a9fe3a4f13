"""Which frames an earlier process scored, where neither history nor snapshots are on disk.

A reliable sender sends a frame again until it has its ack, to the next service if this one is killed. One
that is to keep nothing must know that frame all the same: its ids outlive it in a private file, which a
restart of the machine may delete.
"""

import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from musc_online.arrays import FrameId
from streamer.errors import StreamerError
from streamer.server.known_ids import BESIDE, KnownIds, Scored, prepare
from streamer.server.locks import Lock

log = structlog.get_logger()

_FOLDER = "musc-online"
_OLD_S = 24 * 3600.0
"""A file written last before that is of another run: nobody waits for an ack of that any more."""

_MEMORY = "ids are known until the process ends"


class RuntimeIds(KnownIds):
    """The ids of this process in memory, as `KnownIds(None)` has them, and beside them those of earlier ones.

    `find` knows this process's alone. The file is this process's from now on, unless another has it; where
    it cannot be used the log says so once, and all else goes on.

    Args:
        endpoint: `transport.reliable`; no file without a port that the next process will have too.
        per_stream, streams, durable: as of `KnownIds`.
    """

    def __init__(self, endpoint: str, *, per_stream: int, streams: int, durable: bool = False) -> None:
        super().__init__(None, per_stream=per_stream, streams=streams)
        self._lock: Lock | None = None
        self._file: KnownIds | None = None
        self._full = False
        if not _is_fixed(endpoint):
            return
        try:
            self._open(endpoint, {"per_stream": per_stream, "streams": streams, "durable": durable})
        except (OSError, StreamerError, sqlite3.Error) as error:
            self._close_file()
            log.warning("runtime_ids_unusable", text=str(error), what_now=_MEMORY)

    def find_earlier(self, stream: str, frame_id: FrameId) -> bytes | None:
        """The digest of the picture that was scored under an id, by an earlier process too; None if none was.

        Raises:
            sqlite3.Error: the disk cannot be read.
        """
        return None if self._file is None else self._file.find(stream, frame_id)

    def add(self, scored: Iterable[Scored]) -> None:
        """Know these frames; a file that cannot be written is told in the log, and written later.

        Raises:
            sqlite3.Error: there is no memory left.
        """
        scored = list(scored)
        try:
            super().add(scored)  # first: what this process scored `forget_earlier` leaves alone
        finally:
            self._add_to_file(scored)

    def forget(self, stream: str) -> None:
        """Know no frame of a stream any more.

        Raises:
            sqlite3.Error: the disk is full or gone; a restart may bring them back.
        """
        super().forget(stream)
        if self._file is not None:
            self._file.forget(stream)

    def forget_earlier(self) -> None:
        """Know no more what an earlier process scored, of any stream that this one has scored nothing of.

        Raises:
            sqlite3.Error: as `forget`.
        """
        if self._file is not None:
            written = self._file.streams()
            for stream in set(written) - set(self.streams()):  # in this order: see `add`
                self._file.forget(stream)

    def close(self) -> None:
        """Close the file, which stays: acks may have been lost before an orderly stop as well."""
        super().close()
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _add_to_file(self, scored: list[Scored]) -> None:
        if self._file is None:
            return
        try:
            self._file.add(scored)
            self._full = False
        except sqlite3.Error as error:
            if not self._full:
                log.error("runtime_ids_failed", error=str(error), what_now=_MEMORY)
            self._full = True

    def _open(self, endpoint: str, kept: dict[str, Any]) -> None:
        folder, name = _private_folder(), f"{quote(endpoint, safe='')}.sqlite"
        self._lock = Lock("transport.reliable", folder / name, is_folder=False)
        _delete_old(folder / name)
        path = prepare(folder, name, "frames sent again are scored again")
        self._file = KnownIds(path, **kept)
        if streams := len(self._file.streams()):
            log.info(
                "runtime_ids_known",
                path=str(path),
                streams=streams,
                text="reliable frames that an earlier service scored are not scored again; reset frees them",
            )


def _is_fixed(endpoint: str) -> bool:
    """Whether the next process will be where this one is: not `*`, nor port 0."""
    return not endpoint.endswith(("*", ":0")) and not endpoint.startswith("inproc:")


def _private_folder() -> Path:
    """A folder that nobody else can read or write: in the session's runtime folder, else the temporary one.

    Raises:
        OSError: it cannot be made, or is somebody else's.
    """
    runtime, temporary = Path(os.environ.get("XDG_RUNTIME_DIR", "")), Path(tempfile.gettempdir())
    if runtime.is_absolute() and _is_safe(runtime, {os.getuid()}):
        folder = runtime / _FOLDER
    elif _is_safe(temporary, {os.getuid(), 0}):
        folder = temporary / f"{_FOLDER}-{os.getuid()}"
    else:
        raise PermissionError(f"{temporary}: others may put what they like into it; expected the sticky bit")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()  # a link is nobody's folder
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder}: is no folder of this user alone; expected mode 0700, or nothing")
    return folder


def _is_safe(folder: Path, owners: set[int]) -> bool:
    """Whether nobody but its owner and us may rename or delete what we make in a folder."""
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return False
    open_to_others = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not open_to_others


def _delete_old(path: Path) -> None:
    """Delete a file and what SQLite has beside it if none was written for a day.

    Raises:
        OSError: it cannot be deleted.
    """
    files = [path, *(path.with_name(path.name + rest) for rest in BESIDE)]
    there = [one for one in files if os.path.lexists(one)]
    if there and time.time() - max(one.lstat().st_mtime for one in there) > _OLD_S:
        for one in there:
            one.unlink()
