"""Ring, mutual table, window and threshold to disk and back: one safetensors file, written atomically.

The JSON in its metadata holds everything that is not an array, a fingerprint of backbone and method, the
schema and a digest of it all. A file that does not match in every one of them is refused whole.
"""

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from musc_online.arrays import Geometry
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.errors import CapacityError, MuscError, SnapshotError, UnreadableError
from musc_online.events import Events
from musc_online.ring import Ring
from musc_online.ring_setup import make_ring
from musc_online.score import Score
from musc_online.tiles import Tiling
from musc_online.verdict import Verdict
from musc_online.window import Entry

SCHEMA = 4
"""4: nearest references, position, tiles. Files of 3 and 2, which had none, are read, and of 2 those without
quarantine, events, confirmed frames or an operator's rule."""
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A detector's state, apart from the detector: may be written by another thread."""

    arrays: Arrays
    state: dict[str, Any]


def fingerprint(detector: Detector) -> dict[str, Any]:
    """What must be the same where a snapshot is restored: network, method, shape of the ring."""
    ring, ignored = detector.config.ring, detector.verdict.frame_maps.ignored
    return {
        "model_id": detector.model_id,
        "method": detector.config.method.model_dump(mode="json"),
        "map_size": detector.config.output.map_size or detector.config.backbone.image_size,
        "tiles": detector.config.tiles.model_dump(mode="json"),
        "ignore": None if ignored is None else ignored.digest,
        "ring": {
            "capacity": ring.capacity,
            "subsets": ring.subsets,
            "nearest": ring.nearest,
            "keep": None if ring.nearest is None else ring.keep,
        },
    }


def capture(detector: Detector, extra: dict[str, Any] | None = None) -> Snapshot:
    """Copy a detector's state.

    Args:
        detector: not being used by another thread meanwhile.
        extra: the caller's own counters, JSON types only; `restore` gives them back.

    Raises:
        SnapshotError: the detector has seen no frame yet.
    """
    ring = detector.ring
    if ring is None:
        raise SnapshotError("snapshot: there is nothing to save yet, the stream has had no frame")
    arrays: Arrays = {f"store.{name}": array.copy() for name, array in ring.store.state().items()}
    slots = list(detector.window.entries)
    arrays |= {f"table.{name}": array.copy() for name, array in ring.table_state().items()}
    arrays["class_tokens"] = detector.window.class_tokens(slots) if slots else np.empty((0, 0), np.float32)
    entries = [detector.window.entries[slot] for slot in slots]
    state = {
        "schema": SCHEMA,
        "fingerprint": fingerprint(detector),
        "matcher": ring.store.name,
        "geometry": asdict(ring.geometry),
        "arrivals": ring.arrivals,
        "next_subset": ring.next_subset,
        "pinned": sorted(ring.pinned),
        "quarantined": sorted(ring.quarantined),
        "exemplars": sorted(ring.exemplars),
        "slots": slots,
        "entries": [
            {"score": _plain(entry.score), "shape": entry.frame_shape, "truth": entry.truth}
            for entry in entries
        ],
        "evicted": [_plain(score) for score in detector.window.evicted],
        "verdict": detector.verdict.state_dict(),
        "events": detector.events.state(),
        "since_revision": detector.since_revision,
        "stale": detector.window.stale,
        "extra": extra or {},
        "saved_ns": time.time_ns(),
    }
    return Snapshot(arrays, state)


