"""Snapshots of earlier schemas, as they would be written today."""

from typing import Any

from musc_online.config import Config
from musc_online.errors import SnapshotError
from musc_online.events import Events

SCHEMA = 5
"""5: the state is an array, and the fingerprint names the precision. Files of 4, which had it in the header,
of 3, which had no nearest references, position and tiles, and of 2, which had no quarantine, events,
confirmed frames or operator's rule, are read."""


def current(state: dict[str, Any]) -> dict[str, Any]:
    """A state that was read, as it would have been written today.

    Raises:
        SnapshotError: of a schema that is not read any more, or not yet.
        AttributeError, KeyError, TypeError, ValueError: it is none.
    """
    schema = state["schema"]
    if schema == 2:
        state = _from_schema_2(state)
    if schema in (2, 3):
        state = _from_schema_3(state)
    if schema in (2, 3, 4):
        return _from_schema_4(state)
    if schema != SCHEMA:
        raise SnapshotError(f"got a snapshot of schema {schema}, expected {SCHEMA}")
    return state


def _from_schema_4(state: dict[str, Any]) -> dict[str, Any]:
    """It did not name the precision, but for in `model_id`, which tells those of our backbones apart."""
    return {**state, "fingerprint": {**state["fingerprint"], "precision": None}}


def _from_schema_3(state: dict[str, Any]) -> dict[str, Any]:
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
