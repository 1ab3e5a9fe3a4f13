"""Items written to files by day, by one thread: what `deliver` has returned for is there."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import structlog

from streamer.bridges import plain
from streamer.bridges.files.calendar import Calendar
from streamer.bridges.files.config import Files
from streamer.bridges.files.days import Keeping
from streamer.bridges.files.lines import Lines, formats
from streamer.bridges.files.names import NEW, OVERLAYS, overlay_name
from streamer.bridges.files.overlays import drawn, wanted
from streamer.bridges.identity import bridge_id, sync_folder
from streamer.bridges.seldom import Seldom
from streamer.bridges.sink import Item, Undelivered
from streamer.errors import StreamerError, WireError
from streamer.folder_lock import FolderLock
from streamer.progress import Progress

log = structlog.get_logger()
T = TypeVar("T")

_TIDY_S = 3600.0
"""Between looks at what is too old; a look at very many files on a slow disk may take as long."""
_AT_ONCE = 200
"""Items that are written together, and then are on the disk together."""


class FilesSink:
    """A sink that writes.

    Args:
        section: of the configuration.
        queue: folder of the queue, which has been opened.
        now_ns: nanoseconds since 1970; no item is of a later day.

    Attributes:
        progress: of the thread that writes.

    Raises:
        StreamerError: the id cannot be used, or the folder is the queue's.
    """

    def __init__(self, section: Files, queue: Path, now_ns: Callable[[], int] = time.time_ns) -> None:
        if section.folder.resolve() == queue.resolve():
            raise StreamerError(
                f"files.folder: {section.folder} is the folder of the queue (queue.path); set another one"
            )
        self._section, self._now_ns = section, now_ns
        self._bridge = bridge_id(queue)
        self._folder = section.folder
        self._keeping = Keeping(section.folder, section.days, section.max_bytes)
        self._calendar = None if section.days is None else Calendar(section.folder, section.days)
        local = section.time == "local"
        self._lines = [
            Lines(section.folder, self._bridge, form, section.file_bytes, sync=section.sync)
            for form in formats(self._bridge, csv=section.csv, jsonl=section.jsonl, local=local)
        ]
        # One after the other, also where the one before was given up while it waited for the disk.
        self._thread = ThreadPoolExecutor(1, "files")
        self.progress = Progress()
        self._tidying: asyncio.Task[None] | None = None
        self._lock: FolderLock | None = None
        self._day = ""
        self._overlays = self._undrawn = 0
        self._not_drawn = Seldom("overlay_not_drawn", "pictures")

    async def open(self) -> None:
        """Mend what a crash tore, delete what is too old, and again every hour.

        Raises:
            Undelivered: the folder cannot be used.
        """
        if self._lock is None:
            try:
                self._lock = FolderLock(self._folder, "files.folder", "bridge")
            except StreamerError as error:
                raise Undelivered(str(error)) from None
        await self._in_thread(self._prepare, allowed_s=_TIDY_S)
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy_hourly(), name="files-tidy")

    async def deliver(self, items: Sequence[Item]) -> int:
        """Write items; returns how many of them are in the files, from the first.

        Raises:
            Undelivered: the disk is full, or the folder cannot be used.
        """
        chosen = list(items[:_AT_ONCE])
        return await self._in_thread(lambda: self._write(chosen))

    async def close(self) -> None:
        """Stop deleting, and let others have the folder; no file is held open."""
        self._not_drawn.flush()
        task, self._tidying = self._tidying, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def counts(self) -> Mapping[str, tuple[str, int]]:
        """What was drawn, mended and deleted since the start."""
        deleted, mended = self._keeping.deleted, sum(lines.mended for lines in self._lines)
        return {
            "overlays": ("Pictures with map that were written", self._overlays),
            "overlays_failed": ("Pictures that could not be drawn", self._undrawn),
            "mended": ("Files whose torn last line was cut off", mended),
            "deleted": ("Files deleted for age or size", deleted.files),
            "deleted_bytes": ("Bytes of files deleted for age or size", deleted.bytes),
            "deleted_days": ("Days deleted for age or size", deleted.days),
        }

    @property
    def bytes(self) -> int:
        """Of all files in the folder."""
        return self._keeping.bytes

    async def _in_thread(self, work: Callable[[], T], allowed_s: float = 0.0) -> T:
        def watched() -> T:
            with self.progress.step("write files", allowed_s=allowed_s):
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, watched)
        except OSError as error:
            where = error.filename or self._folder
            raise Undelivered(f"files.folder: {where}: cannot be written ({error.strerror})") from None

    async def _tidy_hourly(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_S)
            try:
                await self._in_thread(self._tidy, allowed_s=_TIDY_S)
            except Undelivered as error:
                log.warning("files_not_tidied", error=str(error))

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for lines in self._lines:
            lines.find()
        self._tidy()

    def _tidy(self) -> None:
        writing = {lines.writing for lines in self._lines if lines.writing is not None}
        now_ns = self._now_ns()
        today = self._date(now_ns)
        self._keeping.tidy(today if self._calendar is None else self._calendar.today(today, now_ns), writing)

    def _write(self, items: list[Item]) -> int:
        done = 0
        for day, some in self._by_day(items):
            try:
                self._write_day(day, some)
            except OSError:
                if done == 0:
                    raise
                break  # the rest comes again, and says why it does not go
            done += len(some)
        return done

    def _by_day(self, items: list[Item]) -> Iterator[tuple[str, list[Item]]]:
        now_ns = self._now_ns()
        # By a clock that is ahead, or a word that is wrong, nothing is written into the future.
        for day, some in groupby(items, lambda item: self._day_of(min(plain.at_ns(item), now_ns), now_ns)):
            yield str(day), list(some)

    def _day_of(self, said_ns: int, now_ns: int) -> date:
        day = self._date(said_ns)
        return day if self._calendar is None else self._calendar.filed(day, self._date(now_ns))

    def _date(self, ns: int) -> date:
        zone = UTC if self._section.time == "utc" else None
        return datetime.fromtimestamp(ns // 10**9, zone).date()

    def _write_day(self, name: str, items: list[Item]) -> None:
        day = self._folder / name
        self._make(day)
        first = 1 + min(lines.last for lines in self._lines)
        overlays = {}
        for item in items:
            if item.number >= first and wanted(item, self._section.overlays):
                file = self._overlay(day, item)
                if file is not None:
                    overlays[item.number] = f"{name}/{OVERLAYS}/{file}"
        grown = sum(lines.write(day, items, overlays) for lines in self._lines)
        is_new, self._day = self._day not in {"", name}, name
        if self._keeping.grown(grown) or is_new:
            self._tidy()

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir()
            if self._section.sync:
                sync_folder(folder.parent)

    def _overlay(self, day: Path, item: Item) -> str | None:
        """Draw and write one; its file's name, or None where it cannot be drawn: that costs no line."""
        try:
            picture = drawn(item, self._section.overlays)
        except (WireError, ValueError) as error:
            self._undrawn += 1
            self._not_drawn.add(stream=item.stream, number=item.number, error=str(error))
            return None
        self._make(day / OVERLAYS)
        name = overlay_name(item, self._bridge, self._section.overlays.format)
        _write_whole(day / OVERLAYS / name, picture, sync=self._section.sync)
        self._keeping.grown(len(picture))
        self._overlays += 1
        return name


def _write_whole(path: Path, content: bytes, *, sync: bool) -> None:
    """A file that is whole or not there; one of the same item, of a try before, is replaced.

    Raises:
        OSError: it was not written.
    """
    beside = path.with_name(NEW)
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)
