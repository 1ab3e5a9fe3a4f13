"""The table and the JSON lines of every day: where the next line goes, and which are there already."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from streamer.bridges.files import rows
from streamer.bridges.files.appended import Appended, Foreign, LastLine
from streamer.bridges.files.days import days_of
from streamer.bridges.files.names import lines_name, part_of
from streamer.bridges.identity import sync_folder
from streamer.bridges.sink import Item

log = structlog.get_logger()

Line = Callable[[Item, str | None], bytes]


@dataclass(frozen=True)
class Format:
    """How one kind of file is written: suffix, first line and beginning, an item's line, and its reader."""

    suffix: str
    head: bytes
    begins: bytes
    line: Line
    number: LastLine


def formats(bridge: str, *, csv: bool, jsonl: bool, local: bool) -> list[Format]:
    """Those that are wanted."""
    table = Format(
        "csv",
        rows.HEAD,
        rows.HEAD,
        lambda item, overlay: rows.csv_line(item, bridge, overlay, local),
        rows.csv_number,
    )
    objects = Format(
        "jsonl",
        b"",
        rows.OBJECT,
        lambda item, overlay: rows.json_line(item, bridge, overlay),
        rows.json_number,
    )
    return [*([table] if csv else []), *([objects] if jsonl else [])]


class Lines:
    """All files of one format.

    Args:
        folder: of the days.
        bridge: whose numbers are looked for.
        most: bytes from which on a file is followed by another.
        sync: whether lines are on the disk when `write` returns.

    Attributes:
        last: number of the last item that was written; -1 for none.
        writing: the file that was written last.
        mended: files whose torn end was cut off.
    """

    def __init__(self, folder: Path, bridge: str, form: Format, most: int, *, sync: bool) -> None:
        self._folder, self._bridge, self._form, self._most, self._sync = folder, bridge, form, most, sync
        self._file: Appended | None = None
        self.last = -1
        self.mended = 0

    @property
    def writing(self) -> Path | None:
        """See above."""
        return None if self._file is None else self._file.path

    def find(self) -> None:
        """Mend the newest file of every day, and read which item was the last.

        Raises:
            OSError: a file cannot be used.
        """
        self._file = None
        for day in days_of(self._folder):
            part = self._newest(day)
            if part:
                self._mended(day / lines_name(self._form.suffix, part))

    def write(self, day: Path, items: list[Item], overlays: dict[int, str]) -> int:
        """Add the lines of items that are not there yet; returns how many bytes they are.

        Args:
            day: its folder, which is there.
            items: in their order.
            overlays: file of the picture by an item's number.

        Raises:
            OSError: none of them was added.
        """
        file = self._at(day)
        missing = [item for item in items if item.number > self.last]
        if not missing:
            return 0
        is_new = file.size == 0
        lines = b"".join(self._form.line(item, overlays.get(item.number)) for item in missing)
        written = file.add(lines)
        if is_new and self._sync:
            sync_folder(day)
        self.last = missing[-1].number
        return written

    def _at(self, day: Path) -> Appended:
        """The day's file that takes the next line."""
        file = self._file
        if file is None or file.path.parent != day or file.changed():
            part = self._newest(day) or 1
            file = self._mended(day / lines_name(self._form.suffix, part))
        else:
            part = part_of(file.path.name, self._form.suffix)
        if file is None or file.size >= self._most:
            file = self._mended(day / lines_name(self._form.suffix, part + 1))
        if file is None:
            raise FileExistsError(
                17, "is somebody else's", str(day / lines_name(self._form.suffix, part + 1))
            )
        self._file = file
        return file

    def _mended(self, path: Path) -> Appended | None:
        """A file that can be continued, None where somebody else has written into it."""
        file = Appended(path, self._form.head, self._form.begins, self._form.number, sync=self._sync)
        try:
            file.mend()
        except Foreign:
            log.warning("file_not_continued", path=str(path), reason="it was written by something else")
            return None
        if file.torn:
            self.mended += 1
            log.info("file_mended", path=str(path), bytes_cut=file.torn)
        if file.last is not None and file.last[0] == self._bridge:
            self.last = max(self.last, file.last[1])
        return file

    def _newest(self, day: Path) -> int:
        """Number of the day's newest file, 0 where there is none."""
        return max((part_of(path.name, self._form.suffix) for path in day.iterdir()), default=0)
