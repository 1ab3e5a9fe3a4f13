"""Folders of days: what is in them, and which of it goes when there is too much or it is too old."""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import structlog

from streamer.bridges.files.names import DAY, LINES, OVERLAY, OVERLAYS
from streamer.bridges.seldom import Seldom

log = structlog.get_logger()


@dataclass(frozen=True)
class Kept:
    """A file of ours."""

    path: Path
    size: int
    modified_ns: int
    is_overlay: bool


@dataclass
class Deleted:
    """What went, since the start."""

    files: int = 0
    bytes: int = 0
    days: int = 0


def days_of(folder: Path) -> list[Path]:
    """Folders of days, oldest first; what is not named as ours stays out of it, and so do links."""
    with os.scandir(folder) as entries:
        found = [one.path for one in entries if DAY.fullmatch(one.name) and one.is_dir(follow_symlinks=False)]
    return sorted(map(Path, found))


def files_of(day: Path) -> list[Kept]:
    """Files of ours in a day, in the order in which they are deleted: pictures first, then by their age."""
    kept = [*_ours(day, LINES), *_ours(day / OVERLAYS, OVERLAY)]
    return sorted(kept, key=lambda one: (not one.is_overlay, one.modified_ns, one.path.name))


class Keeping:
    """Bounds of a folder.

    Args:
        folder: of the days.
        days: how many are kept; None for all.
        max_bytes: that all files have together.
    """

    def __init__(self, folder: Path, days: int | None, max_bytes: int) -> None:
        self._folder, self._days, self._max_bytes = folder, days, max_bytes
        self.bytes = 0
        self.deleted = Deleted()
        self._stuck = Seldom("file_not_deleted", "files")

    def grown(self, n_bytes: int) -> bool:
        """Count what was written; whether `tidy` has something to do."""
        self.bytes += n_bytes
        return self.bytes > self._max_bytes

    def tidy(self, today: date, writing: Collection[Path]) -> None:
        """Delete what is too old, then, where there is too much, the oldest down to nine tenths.

        Args:
            today: by the calendar that names the days.
            writing: files that are being written: they stay, and the rest of their day goes last.

        Raises:
            OSError: the folder cannot be read.
        """
        found = {day: files_of(day) for day in days_of(self._folder)}
        self.bytes = sum(one.size for files in found.values() for one in files)
        open_days = {path.parent for path in writing}
        if self._days is not None:
            oldest = str(today - timedelta(days=min(self._days, today.toordinal() - 1)))
            for day in [one for one in found if one.name <= oldest and one not in open_days]:
                self._delete(day, found.pop(day), "age")
        if self.bytes <= self._max_bytes:
            return
        enough = self._max_bytes * 9 // 10
        for day in [one for one in found if one not in open_days]:
            if self.bytes <= enough:
                return
            self._delete(day, found.pop(day), "size")
        for day, files in found.items():
            surplus = self.bytes - enough
            self._delete(
                day, list(_up_to(surplus, [one for one in files if one.path not in writing])), "size"
            )

    def _delete(self, day: Path, files: list[Kept], why: str) -> None:
        gone = [one for one in files if self._unlinked(one.path)]
        if not gone:
            return
        n_bytes = sum(one.size for one in gone)
        self.bytes -= n_bytes
        self.deleted.files += len(gone)
        self.deleted.bytes += n_bytes
        for folder in (day / OVERLAYS, day):
            with suppress(OSError):  # something of somebody else's is in it
                folder.rmdir()
        self.deleted.days += not day.exists()
        log.info("files_deleted", day=day.name, files=len(gone), bytes=n_bytes, why=why)

    def _unlinked(self, path: Path) -> bool:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._stuck.add(path=str(path), error=error.strerror)
            return False
        return True


def _ours(folder: Path, names: re.Pattern[str]) -> Iterator[Kept]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if names.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    about = entry.stat(follow_symlinks=False)
                    yield Kept(Path(entry.path), about.st_size, about.st_mtime_ns, names is OVERLAY)
    except (FileNotFoundError, NotADirectoryError):
        return


def _up_to(n_bytes: int, files: list[Kept]) -> Iterator[Kept]:
    for one in files:
        if n_bytes <= 0:
            return
        n_bytes -= one.size
        yield one
