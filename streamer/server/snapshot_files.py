"""A stream's snapshot as a file: its name, and what it holds besides the detector's state."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from safetensors import SafetensorError, safe_open

from musc_online import snapshot
from musc_online.arrays import FrameId
from musc_online.errors import SnapshotError
from musc_online.snapshot import check_readable, unreadable
from streamer.errors import StreamerError, WireError
from streamer.server.outbox import Outbox, Outgoing
from streamer.server.outcomes import Ledger
from streamer.server.stream import Origin, Stream
from streamer.wire.checks import check_stream

log = structlog.get_logger()

SUFFIX = ".safetensors"
_NAME = 80


class Kept:
    """What the service itself wrote into a snapshot of `stream`, checked.

    Raises:
        SnapshotError: of another stream, or not what `extra_of` writes.
    """

    def __init__(self, extra: Any, stream: str) -> None:
        try:
            if extra["stream"] != stream:
                raise SnapshotError(f"snapshot: got one of stream '{extra['stream']}', expected '{stream}'")
            self.scored: list[FrameId] = list(extra["scored"])
            self.unpublished: list[FrameId] = list(extra["unpublished"])
            self.origins = [
                (frame_id, Origin(seq, int(capture_ns), dict(meta)))
                for frame_id, seq, capture_ns, meta in extra["origins"]
            ]
            self.tally: dict[str, Any] = dict(extra["tally"])
            Ledger().resume(stream, self.tally)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SnapshotError(
                f"snapshot: the service's part does not fit ({type(error).__name__}: {error})"
            ) from None


def file_name(stream: str) -> str:
    """A file's name for any stream's name, readable where it can be, never the same for two streams."""
    readable = quote(stream, safe=" ").replace(".", "%2E")[:_NAME]
    return f"{readable}-{hashlib.sha256(stream.encode()).hexdigest()[:12]}{SUFFIX}"


def extra_of(stream: Stream, tally: dict[str, Any], *, asleep: bool = False) -> dict[str, Any]:
    """What a restart must know of a stream beside its detector; `Kept` reads it. JSON types only."""
    scored, in_flight = stream.ids()
    ring = {} if stream.detector is None or stream.detector.ring is None else stream.detector.ring.slot_of
    return {
        "stream": stream.name,
        "scored": scored,
        # Scored, but still on its way out: after a restart it is published when it is sent again.
        "unpublished": [frame_id for frame_id in [*in_flight, *stream.unpublished] if frame_id in ring],
        "origins": [
            [frame_id, origin.seq, origin.capture_ns, dict(origin.meta)]
            for frame_id, origin in stream.origins.items()
        ],
        "tally": tally,
        "asleep": asleep,
    }


def summary(state: dict[str, Any]) -> dict[str, Any]:
    """What `status` shows of a stream whose ring is only on disk, from the state in its file's header."""
    try:
        state = snapshot.current(state)
        verdict, n_quarantined = state["verdict"], len(state["quarantined"])
        return {
            "images": len(state["slots"]) - n_quarantined,
            "quarantined": n_quarantined,
            "capacity": state["fingerprint"]["ring"]["capacity"],
            "arrivals": state["arrivals"],
            "pinned": len(state["pinned"]),
            "bytes": 0,
            "matcher": state["matcher"],
            "state": "asleep",
            "threshold": verdict["threshold"],
            "threshold_rule": verdict["rule"].get("rule"),
            "known_frames": len(verdict["known"]),
            "model_id": state["fingerprint"]["model_id"],
        }
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise SnapshotError(f"snapshot: its header does not fit ({type(error).__name__}: {error})") from None


def header_of(path: Path) -> dict[str, Any]:
    """The state in a file's header, the stream's name in it checked; the arrays are not read.

    Raises:
        SnapshotError: it says nothing that can be read, or has another stream's name.
        UnreadableError: it could not be opened for a reason that is not in the file.
    """
    check_readable(path)
    try:
        with safe_open(path, "numpy") as opened:
            state: dict[str, Any] = json.loads((opened.metadata() or {})["state"])
        name = check_stream(state["extra"]["stream"])
    except OSError as error:
        raise unreadable(path, error) from None
    except (SafetensorError, KeyError, TypeError, ValueError, WireError) as error:
        raise SnapshotError(
            f"{path}: is not a snapshot of this service or is damaged ({type(error).__name__}: {error})"
        ) from None
    if file_name(name) != path.name:
        raise SnapshotError(f"{path}: says it is of stream '{name}', whose file is {file_name(name)}")
    return state


def prepare(folder: Path) -> None:
    """Make the folder if missing, and clear it of files a killed process had begun to write.

    Raises:
        StreamerError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to write")
        for cut_short in folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                cut_short.unlink()
    except OSError as error:
        raise StreamerError(
            f"snapshot.path: {folder}: cannot be used ({error.strerror}); expected a folder to write to"
        ) from None


class SnapshotTally:
    """Written, failed, refused, restored, lost; `outbox` is where troubles are told."""

    def __init__(self, outbox: Outbox) -> None:
        self.counts = {"written": 0, "failures": 0, "refused": 0, "restored": 0}
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

    def refused(self, path: Path, stream: str, text: str) -> None:
        """A file cannot be used: set it aside."""
        try:
            aside = f"set aside as {snapshot.set_aside(path).name}"
        except OSError as error:
            aside = f"could not be set aside ({error.strerror})"
        self.counts["refused"] += 1
        log.error("snapshot_refused", stream=stream, text=text, file=path.name, what_now=aside)
        self._tell(stream, "snapshot_refused", f"{text}; {aside}, the ring starts empty")

    def lost(self, path: Path, stream: str) -> None:
        """The file that a sleeping stream's ring was in is gone."""
        text = f"{path}: is gone, with the ring of stream '{stream}' that slept in it; the ring starts empty"
        log.error("snapshot_lost", stream=stream, text=text)
        self._tell(stream, "snapshot_lost", text)

    def _tell(self, stream: str, code: str, text: str) -> None:
        header = {"stream": stream, "frame_id": None, "seq": None, "code": code, "text": text}
        self._outbox.put(Outgoing(stream, "error", header))
