"""A stream's journal: what is written of each change before anybody hears of it.

The changes of a stream are numbered. A file of the journal is named by the number it begins with, and a
snapshot says which change comes next: so they fit together whatever was cut off between them.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from musc_online import journal, snapshot
from musc_online.arrays import FrameId, to_numpy
from musc_online.detector import Detector
from musc_online.errors import SnapshotError
from streamer.errors import WireError
from streamer.wire.checks import check_stream
from streamer.wire.requests import Word

log = structlog.get_logger()

SUFFIX = ".journal"
LEAST = 64 * 2**20
"""Bytes a journal may always grow to before it asks for a snapshot."""
_TOO_LARGE = 4
"""Times that size, without a snapshot that could be written, and it is given up."""
_NUMBER = re.compile(r"\.(\d{16})" + re.escape(SUFFIX) + "$")


class Journal:
    """One stream's. The matching thread writes changes, others that a score is out, or that files may go.

    Args:
        folder: of the files.
        stem: of their names.
        stream: whose it is.
        writes: False only counts the changes.
        durable: every change waits for the disk.
        number: of the next change.
        empty: whether nothing came before it.
        due: called when it wants a snapshot, or has a trouble to tell; must not wait.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        stream: str,
        *,
        writes: bool,
        durable: bool,
        number: int,
        empty: bool,
        due: Callable[[], None],
    ) -> None:
        self.number = number
        self.size = 0
        """Bytes since the last snapshot that was written."""
        self._copied = 0
        """Of these what came before a copy of which no file is written yet."""
        self.emptied_at = number if empty else None
        """The change before which nothing counts."""
        self._folder, self._stem, self._stream, self._due = folder, stem, stream, due
        self._trouble: str | None = None
        self._writes, self._durable = writes, durable
        self._lock = threading.Lock()
        self._writer: journal.Writer | None = None
        self._introduce = True
        self._broken = self._was_broken = self._gave_up = False
        self._asked = 0

    def frame(self, detector: Detector, fields: dict[str, Any], tokens: Any, token: Any) -> None:
        """A frame was taken in."""
        if not self._writes:
            self.number += 1
            return
        about = {"kind": "frame", **fields, "cut": detector.cut, "ns": time.time_ns()}
        if self._introduce:
            about["fingerprint"] = snapshot.fingerprint(detector)
        arrays = {"tokens": to_numpy(tokens), "token": to_numpy(token)}
        self._change(about, arrays)
        ring = detector.ring
        self._ask(max(LEAST, 0 if ring is None else ring.nbytes))

    def word(self, word: Word) -> None:
        """An operator's word was heeded."""
        self._change({"kind": "word", "word": asdict(word)})

    def flush(self) -> None:
        """Every score was made final."""
        self._change({"kind": "flush"})

    def lose(self, why: str) -> None:
        """A change cannot be written down: nothing after it counts, until a snapshot holds them all."""
        self.number += 1
        self._give_up(why)

    def published(self, frame_id: FrameId) -> None:
        """A frame's score is out; from any thread."""
        with self._lock:
            self._append({"kind": "published", "frame_id": frame_id}, wait=False)

    def rotate(self) -> int:
        """The state is being copied: what comes belongs to a new file; the number of the next change."""
        with self._lock:
            self._close()
            # Their bytes stay on disk, and count, until a snapshot makes the files needless.
            self._copied, self._introduce = self.size, True
            self._broken, self._was_broken = False, self._broken
        return self.number

    def not_saved(self) -> None:
        """What was copied could not be written: what had been given up is not to be had again."""
        with self._lock:
            self._broken |= self._was_broken

    def empty(self) -> None:
        """The ring was emptied on purpose: nothing before counts, from this moment on."""
        self.number += 1
        self.rotate()
        self._was_broken = False
        self.emptied_at = self.number
        with self._lock:
            self._open()

    def drop_before(self, number: int) -> None:
        """Delete the files of the changes before this one, which a snapshot on disk holds or nobody wants."""
        with self._lock:
            for begins, path in files(self._folder, self._stem):
                if begins < number:
                    _unlink(path)
            self.size, self._copied, self._asked = self.size - self._copied, 0, 0
            self._was_broken, self._gave_up = False, self._broken
            if self._broken:  # meanwhile
                self._due()

    def close(self) -> None:
        """Close the file, if one is open."""
        with self._lock:
            self._close()

    def _change(self, fields: dict[str, Any], arrays: journal.Arrays | None = None) -> None:
        with self._lock:
            self._append(fields, arrays)
            self.number += 1

    def _append(
        self,
        fields: dict[str, Any],
        arrays: journal.Arrays | None = None,
        *,
        wait: bool = True,
    ) -> None:
        if not self._writes or self._broken:
            return
        try:
            writer = self._writer or self._open()
            if writer is None:
                return
            before = writer.size
            writer.append(fields, arrays, wait=wait)
            self.size += writer.size - before
            self._introduce = self._introduce and "fingerprint" not in fields
        except (OSError, OverflowError, TypeError, ValueError) as error:
            self._give_up(f"{writer_name(self._writer)}: could not be written ({error})")

    def _open(self) -> journal.Writer | None:
        if not self._writes or self._broken:
            return None
        path = self._folder / f"{self._stem}.{self.number:016d}{SUFFIX}"
        try:
            self._writer = journal.Writer(path, durable=self._durable)
            if self._writer.size == 0:
                self._writer.append(
                    {
                        "kind": "begin",
                        "stream": self._stream,
                        "number": self.number,
                        "empty": self.number == self.emptied_at,
                    }
                )
        except OSError as error:
            self._close()
            self._give_up(f"{path.name}: could not be written ({error.strerror or error})")
        return self._writer

    def _give_up(self, why: str) -> None:
        if self._writes and not self._broken:
            self._broken = True
            if self._gave_up:  # once for each snapshot that is written: or each frame would ask for one
                return
            self._gave_up = True
            self._trouble = f"journal: {why}; a kill before the next snapshot loses what came since the last"
            log.error("journal_failed", stream=self._stream, text=self._trouble)
            self._due()

    def _ask(self, bound: int) -> None:
        """Ask for a snapshot when the journal is as large as the ring, and each time it grew so again."""
        if self.size < bound * (self._asked + 1) or self._broken:
            return
        self._asked = self.size // bound
        if self._asked >= _TOO_LARGE:
            self._give_up(f"has grown to {self.size} bytes, and no snapshot could be written")
        self._due()

    def take_trouble(self) -> str | None:
        """Why it is given up until the next snapshot, once: for a thread that may wait to tell it."""
        told, self._trouble = self._trouble, None
        return told

    @property
    def wants_snapshot(self) -> bool:
        """Whether not to wait for the next round."""
        return self._broken or self._asked > 0

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def writer_name(writer: journal.Writer | None) -> str:
    """The file's name, for errors."""
    return "the file" if writer is None else writer.path.name


