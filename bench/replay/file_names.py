"""File names of frames: those of their images where a file system takes them, never one for two frames."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

_MOST_BYTES = 200
# Of one folder or file, suffix left out: file systems take 255.
_MOST_FOLDERS = 16
_FORBIDDEN = frozenset('<>:"|?*\\')
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(1, 10))}
)


def stems(frame_ids: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """For each frame a path below a folder, with `/` between its parts and without a suffix.

    That of the image: `bad/07.png` is `bad/07`. A frame whose id no file system would take so (`..`, control
    characters, names of devices, too long, other than what Windows allows), or whose path another frame has
    (`bad/07.jpg`, on some systems `Bad/07.png`), is named flat: as much of its own name as is safe, and 16
    hexadecimal digits of the SHA-256 of its id.

    Args:
        frame_ids: all of the folder, none of them twice; the first of two that want one path gets it.
        taken: paths of other files there.
    """
    files = {_same(path) for path in taken}
    folders: set[str] = set()
    return [_free(frame_id, files, folders) for frame_id in frame_ids]


def _free(frame_id: str, files: set[str], folders: set[str]) -> str:
    path = _plain(frame_id)
    if path is None or not _fits(_same(path), files, folders):
        path = _flat(frame_id)
    found = PurePosixPath(_same(path))
    files.add(str(found))
    folders.update(str(parent) for parent in found.parents)
    return path


def _fits(path: str, files: set[str], folders: set[str]) -> bool:
    """Whether a path is neither a file nor a folder yet, and no folder on its way is a file.

    A file has a suffix that the folder beside it has not: kept apart all the same, whatever the suffix is.
    """
    return (
        path not in files
        and path not in folders
        and not any(str(parent) in files for parent in PurePosixPath(path).parents)
    )


def _plain(frame_id: str) -> str | None:
    """The id without its suffix, None where it is no path that every file system takes."""
    parts = frame_id.split("/")
    last = PurePosixPath(parts[-1])
    parts[-1] = last.stem if last.suffix else parts[-1]
    if len(parts) > _MOST_FOLDERS or any(_safe(part) != part for part in parts):
        return None
    return "/".join(parts)


def _flat(frame_id: str) -> str:
    digest = hashlib.sha256(frame_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    name = _safe(frame_id.rsplit("/", maxsplit=1)[-1])
    return f"{name}-{digest}"


def _safe(part: str) -> str:
    """A part of a path as every file system takes it; its end where it is too long: there the numbers are."""
    kept = "".join(one if one.isprintable() and one not in _FORBIDDEN else "_" for one in part)
    kept = kept.encode()[-_MOST_BYTES:].decode(errors="ignore").lstrip(" .-").rstrip(" .") or "_"
    return f"_{kept}" if kept.split(".")[0].casefold() in _RESERVED else kept


def _same(path: str) -> str:
    """What file systems that know neither case nor ways of writing an umlaut make of a path."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