def write(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot beside `path` and move it there in one step: readers see the old file or the new.

    Raises:
        SnapshotError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    text = json.dumps(snapshot.state, sort_keys=True)
    metadata = {"state": text, "digest": _digest(snapshot.arrays, text)}
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(snapshot.arrays, beside, metadata)
        with beside.open("rb+") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise SnapshotError(
            f"{path}: the snapshot could not be written ({error}); free space or choose another path"
        ) from None


def read(path: Path) -> Snapshot:
    """Read a snapshot whole and check it.

    Raises:
        SnapshotError: missing, damaged, or of another schema.
        UnreadableError: it could not be opened for a reason that is not in the file.
    """
    check_readable(path)
    try:
        with safe_open(path, "numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a mapping)
        text = metadata["state"]
        if metadata["digest"] != _digest(arrays, text):
            raise SnapshotError("the snapshot is damaged (its digest does not match)")
        state = current(json.loads(text))
    except OSError as error:  # the file could be opened a moment ago: safe_open hides the reason
        raise unreadable(path, error) from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise SnapshotError(
            f"{path}: is not a snapshot or is damaged ({type(error).__name__}: {error})"
        ) from None
    except SnapshotError as error:
        raise SnapshotError(f"{path}: {error}; it was not loaded") from None
    return Snapshot(arrays, state)


def current(state: dict[str, Any]) -> dict[str, Any]:
    """A state that was read, as it would have been written today.

    Raises:
        SnapshotError: of a schema that is not read any more, or not yet.
        KeyError, TypeError, ValueError: it is none.
    """
    schema = state["schema"]
    if schema == 2:
        state = _from_schema_2(state)
    if schema in (2, 3):
        return _from_schema_3(state)
    if schema != SCHEMA:
        raise SnapshotError(f"got a snapshot of schema {schema}, expected {SCHEMA}")
    return state


def _from_schema_3(state: dict[str, Any]) -> dict[str, Any]:
    """The state as it would have been written today."""
    known = state["fingerprint"]
    method, ring = Config().method.model_dump(mode="json"), {"nearest": None, "keep": None}
    return {
        **state,
        "fingerprint": {
            **known,
            "method": {**method, **known["method"]},
            "tiles": Config().tiles.model_dump(mode="json"),
            "ignore": None,
            "ring": {**ring, **known["ring"]},
        },
    }


def _from_schema_2(state: dict[str, Any]) -> dict[str, Any]:
    """The state as it would have been written today."""
    limit, lowest, highest = state["verdict"]
    rule = {"false_alarms": 0.02, **state.get("threshold_rule", {})}  # the first files did not name theirs
    verdict = {"threshold": limit, "range": [lowest, highest], "raw_scores": [], "known": []}
    entries = [
        {"score": entry["score"], "shape": entry["shape"], "truth": False if entry["known_good"] else None}
        for entry in state["entries"]
    ]
    return {
        **state,
        "entries": entries,
        "quarantined": [],
        "exemplars": [],
        "verdict": {**verdict, "configured": rule, "rule": rule},
        "events": Events().state(),
        "stale": True,  # of what the threshold was learned is not in the file
    }


def exists(path: Path) -> bool:
    """Whether there is a snapshot.

    Raises:
        UnreadableError: that cannot be said just now.
    """
    try:
        return path.exists()
    except OSError as error:  # of the folder: no permission, a disk that is away
        raise unreadable(path, error) from None


def check_readable(path: Path) -> None:
    """Tell a file that is damaged from one that cannot be opened just now.

    Raises:
        SnapshotError: there is none.
        UnreadableError: no descriptor left, no permission, a disk that is away.
    """
    try:
        path.open("rb").close()
    except FileNotFoundError:
        raise SnapshotError(f"{path}: there is no snapshot") from None
    except IsADirectoryError:
        raise SnapshotError(f"{path}: is a folder, expected a snapshot") from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> UnreadableError:
    """The system's refusal as one of ours."""
    reason = error.strerror or error
    return UnreadableError(f"{path}: the snapshot cannot be read just now ({reason}); it is left as it is")


def restore(detector: Detector, snapshot: Snapshot) -> dict[str, Any]:
    """Put a snapshot's state into a detector, all of it or nothing; returns the caller's `extra`.

    Raises:
        SnapshotError: of another backbone, method or ring, or its parts contradict each other.
        CapacityError: there is nothing wrong with it, but the ring does not fit in `ring.max_bytes`.
    """
    ours, theirs = fingerprint(detector), snapshot.state["fingerprint"]
    different = [key for key in ours if ours[key] != theirs.get(key)]
    if different:
        key = different[0]
        raise SnapshotError(
            f"snapshot: {key}: got {theirs.get(key)}, expected {ours[key]} as configured; it was not loaded"
        )
    try:
        ring = _ring(detector, snapshot)
        entries = _entries(snapshot)
        evicted = [_score(plain) for plain in snapshot.state["evicted"]]
        before = vars(detector).copy()
        held = (detector.window.entries, detector.window.evicted)
        verdict = Verdict(detector.config)
        events = Events(verdict.frame_maps.seen)
        unchanged = verdict.restore(snapshot.state["verdict"])
        events.restore(snapshot.state["events"])
        detector.ring, detector.verdict, detector.events = ring, verdict, events
        detector.window.entries, detector.window.evicted = entries, evicted
        detector.since_revision = int(snapshot.state["since_revision"])
        try:
            detector.check_invariants()
        except AssertionError:
            vars(detector).update(before)
            detector.window.entries, detector.window.evicted = held
            raise
    except CapacityError:
        raise
    except (AssertionError, KeyError, TypeError, ValueError, IndexError, MuscError) as error:
        raise SnapshotError(
            f"snapshot: its parts do not fit ({type(error).__name__}: {error}); it was not loaded"
        ) from None
    detector.window.stale = bool(snapshot.state["stale"]) or not unchanged
    return dict(snapshot.state["extra"])


def set_aside(path: Path) -> Path:
    """Rename a refused snapshot so that the next one does not overwrite it; returns its new path."""
    refused = path.with_name(f"{path.name}.refused-{time.strftime('%Y%m%d-%H%M%S')}")
    path.replace(refused)
    return refused


def _ring(detector: Detector, snapshot: Snapshot) -> Ring:
    state, arrays = snapshot.state, snapshot.arrays
    ring = make_ring(_with_matcher(detector.config, state["matcher"]), _geometry(state["geometry"]))
    if ring.store.name != state["matcher"]:
        raise SnapshotError(f"matcher: got {state['matcher']}, expected {ring.store.name}")
    kept, table = _part(arrays, "store."), _part(arrays, "table.")
    if not table:  # of schema 3 and before
        table = {name: arrays[name] for name in ("table", "measured")}
    n_slots = len(next(iter(table.values())))
    if n_slots > ring.n_slots:
        raise SnapshotError(f"slots: got {n_slots}, expected {ring.n_slots}: ring.quarantine was larger")
    if n_slots < ring.n_slots:  # there was no quarantine, or a smaller one: the slots after it are empty
        kept = {name: _grown(array, ring.n_slots) for name, array in kept.items()}
    ring.store.restore(kept)
    for slot, entry in zip(state["slots"], state["entries"], strict=True):
        ring.frame_ids[slot] = entry["score"]["frame_id"]
        ring.slot_of[entry["score"]["frame_id"]] = slot
    ring.pinned, ring.quarantined = set(state["pinned"]), set(state["quarantined"])
    ring.exemplars = set(state["exemplars"])
    ring.arrivals, ring.next_subset = state["arrivals"], state["next_subset"]
    tokens = dict(zip(state["slots"], arrays["class_tokens"], strict=True))
    ring.restore_table(table, tokens)
    return ring


def _part(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _geometry(plain: dict[str, Any]) -> Geometry:
    grid, tiling = plain.get("grid"), plain.get("tiling")
    return Geometry(
        **{
            **plain,
            "degrees": tuple(plain["degrees"]),
            "grid": None if grid is None else (grid[0], grid[1]),
            "tiling": None if tiling is None else Tiling(**tiling),
        }
    )


def _grown(array: npt.NDArray[Any], n_slots: int) -> npt.NDArray[Any]:
    grown = np.zeros((n_slots, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _with_matcher(config: Config, matcher: str) -> Config:
    # On another processor `auto` may be another matcher: features are kept as the one of then has them.
    if config.ring.matcher != "auto":
        return config
    return config.model_copy(update={"ring": config.ring.model_copy(update={"matcher": matcher})})


def _entries(snapshot: Snapshot) -> dict[int, Entry]:
    tokens = snapshot.arrays["class_tokens"]
    entries = {}
    for row, (slot, plain) in enumerate(zip(snapshot.state["slots"], snapshot.state["entries"], strict=True)):
        shape = None if plain["shape"] is None else (plain["shape"][0], plain["shape"][1])
        entries[int(slot)] = Entry(tokens[row], shape, _score(plain["score"]), plain["truth"])
    return entries


def _plain(score: Score) -> dict[str, Any]:
    plain = asdict(score)
    del plain["patch_scores"], plain["anomaly_map"]
    return plain


def _score(plain: dict[str, Any]) -> Score:
    regions = [(int(x), int(y), int(w), int(h), float(peak)) for x, y, w, h, peak in plain["regions"]]
    return Score(**{**plain, "regions": regions})


def _digest(arrays: Arrays, text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