def files(folder: Path, stem: str | None = None) -> list[tuple[int, Path]]:
    """The journal's files of a stream (None: of all), and the number each begins with, in that order."""
    found = []
    for path in folder.iterdir():
        match = _NUMBER.search(path.name)
        if match is not None and stem in {None, path.name[: match.start()]}:
            found.append((int(match[1]), path))
    return sorted(found)


def stem_of(path: Path) -> str:
    """Of a journal's file: what its stream's other files begin with."""
    return _NUMBER.sub("", path.name)


@dataclass(frozen=True)
class Beginning:
    """What a file says of itself."""

    stream: str
    empty: bool
    """Nothing came before."""


def beginning(path: Path, number: int) -> Beginning | None:
    """What a file says of itself; None for one that was cut short before it could.

    Raises:
        SnapshotError: it is none, or damaged.
        OSError: it cannot be read.
    """
    first = next(journal.records(path, arrays=False), None)
    if first is None:
        return None
    fields = first.fields
    try:
        if fields["kind"] != "begin" or fields["number"] != number:
            raise SnapshotError(f"{path}: does not begin with change {number}")
        return Beginning(check_stream(fields["stream"]), fields["empty"] is True)
    except (KeyError, WireError) as error:
        raise SnapshotError(f"{path}: does not say whose it is ({error})") from None


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("journal_left", file=path.name, text=str(error))
