"""A detector's ring, mutual table, window, threshold and groups as arrays and JSON, and back.

A fingerprint of backbone and method says where they belong. What does not match in it, or contradicts itself,
is refused whole. How they lie in a file: `musc_online.snapshot_file`.
"""

import time
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from musc_online.arrays import FrameId, Geometry
from musc_online.config import Config
from musc_online.detector import Detector
from musc_online.errors import CapacityError, MuscError, SnapshotError
from musc_online.events import Events
from musc_online.ring import Ring
from musc_online.ring_setup import make_ring
from musc_online.score import Score
from musc_online.snapshot_file import Arrays, Snapshot, exists, read, set_aside, write
from musc_online.snapshot_schemas import SCHEMA, current
from musc_online.tiles import Tiling
from musc_online.verdict import Verdict
from musc_online.window import Entry

__all__ = [
    "SCHEMA",
    "Snapshot",
    "capture",
    "current",
    "exists",
    "fingerprint",
    "plain_score",
    "read",
    "restore",
    "score_of",
    "set_aside",
    "write",
]


UNFIT = (ArithmeticError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError)
"""What it raises to take something for what it is not."""


def fingerprint(detector: Detector) -> dict[str, Any]:
    """What must be the same where a snapshot is restored: network, precision, method, shape of the ring."""
    ring, ignored = detector.config.ring, detector.verdict.frame_maps.ignored
    return {
        "model_id": detector.model_id,
        "precision": detector.precision,
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


def check_fingerprint(detector: Detector, theirs: Any) -> None:
    """Refuse what was made by another network, method or shape of ring.

    Raises:
        SnapshotError: the first difference.
    """
    ours = fingerprint(detector)
    theirs = theirs if isinstance(theirs, dict) else {}
    # Where there is no backbone, or none was noted, there is no precision to compare.
    unknown = {key for key in ("precision",) if None in (ours[key], theirs.get(key))}
    different = [key for key in ours if key not in unknown and ours[key] != theirs.get(key)]
    if different:
        key = different[0]
        raise SnapshotError(
            f"snapshot: {key}: got {theirs.get(key)}, expected {ours[key]} as configured; it was not loaded"
        )


def check_id(frame_id: Any) -> FrameId:
    """An id that was read.

    Raises:
        TypeError: it is none.
    """
    if isinstance(frame_id, bool) or not isinstance(frame_id, str | int):
        raise TypeError(f"frame_id: got a {type(frame_id).__name__}, expected text or an integer")
    return frame_id


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
    arrays: Arrays = {f"store.{name}": _own(array) for name, array in ring.store.state().items()}
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
            {"score": plain_score(entry.score), "shape": entry.frame_shape, "truth": entry.truth}
            for entry in entries
        ],
        "evicted": [plain_score(score) for score in detector.window.evicted],
        "verdict": detector.verdict.state_dict(),
        "events": detector.events.state(),
        "since_revision": detector.since_revision,
        "stale": detector.window.stale,
        "extra": extra or {},
        "saved_ns": time.time_ns(),
    }
    return Snapshot(arrays, state)


def restore(detector: Detector, snapshot: Snapshot) -> dict[str, Any]:
    """Put a snapshot's state into a detector, all of it or nothing; returns the caller's `extra`.

    Raises:
        SnapshotError: of another backbone, method or ring, or its parts contradict each other.
        CapacityError: there is nothing wrong with it, but the ring does not fit in `ring.max_bytes`.
    """
    check_fingerprint(detector, snapshot.state.get("fingerprint"))
    try:
        ring = _ring(detector, snapshot)
        entries = _entries(snapshot)
        evicted = [score_of(plain) for plain in snapshot.state["evicted"]]
        extra, stale = dict(snapshot.state["extra"]), bool(snapshot.state["stale"])
        since_revision = int(snapshot.state["since_revision"])
        before = vars(detector).copy()
        held = (detector.window.entries, detector.window.evicted)
        verdict = Verdict(detector.config)
        events = Events(verdict.frame_maps.seen)
        unchanged = verdict.restore(snapshot.state["verdict"])
        events.restore(snapshot.state["events"])
        detector.ring, detector.verdict, detector.events = ring, verdict, events
        detector.window.entries, detector.window.evicted = entries, evicted
        detector.since_revision = since_revision
        try:
            detector.check_invariants()
        except AssertionError:
            vars(detector).update(before)
            detector.window.entries, detector.window.evicted = held
            raise
    except CapacityError:
        raise
    except (AssertionError, MuscError, *UNFIT) as error:
        raise SnapshotError(
            f"snapshot: its parts do not fit ({type(error).__name__}: {error}); it was not loaded"
        ) from None
    detector.window.stale = stale or not unchanged
    return extra


def _ring(detector: Detector, snapshot: Snapshot) -> Ring:
    state, arrays = snapshot.state, snapshot.arrays
    config = _with_matcher(detector.config, state["matcher"])
    ring = make_ring(config, _geometry(state["geometry"]), detector.make_store)
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
    ring.arrivals, ring.next_subset = int(state["arrivals"]), int(state["next_subset"])
    tokens = dict(zip(state["slots"], arrays["class_tokens"], strict=True))
    ring.restore_table(table, tokens)
    return ring


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy, unless it is one: features gathered from elsewhere are not held twice."""
    return array if array.flags.owndata else array.copy()


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
        entries[int(slot)] = Entry(tokens[row], shape, score_of(plain["score"]), plain["truth"])
    return entries


def plain_score(score: Score) -> dict[str, Any]:
    """A score in JSON types, without its arrays."""
    plain = asdict(score)
    del plain["patch_scores"], plain["anomaly_map"], plain["frame_shape"]
    return plain


def score_of(plain: dict[str, Any]) -> Score:
    """The score that `plain_score` wrote.

    Raises:
        TypeError, ValueError, KeyError: it is none.
    """
    check_id(plain["frame_id"])
    regions = [(int(x), int(y), int(w), int(h), float(peak)) for x, y, w, h, peak in plain["regions"]]
    return Score(**{**plain, "regions": regions})
