"""A line with products to tell apart, and one who listens while its operator speaks."""

from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
from snapshot_support import config as base_config
from streamer_support import Camera, Screen, control, header, picture, png

NOISE = 2.0
WARMUP = 4
FAR_FROM_BOTH = {"rule": "fixed", "value": 0.12}
"""Parts of a product differ by 0.05, those of two by 0.5: nothing hangs on where `auto` would draw a line."""
LEARNED = 40
"""Parts of the first product that `learned` shows: so many that ten of another are not taken for normal."""


def line_config(folder: Any = None, **sections: Any) -> Any:
    """Quarantine, and room enough that nothing leaves the ring; revised as seldom as can be."""
    ring = {"capacity": 50, "admit": "quarantine", "quarantine": 16, **sections.pop("ring", {})}
    made = base_config(folder, ring=ring, **{"warmup": WARMUP, "threshold": FAR_FROM_BOTH, **sections})
    revise = made.revise.model_copy(update={"every": 100, "window": 50})
    return made.model_copy(update={"revise": revise})


def part(product: int, seed: int) -> np.ndarray:
    """A frame of a product: the same picture each time, but for the camera's noise."""
    rng = np.random.default_rng([product, seed])
    noisy = picture(product) + rng.normal(0.0, NOISE, (48, 64, 3))
    return np.asarray(noisy.clip(0, 255), np.uint8)


def show_parts(camera: Camera, product: int, seeds: Iterable[int], stream: str = "line") -> list[str]:
    """Send parts, named by product and seed (`a0`, `b3`); their ids."""
    ids = [f"{'abcdef'[product]}{seed}" for seed in seeds]
    for frame_id, seed in zip(ids, seeds, strict=True):
        fields = header(frame_id, stream, meta={"part": seed})
        del fields["seq"]  # else it would have to go on from what others have sent
        camera.send(fields, png(part(product, seed)))
    return ids


@contextmanager
def listening(service: Any, topic: str = "line/") -> Any:
    """One who hears a stream, and one who sends it frames."""
    with Screen(service, topic) as screen, Camera(service.endpoints["frames"]) as camera:
        yield screen, camera


def learned(service: Any) -> None:
    """Let a service see enough of the first product to know it, and have a threshold."""
    with listening(service, "line/score") as (screen, camera):
        show_parts(camera, 0, range(LEARNED))
        screen.until(LEARNED, "score")
    assert control(service, "status")["streams"]["line"]["threshold"] is not None


def changed_over(service: Any) -> dict[str, Any]:
    """Let it see another product until that is told; the event."""
    with listening(service) as (screen, camera):
        show_parts(camera, 1, range(8))
        (event,) = screen.until(1, "event")
    assert event["event"] == "changeover"
    return event


def words(service: Any) -> list[dict[str, Any]]:
    """The operator messages of the stream so far."""
    messages = control(service, "history", topic="line/operator")["messages"]
    return [msgpack.unpackb(message["header"]) for message in messages]
