"""What the tests of sleeping streams share: an hour that passes at once, and what is said of a stream."""

import msgpack
import pytest
from snapshot_support import SAID, play
from snapshot_support import config as base_config
from streamer_support import (
    CAPTURED_NS,
    Camera,
    Screen,
    control,
    serving,
    until,
)

N_FRAMES = 16
"""More than the ring of 12 holds."""


def config(folder, *, after_s=3600, limits=None, **sections):
    return base_config(folder, limits={"sleep_after_s": after_s, **(limits or {})}, **sections)


def nap(service, stream="line"):
    """Let the hour pass for a stream; whether it sleeps now."""
    found = service.streams.get(stream)
    until(lambda: found.idle)
    found.used_at = float("-inf")
    service.sleep.look()
    return found.asleep


def state(service, stream="line"):
    return control(service, "status")["streams"][stream]


def told(service, count, stream="line"):
    """Codes of the errors of a stream, oldest first, once there are `count` of them."""
    kept = []

    def are_there():
        kept[:] = control(service, "history", topic=f"{stream}/error")["messages"]
        return len(kept) >= count

    until(are_there)
    return [msgpack.unpackb(entry["header"])["code"] for entry in kept]


def said(service, after_frame=lambda seed: None):
    """Everything that is said of 16 frames and at a flush; `after_frame` is called between them."""
    heard = []
    with Screen(service, "line/") as screen, Camera(service.endpoints["frames"]) as camera:
        for seed in range(N_FRAMES):
            camera.picture(seed, capture_ns=CAPTURED_NS + seed, meta={"part": seed})
            while not heard or (heard[-1]["kind"], heard[-1]["seq"]) != ("score", seed):
                heard += screen.until(1, "score", "revision")
            after_frame(seed)
        assert control(service, "flush", stream="line")["flushed"] == 12
        while (heard[-1]["seq"], heard[-1]["is_final"]) != (N_FRAMES - 1, True):
            heard += screen.until(1, "score", "revision")
    return [{name: fields[name] for name in SAID} for fields in heard]


@pytest.fixture(scope="module")
def undisturbed(backbone):
    with serving(base_config(), backbone) as service:
        return said(service)


def ring_bytes(service):
    return control(service, "status")["bytes"]["rings"]


def one_ring(backbone, folder):
    with serving(config(folder), backbone) as service:
        play(service, [0])
        return ring_bytes(service)
