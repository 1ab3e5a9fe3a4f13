"""Items as a bridge's queue hands them on, for tests that need no detector."""

from typing import Any

from streamer.bridges.sink import Item


def score(number: int, stream: str = "line", **more: Any) -> Item:
    """The score of a frame of its own."""
    header = {
        "v": 1,
        "kind": "score",
        "pub_seq": number,
        "stream": stream,
        "frame_id": f"part-{number:04d}",
        "seq": number,
        "capture_ns": 1_700_000_000_000_000_000 + number,
        "meta": {"part_id": f"P{number}"},
        "scored_ns": 1_700_000_000_000_000_500 + number,
        "raw_score": 0.25,
        "rscin_score": 0.2,
        "pred_score": 0.4,
        "pred_label": False,
        "threshold": 0.5,
        "state": "ready",
        "n_references": 12,
        "revision": 0,
        "is_final": False,
        "regions": [],
        "anomaly_map": None,
        "latency_ms": {"total": 12.5},
        "model_id": "m",
        "known_defect": None,
    }
    return Item(number, "verdict", f"{stream}/score", number, stream, {**header, **more})


def revision(
    number: int, of: int, revision: int, *, label: bool, before: bool, stream: str = "line", **more: Any
) -> Item:
    """A revision of the frame whose score had the number `of`."""
    fields = {"kind": "revision", "revision": revision, "pred_label": label, "latency_ms": {}, **more}
    header = {**score(of, stream).header, **fields, "pub_seq": number}
    return Item(number, "verdict", f"{stream}/revision", number, stream, header, before)
