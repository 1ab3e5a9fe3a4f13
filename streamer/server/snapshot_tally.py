"""What became of snapshots, counted and told: written, failed, refused, restored, lost."""

from pathlib import Path
from typing import Any

import structlog

from musc_online import snapshot
from musc_online.errors import SnapshotError
from streamer.server.outbox import Outgoing, Outlet

log = structlog.get_logger()


class SnapshotTally:
    """Written, failed, refused, restored, lost; `outbox` is where troubles are told."""

    def __init__(self, outbox: Outlet) -> None:
        self.counts = {"written": 0, "failures": 0, "refused": 0, "restored": 0, "replayed": 0}
        self.failed_text: str | None = None
        """Why the last snapshot could not be written; None once one could."""
        self._saved_ns: int | None = None
        self._outbox = outbox

    def status(self) -> dict[str, Any]:
        """Files written, failed, refused, restored; when the last was written; why the last one failed."""
        return {**self.counts, "saved_ns": self._saved_ns, "failed": self.failed_text}

    def written(self, stream: str, path: Path, copy: snapshot.Snapshot) -> dict[str, Any]:
        """A file is on disk; returns stream, file name, bytes and arrivals."""
        self.failed_text = None
        self.counts["written"] += 1
        self._saved_ns = copy.state["saved_ns"]
        facts = {
            "stream": stream,
            "file": path.name,
            "bytes": sum(array.nbytes for array in copy.arrays.values()),
            "arrivals": copy.state["arrivals"],
        }
        log.info("snapshot_written", **facts)
        return facts

    def restored(self, stream: str, images: int) -> None:
        """A ring is back in memory."""
        self.counts["restored"] += 1
        log.info("snapshot_restored", stream=stream, images=images)

    def failed(self, stream: str, error: Exception) -> None:
        """A file could not be written, or its content not be copied."""
        text = (
            str(error) if isinstance(error, SnapshotError) else f"snapshot: {type(error).__name__}: {error}"
        )
        self.counts["failures"] += 1
        self.failed_text = text
        log.error("snapshot_failed", stream=stream, text=text)
        self._tell(stream, "snapshot_failed", text)

    def refused(
        self,
        path: Path,
        stream: str,
        text: str,
        aside: Path | None = None,
        then: str = "the ring starts empty",
    ) -> None:
        """A file cannot be used: set it aside, unless it is there already."""
        try:
            done = f"set aside as {(aside or snapshot.set_aside(path)).name}"
        except OSError as error:
            done = f"could not be set aside ({error.strerror})"
        self.counts["refused"] += 1
        log.error("snapshot_refused", stream=stream, text=text, file=path.name, what_now=done)
        self._tell(stream, "snapshot_refused", f"{text}; {done}, {then}")

    def replayed(self, stream: str, changes: int) -> None:
        """What came since the snapshot is in the ring again."""
        self.counts["replayed"] += changes
        log.info("journal_replayed", stream=stream, changes=changes)

    def lost(self, path: Path, stream: str) -> None:
        """The file that a sleeping stream's ring was in is gone."""
        text = f"{path}: is gone, with the ring of stream '{stream}' that slept in it; the ring starts empty"
        log.error("snapshot_lost", stream=stream, text=text)
        self._tell(stream, "snapshot_lost", text)

    def _tell(self, stream: str, code: str, text: str) -> None:
        header = {"stream": stream, "frame_id": None, "seq": None, "code": code, "text": text}
        self._outbox.put(Outgoing(stream, "error", header))
