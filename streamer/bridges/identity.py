"""A bridge's own name in what it hands on: random, kept beside its queue, whose numbers count under it."""

import os
import re
import secrets
from pathlib import Path

from streamer.errors import StreamerError

_FILE = "bridge.id"
_ID = re.compile(r"[0-9a-f]{16}")


def bridge_id(folder: Path) -> str:
    """16 hexadecimal digits, the same as long as the folder is there.

    Args:
        folder: of the queue; made if missing. Another queue has another id, so that two items of one number
            are told apart.

    Raises:
        StreamerError: it cannot be read or written, or holds something else.
    """
    path = folder / _FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write(path, secrets.token_hex(8))
        found = path.read_text(encoding="ascii")[:64].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not ASCII"
        raise StreamerError(f"queue.path: {path}: cannot be used ({reason})") from None
    if not _ID.fullmatch(found):
        raise StreamerError(
            f"queue.path: {path}: holds no id, expected 16 hexadecimal digits; delete it, and receivers take "
            "what comes next for another bridge's"
        )
    return found


def _write(path: Path, text: str) -> None:
    """Whole and on the disk, or not at all: an id that is used must not be gone after a power cut."""
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut.

    Raises:
        OSError: the disk is gone.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
