"""A stream's snapshot as a file: its name, and what it holds besides the detector's state."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy.typing as npt

from musc_online import snapshot
from musc_online.arrays import FrameId
from musc_online.errors import SnapshotError
from musc_online.score import Score
from musc_online.snapshot_file import PART, read_state
from streamer.errors import StreamerError, WireError
from streamer.server.outcomes import Ledger, Tally
from streamer.server.stream import Origin, Stream
from streamer.wire.checks import check_stream

SUFFIX = ".safetensors"
_NAME = 80
_WAITING = "waiting."
_LIBRARY = re.compile(r"\.tmp[A-Za-z0-9]{6}")
# What safetensors names what it writes, until that is whole.
_BEGIN = 64
_SLOWEST = 2 * 2**20
# Bytes a second: a disk that gives or takes a ring no faster is slow, and none that hangs.
_META_BYTES = 256 * 2**20


class Kept:
    """What the service itself wrote into a snapshot of `stream`, checked.

    Raises:
        SnapshotError: of another stream, or not what `extra_of` writes.
    """

    def __init__(self, extra: Any, stream: str, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> None:
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
            self.waiting = [
                replace(snapshot.score_of(plain), anomaly_map=(arrays or {}).get(f"{_WAITING}{index}"))
                for index, plain in enumerate(extra.get("waiting", ()))
            ]
            self.number = int(extra.get("journal", 0))
            for frame_id in (*self.scored, *self.unpublished, *(known for known, _ in self.origins)):
                snapshot.check_id(frame_id)
            Ledger().resume(stream, self.tally)
        except snapshot.UNFIT as error:
            raise SnapshotError(
                f"snapshot: the service's part does not fit ({type(error).__name__}: {error})"
            ) from None


def allowed_s(n_bytes: int) -> float:
    """Seconds that reading or writing so much may take beyond what any step may."""
    return n_bytes / _SLOWEST


def file_name(stream: str) -> str:
    """A file's name for any stream's name, readable where it can be, never the same for two streams."""
    readable = quote(stream, safe=" ").replace(".", "%2E")[:_NAME]
    return f"{readable}-{hashlib.sha256(stream.encode()).hexdigest()[:12]}{SUFFIX}"


def extra_of(
    stream: Stream, tally: dict[str, Any], waiting: list[Score], *, asleep: bool = False, number: int = 0
) -> dict[str, Any]:
    """What a restart must know of a stream beside its detector; `Kept` reads it. JSON types only.

    Args:
        stream: whose it is.
        tally: of the ledger.
        waiting: scores that are not out yet.
        asleep: whether the stream will be.
        number: of the change that follows in its journal.
    """
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
        "waiting": [snapshot.plain_score(score) for score in waiting],
        "tally": tally,
        "asleep": asleep,
        "journal": number,
    }


def newest_first(folder: Path) -> list[Path]:
    """Whatever is named as a snapshot is, the newest first."""
    found = []
    for path in folder.iterdir():
        if path.name.endswith(SUFFIX):
            with contextlib.suppress(OSError):  # gone meanwhile
                found.append((path.lstat().st_mtime_ns, path))
    return [path for _, path in sorted(found, reverse=True)]


def joined(kept: Mapping[str, Any] | None, since: Tally) -> dict[str, Any]:
    """A snapshot's tally (None: there is none) and what a journal counts since."""
    ledger = Ledger()
    ledger.resume("-", kept or {"scored": 0, "dropped": {}, "refused": {}, "warned": {}})
    tally = ledger.streams()["-"]
    tally["scored"] += since.scored
    tally["anomalous"] += since.anomalous
    return {**tally, "last_frame": tally["last_frame"] if since.last is None else asdict(since.last)}


def add_maps(copy: snapshot.Snapshot, waiting: list[Score]) -> None:
    """Add the maps of `extra_of`'s waiting scores to the arrays of a snapshot."""
    for index, score in enumerate(waiting):
        if score.anomaly_map is not None:
            copy.arrays[f"{_WAITING}{index}"] = score.anomaly_map


def bound_meta(extra: dict[str, Any], most: int = _META_BYTES) -> int:
    """Leave out what the oldest frames' `meta` have beyond `most` bytes in all; of how many frames.

    What later revisions of those frames echo is empty after a restart; their scores are not touched.
    """
    left, cut = most, 0
    for origin in reversed(extra["origins"]):
        size = len(json.dumps(origin[3]))
        if size > left:
            origin[3], cut = {}, cut + 1
        else:
            left -= size
    return cut


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
            "frozen": state["events"]["flags"][1],
            "threshold": verdict["threshold"],
            "threshold_rule": verdict["rule"].get("rule"),
            "known_frames": len(verdict["known"]),
            "model_id": state["fingerprint"]["model_id"],
        }
    except snapshot.UNFIT as error:
        raise SnapshotError(f"snapshot: its header does not fit ({type(error).__name__}: {error})") from None


def header_of(path: Path) -> dict[str, Any]:
    """The state in a file, the stream's name in it checked; the ring's arrays are not read.

    Raises:
        SnapshotError: it says nothing that can be read, or has another stream's name.
        UnreadableError: it could not be opened for a reason that is not in the file.
    """
    state = read_state(path)
    try:
        name = check_stream(state["extra"]["stream"])
    except (KeyError, TypeError, WireError) as error:
        raise SnapshotError(
            f"{path}: is not a snapshot of this service or is damaged ({type(error).__name__}: {error})"
        ) from None
    if file_name(name) != path.name:
        raise SnapshotError(f"{path}: says it is of stream '{name}', whose file is {file_name(name)}")
    return state


def prepare(folder: Path) -> None:
    """Make the folder if missing; see that it can be written.

    Raises:
        StreamerError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to read and write")
    except OSError as error:
        raise StreamerError(
            f"snapshot.path: {folder}: cannot be used ({error.strerror}); expected a folder to write to"
        ) from None


def clear(folder: Path) -> None:
    """Delete what a killed process had begun to write, and nothing else; the folder is locked."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            is_folder = stat.S_ISDIR(path.lstat().st_mode)
            if path.name.startswith(".") and path.name.endswith(PART):
                if is_folder:
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            elif _LIBRARY.fullmatch(path.name) and _is_library_s(path):
                path.unlink()


def _is_library_s(path: Path) -> bool:
    """Whether a file is a snapshot that its library had begun to write; until version 5 it did that here."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    with path.open("rb") as file:
        begin = file.read(_BEGIN)
    # The length of the header, then the header, which says first what we had put into it.
    return not begin.strip(b"\0") or b'{"__metadata__":{' in begin[8:]
