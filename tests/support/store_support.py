"""What the tests of the page's store share: messages as a detector says them, and a store to take them."""

import io
from typing import Any

import numpy as np
from PIL import Image

from streamer.page.store import Store
from streamer.wire.published import Message, pack_message, topic_of, unpack_message

SECOND = 10**9
DAY = 86400 * SECOND
NOON = 20_000 * DAY + DAY // 2


class Clock:
    """Nanoseconds since 1970 that pass when they are told to."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def message(
    kind: str, stream: str = "line", pub_seq: int = 0, payload: bytes | None = None, **fields: Any
) -> Message:
    """A message that has been packed and read, as one that came over the wire."""
    header = {"kind": kind, "stream": stream, "pub_seq": pub_seq, **fields}
    return unpack_message(pack_message(topic_of(stream, kind), header, payload))


def verdict(frame_id: Any, kind: str = "score", **fields: Any) -> Message:
    """A score or revision; `at` is seconds after noon, for capture and scoring alike."""
    at = fields.pop("at", 0)
    label = fields.pop("label", False)
    revision = fields.pop("revision", 0 if kind == "score" else 1)
    known: dict[str, Any] = {
        "frame_id": frame_id,
        "seq": 0,
        "capture_ns": NOON + round(at * SECOND),
        "scored_ns": NOON + round(at * SECOND) + SECOND // 10 + revision * SECOND,
        "raw_score": None if label is None else 0.7 if label else 0.3,
        "rscin_score": 0.5,
        "pred_score": 0.5,
        "pred_label": label,
        "threshold": None if label is None else 0.5,
        "state": "ready",
        "n_references": 10,
        "revision": revision,
        "is_final": False,
        "known_defect": None,
        "regions": [],
        "anomaly_map": None,
        "latency_ms": {"total": 12.5},
        "model_id": "dinov2_vits14@56",
        "meta": {},
    }
    return message(kind, **{**known, **fields})


def picture_message(frame_id: Any, jpeg: bytes, **fields: Any) -> Message:
    known = {
        "frame_id": frame_id,
        "seq": 0,
        "capture_ns": NOON,
        "shape": [48, 64],
        "size": [24, 32],
        "encoding": "jpeg",
    }
    return message("picture", payload=jpeg, **{**known, **fields})


def jpeg(seed: int = 0, size: tuple[int, int] = (32, 24)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(buffer, "JPEG")
    return buffer.getvalue()


def a_store(folder: Any, clock: Any = None, **options: Any) -> Store:
    return Store(folder, **{"days": 30, "max_bytes": 10**9, "clock": clock or Clock(), **options})
