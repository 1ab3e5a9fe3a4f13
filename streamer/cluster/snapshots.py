"""When lines write their rings to disk: `streamer.server.snapshots.Snapshots` by asking them.

A line's state is copied while nothing is asked of it and all its replies came: so a copy never holds a change
that the gate does not know of. The line writes the copy while it scores on.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from streamer.cluster.lines import Lines
from streamer.cluster.remote_line import COUNTS, RemoteLine
from streamer.errors import WireError
from streamer.server.journals import files
from streamer.server.snapshot_files import SUFFIX, file_name
from streamer.server.snapshot_tally import SnapshotTally
from streamer.server.stream import Stream
from streamer.server.streams import Streams
from streamer.server.threads import Worker

log = structlog.get_logger()

_LOOK_S = 0.5
_DISK_S = 600.0
"""Beyond what any step may take: a large ring takes a disk its time, and nobody here sees how far it is."""
_TURN_S = 30.0


class LineSnapshots(Worker):
    """Has each line write what changed every `every_s` seconds; other threads may ask for it at once.

    Args:
        folder: of the files; None saves and restores nothing.
        every_s: seconds between rounds.
        streams: the open ones.
        lines: of the streams.
        tally: of what the gate itself found on disk.
        failed: called if the thread dies.
    """

    def __init__(
        self,
        folder: Path | None,
        every_s: float,
        streams: Streams,
        lines: Lines,
        tally: SnapshotTally,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("snapshots", failed)
        self._folder, self._every_s = folder, every_s
        self._streams, self._lines, self._tally = streams, lines, tally
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()

    @property
    def failed_text(self) -> str | None:
        """Why a line's last snapshot could not be written; None once each one's could."""
        told = (line.files.get("failed") for line in self._lines.open().values())
        return next((text for text in told if text), None)

    def work(self) -> None:
        """Have written what changed, now and then, until stopped."""
        next_round = time.monotonic() + self._every_s
        while self._folder is not None and not self._stopping.wait(
            min(_LOOK_S, max(0.0, next_round - time.monotonic()))
        ):
            is_round = time.monotonic() >= next_round
            if is_round:
                next_round = time.monotonic() + self._every_s
            with self.progress.step("snapshots", allowed_s=_DISK_S):
                self._save(self._due(is_round=is_round))

    def stop(self) -> None:
        """End, after the file being written."""
        self._stopping.set()
        self.join()

    def save_now(self) -> list[dict[str, Any]]:
        """Have every stream written.

        Returns:
            Stream, file name, bytes and arrivals of each file.

        Raises:
            WireError: `not_configured`, or `snapshot_failed` for the first stream that could not be written.
        """
        if self._folder is None:
            raise WireError("not_configured", "snapshot: none is configured; set snapshot.path to a folder")
        before = self._failures()
        written = self._save([stream for stream in self._streams.known() if stream.line is not None])
        if self._failures() != before:
            raise WireError("snapshot_failed", self.failed_text or "snapshot: a file could not be written")
        return written

    def save_last(self) -> None:
        """Have what changed written, once everything is scored."""
        if self._folder is not None:
            with self.progress.step("snapshots", allowed_s=_DISK_S, moves=True):
                self._save(self._due(is_round=True))

    def save_and_release(
        self, stream: Stream, due: Callable[[Stream], bool], release: Callable[[Stream], None]
    ) -> None:
        """Have a stream's ring written, and let go of its line, if `due` says so before and after."""
        line = self._lines.of(stream)
        with self._turn():
            if self._write(stream, line, lambda: due(stream), asleep=True) is None:
                return
            with line.turn:
                if due(stream) and not stream.unsaved:
                    release(stream)
                    if stream.line is None:
                        line.end()

    def forget(self, stream: Stream) -> None:
        """Delete the files of a stream that was emptied on purpose while it had no line."""
        if self._folder is None:
            return
        line = self._lines.of(stream)
        with self._turn(), line.turn:
            if stream.emptied and stream.line is None:
                name = file_name(stream.name)
                for _, path in files(self._folder, name.removesuffix(SUFFIX)):
                    path.unlink(missing_ok=True)
                (self._folder / name).unlink(missing_ok=True)
                stream.emptied = False

    def status(self) -> dict[str, Any]:
        """Files written, failed, refused, restored; when the last was written; why the last one failed."""
        lines = self._lines.every_line()
        ours = self._tally.status()
        counts = Counter({name: ours[name] for name in COUNTS})
        for line in lines:
            counts += line.earlier
            counts.update({name: line.files.get(name, 0) for name in COUNTS})
        saved = [line.files["saved_ns"] for line in lines if line.files.get("saved_ns")]
        return {
            **{name: counts[name] for name in COUNTS},
            "saved_ns": max(saved, default=None),
            "failed": self.failed_text,
            "journal_bytes": sum(line.files.get("journal_bytes", 0) for line in lines),
            "path": None if self._folder is None else str(self._folder),
        }

    def _failures(self) -> int:
        return int(self.status()["failures"])

    def _due(self, *, is_round: bool) -> list[Stream]:
        """Streams that changed; between rounds those whose journals do not wait."""
        changed = [one for one in self._streams.known() if one.line is not None and one.unsaved]
        if is_round:
            return changed
        # A disk that takes none is not tried at every look.
        tried = time.monotonic() - self._every_s
        lines = [(one, self._lines.of(one)) for one in changed]
        return [one for one, line in lines if line.wants_snapshot and line.failed_at < tried]

    def _save(self, streams: list[Stream]) -> list[dict[str, Any]]:
        written = []
        for stream in streams:
            with self._turn():
                facts = self._write(stream, self._lines.of(stream))
            if facts is not None:
                written.append(facts)
            self.progress.renew()
        return written

    def _write(
        self,
        stream: Stream,
        line: RemoteLine,
        due: Callable[[], bool] = lambda: True,
        *,
        asleep: bool = False,
    ) -> dict[str, Any] | None:
        """Have a stream's line copy its state and write that; its facts, None where nothing was written."""
        if not line.turn.take(_TURN_S):  # one that hangs is its own stream's trouble
            log.warning("snapshot_put_off", stream=stream.name, text=f"its line is busy for {_TURN_S:g} s")
            return None
        try:
            if stream.line is None or not due():
                return None
            stream.unsaved = False
            if not line.copy(asleep=asleep):
                stream.unsaved = True
                return None
        finally:
            line.turn.give()
        facts: dict[str, Any] | None = line.call("write")
        if facts is None:
            stream.unsaved, line.failed_at = True, time.monotonic()
        self._lines.look_at_files(stream, line)
        return facts

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One file is written at a time; whoever writes one is watched, not who waits for that."""
        while not self._one_at_a_time.acquire(timeout=_LOOK_S):
            self.progress.renew()
        try:
            yield
        finally:
            self._one_at_a_time.release()
