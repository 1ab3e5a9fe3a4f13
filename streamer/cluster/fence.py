"""Two lines never write one stream's files: a lock beside them falls with the process that holds it."""

import time
from pathlib import Path

from streamer.errors import StreamerError, WireError
from streamer.server import locks
from streamer.server.snapshot_files import SUFFIX, file_name

_LOOK_S = 0.05
_BEGIN = locks.FOLDER.removeprefix(".") + "."


class Fence:
    """A stream's files, held from its making until `release`, or the end of the process.

    A line that died may be about to: what it held falls within moments, and is waited for.

    Args:
        folder: of snapshots and journals.
        stream: whose files.
        patience_s: how long to wait at most.
        signed: what the lock of the gate says that lies in the folder; None does not look. On a node
            that does not share the folder there is none, or another.

    Raises:
        WireError: `snapshot_unreadable`: another process has them still, or they are not here.
    """

    def __init__(self, folder: Path, stream: str, patience_s: float, signed: bytes | None = None) -> None:
        if signed is not None and signature(folder) != signed:
            raise _unreadable(
                stream,
                f"{folder}: is not the folder of the gate; expected one that all nodes with lines share",
            )
        self._lock = _waited_for(folder, stream, patience_s)

    def release(self) -> None:
        """Let others have them; done twice it does nothing."""
        self._lock.release()


def signature(folder: Path) -> bytes | None:
    """What the lock of the gate says that holds a folder, for `Fence`; None if it cannot be read."""
    try:
        return (folder / locks.FOLDER).read_bytes()
    except OSError:
        return None


def wait_for_all(folder: Path, patience_s: float) -> list[str]:
    """Wait until no line of before holds a stream's files; the locks that are held still, at the end."""
    end = time.monotonic() + patience_s
    held = [path.name for path in sorted(folder.glob(f".{_BEGIN}*.lock"))]
    while held := [name for name in held if _is_held(folder, name)]:
        if time.monotonic() > end:
            break
        time.sleep(_LOOK_S)
    return held


def _waited_for(folder: Path, stream: str, patience_s: float) -> locks.Lock:
    what = folder / (_BEGIN + file_name(stream).removesuffix(SUFFIX))
    end = time.monotonic() + patience_s
    while True:
        try:
            if not folder.is_dir():  # a lock would make it
                raise StreamerError(f"snapshot.path: {folder}: is no folder on this node")
            return locks.Lock("snapshot.path", what, is_folder=False)
        except locks.HeldError as error:
            if time.monotonic() > end:
                text = f"{folder}: its files are held by {error.holder}"
                raise _unreadable(
                    stream, f"{text}, which did not end within {patience_s:g} s; stop that process"
                ) from None
            time.sleep(_LOOK_S)
        except StreamerError as error:
            raise _unreadable(stream, str(error)) from None


def _is_held(folder: Path, name: str) -> bool:
    what = folder / name.removeprefix(".").removesuffix(".lock")
    try:
        locks.Lock("snapshot.path", what, is_folder=False).release()
    except locks.HeldError:
        return True
    except StreamerError:  # what cannot be looked at cannot be waited for
        return False
    return False


def _unreadable(stream: str, text: str) -> WireError:
    return WireError("snapshot_unreadable", f"stream '{stream}': {text}")
