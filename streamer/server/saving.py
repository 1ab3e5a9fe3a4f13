"""One stream's ring on its way to disk: copied by who owns its detector, written by who may wait."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from musc_online import snapshot
from musc_online.errors import SnapshotError
from streamer.progress import Progress
from streamer.server.snapshot_files import add_maps, allowed_s, bound_meta, extra_of, file_name
from streamer.server.snapshot_tally import SnapshotTally
from streamer.server.stream import Stream

log = structlog.get_logger()

Copied = Callable[[Stream], snapshot.Snapshot | None]
"""Has a stream's state copied; None where there is nothing to copy, or not any more."""

_META = "the oldest frames' meta is beyond what a snapshot holds: after a restart their revisions echo none"


class Saver:
    """Writes a stream's file, and lets go of what its journal holds of before.

    Args:
        folder: of the files; None saves nothing.
        tally: counts and tells.
        progress: of who writes.
    """

    def __init__(self, folder: Path | None, tally: SnapshotTally, progress: Progress) -> None:
        self._folder, self._tally, self._progress = folder, tally, progress

    def path(self, stream: str) -> Path | None:
        """A stream's file; None without a folder."""
        return None if self._folder is None else self._folder / file_name(stream)

    def write(self, stream: Stream, copied: Copied) -> dict[str, Any] | None:
        """Have a stream's state copied, and write it.

        Returns:
            Stream, file name, bytes and arrivals; None where nothing was written. A failure is told.
        """
        path = self.path(stream.name)
        try:
            copy = copied(stream)
            if copy is None or path is None:
                return None
            n_cut = bound_meta(copy.state["extra"])
            if n_cut:
                log.warning("snapshot_meta_left_out", stream=stream.name, frames=n_cut, text=_META)
            size = sum(array.nbytes for array in copy.arrays.values())
            with self._progress.step("write a snapshot", allowed_s=allowed_s(size), moves=True):
                snapshot.write(copy, path)
        except Exception as error:  # no room for the copy, a full disk: scoring matters more
            stream.unsaved = True
            if stream.journal is not None:
                stream.journal.not_saved()
            self._tally.failed(stream.name, error)
            return None
        if stream.journal is not None:
            stream.journal.drop_before(copy.state["extra"]["journal"])
        return self._tally.written(stream.name, path, copy)

    def forget(self, stream: Stream) -> None:
        """Delete the file of a stream that was emptied on purpose, and what its journal holds of before."""
        path = self.path(stream.name)
        if path is not None and stream.emptied:  # else a ring of after that was put to sleep meanwhile
            path.unlink(missing_ok=True)
            stream.unsaved = True
            if stream.journal is not None and stream.journal.emptied_at is not None:
                stream.journal.drop_before(stream.journal.emptied_at)

    def tell_trouble(self, stream: Stream) -> None:
        """What its journal could not write, told by a thread that may wait."""
        trouble = None if stream.journal is None else stream.journal.take_trouble()
        if trouble is not None:
            self._tally.failed(stream.name, SnapshotError(trouble))


def copied(stream: Stream, tally: dict[str, Any], *, asleep: bool = False) -> snapshot.Snapshot | None:
    """The state of a stream, in the thread that owns its detector; None before its first frame.

    Args:
        stream: the stream.
        tally: of the ledger, as it is just now.
        asleep: whether the stream will be.
    """
    if stream.detector is None or stream.detector.ring is None:
        return None
    stream.unsaved = False
    number = 0 if stream.journal is None else stream.journal.rotate()
    waiting = stream.waiting()  # first: what goes out meanwhile is known as scored all the same
    extra = extra_of(stream, tally, waiting, asleep=asleep, number=number)
    copy = snapshot.capture(stream.detector, extra)
    add_maps(copy, waiting)
    return copy
