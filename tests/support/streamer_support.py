"""What the service's tests share: a small configuration, a running service, a bare camera and screen.

Order comes from messages, never from time: the ledger knows what is published before it goes out, so a
test first hears what it waits for and then asks. `PATIENCE_S` only ends a test that would wait for ever.
"""

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
import zmq
from cluster_support import ENGINE, engine_on_shared

from musc_online import backbones
from musc_online.config import Config, load
from streamer.ask import ask
from streamer.process import ServerProcess
from streamer.server.service import Service
from streamer.wire.frame import NO_STREAM

ANY_PORT = "tcp://127.0.0.1:*"
PATIENCE_S = 180
PATIENCE_MS = 1000 * PATIENCE_S
IMAGE_SIZE = 56
CAPTURED_NS = time.time_ns()
"""When the first frame of a test was taken that says the same of it in two runs: as a camera's clock may."""


def settings(**sections: Any) -> dict[str, Any]:
    """Free ports, a small image, a small ring; sections are merged over these."""
    values: dict[str, Any] = {
        "backbone": {"image_size": IMAGE_SIZE, "device": "cpu"},
        "ring": {"capacity": 12},
        "revise": {"every": 100, "window": 12},
        "warmup": 2,
        "engine": dict(ENGINE),
        "limits": {"decode_s": 60.0},  # a worker on a busy machine may have to wait for its turn
        "transport": {
            "frames": ANY_PORT,
            "scores": ANY_PORT,
            "control": ANY_PORT,
            "reliable": ANY_PORT,
            "when_full": "block",
            "heartbeat_s": 0.2,
        },
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
    return values


def small_config(**sections: Any) -> Config:
    return load(settings(**sections))


@cache
def small_backbone() -> backbones.Backbone:
    """The real DINOv2 ViT-S/14 at a small size, one for all: nothing changes it."""
    return backbones.load("dinov2_vits14", "auto", IMAGE_SIZE, (2, 5, 8, 11), "cpu", "float32")


@pytest.fixture(scope="session")
def backbone() -> backbones.Backbone:
    """`small_backbone`: each module that imports a fixture has one of its own, and would load it anew."""
    return small_backbone()


@contextmanager
def serving(config: Config, backbone: Any) -> Iterator[Service]:
    """A service in this process, stopped in the orderly way at the end."""
    on_ray = ENGINE["name"] == "ray"
    service = Service(config, engine=engine_on_shared) if on_ray else Service(config, backbone)
    service.start()
    try:
        yield service
    finally:
        getattr(backbone, "release", lambda: None)()
        service.stop()


@contextmanager
def watched(
    backbone: Any, config: Config | None = None, *, topic: str = "", **sections: Any
) -> Iterator[tuple[Service, "Screen", "Camera"]]:
    """A service, one who hears what it publishes from now on, and one who sends it frames.

    Args:
        backbone: the service's.
        config: of the service; None is `small_config(**sections)`.
        topic: what is heard.
    """
    with (
        serving(config or small_config(**sections), backbone) as service,
        Screen(service, topic) as screen,
        Camera(service.endpoints["frames"]) as camera,
    ):
        yield service, screen, camera


class Held:
    """The real backbone behind a gate: what a queue does when frames come faster than they are scored."""

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone
        self._gate = threading.Event()
        self.prepared = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def prepare(self, frame: np.ndarray) -> Any:
        self.prepared += 1
        return self._backbone.prepare(frame)

    def extract(self, inputs: Any) -> Any:
        assert self._gate.wait(PATIENCE_S)
        return self._backbone.extract(inputs)

    def release(self) -> None:
        """Open the gate."""
        self._gate.set()

    def fill(self, camera: "Camera", **more: Any) -> list[str]:
        """Send as many frames as the pipeline holds (with `transport.batch: 1`); their ids, once it does.

        One waits for the gate, one for the backbone, and one for room behind that: from here on nothing
        leaves the queue until the gate opens.
        """
        for seed in range(3):
            camera.picture(seed, **more)
        until(lambda: self.prepared == 3)
        return [f"{more.get('stream', 'line')}-{seed}" for seed in range(3)]


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame with some structure, another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def header(frame_id: Any, stream: str = "line", seq: int = 0, **more: Any) -> dict[str, Any]:
    """A PNG frame's header, as docs/wire.md#frames writes it."""
    fields = {
        "v": 1,
        "kind": "frame",
        "stream": stream,
        "frame_id": frame_id,
        "seq": seq,
        "capture_ns": time.time_ns(),
        "encoding": "png",
        "meta": {},
    }
    return {**fields, **more}


def png(frame: np.ndarray) -> bytes:
    return cv2.imencode(".png", frame)[1].tobytes()


class Camera:
    """A publisher of bare pyzmq and msgpack."""

    def __init__(self, endpoint: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUSH)
        self.socket.setsockopt(zmq.LINGER, 10_000)
        self.socket.setsockopt(zmq.SNDTIMEO, PATIENCE_MS)
        self.socket.connect(endpoint)

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()

    def send(self, fields: dict[str, Any], payload: bytes) -> None:
        self.socket.send_multipart([msgpack.packb(fields), payload])

    def picture(self, seed: int, stream: str = "line", **more: Any) -> None:
        fields = {**header(f"{stream}-{seed}", stream, seed), **more}
        self.send(fields, png(picture(seed)))

    def all_offered(self, service: Service) -> None:
        """Wait until what was sent so far is queued or dropped: a message behind it has been refused.

        The ledger counts a frame as received before it is queued, so they alone do not tell.
        """
        before = refused(service)
        self.send({}, b"")
        until(lambda: refused(service) > before)


class Screen:
    """A subscriber of bare pyzmq and msgpack, connected for certain before anything is sent."""

    def __init__(self, service: Service, topic: str = "") -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        self.socket.connect(service.endpoints["scores"])
        self.socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        self._prove()

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()

    def next(self) -> tuple[str, dict[str, Any], bytes | None]:
        parts = self.socket.recv_multipart()
        return parts[0].decode(), msgpack.unpackb(parts[1]), parts[2] if len(parts) == 3 else None

    def until(self, count: int, *kinds: str) -> list[dict[str, Any]]:
        """The headers of the next `count` messages of these kinds; what comes between is passed over."""
        found: list[dict[str, Any]] = []
        end = time.monotonic() + PATIENCE_S
        while len(found) < count:
            fields = self.next()[1]
            if fields["kind"] in kinds:
                found.append(fields)
                end = time.monotonic() + PATIENCE_S
            # Heartbeats go on coming, whatever else does not.
            assert time.monotonic() < end, f"{len(found)} of {count} came of {', '.join(kinds)}"
        return found

    def _prove(self) -> None:
        # A PUB socket drops what it sends before a subscription arrives: wait for a heartbeat.
        self.socket.setsockopt_string(zmq.SUBSCRIBE, "-/status")
        while self.next()[0] != "-/status":
            pass


def control(service: Service, kind: str, **fields: Any) -> dict[str, Any]:
    return ask({"kind": kind, **fields}, service.endpoints["control"], timeout_s=PATIENCE_MS / 1000)


def refused(service: Service) -> int:
    """Messages that belong to no stream, and were refused."""
    return int(sum(service.ledger.streams().get(NO_STREAM, {"refused": {}})["refused"].values()))


def identity_holds(status: dict[str, Any]) -> bool:
    settled = status["scored"] + sum(status["dropped"].values()) + sum(status["refused"].values())
    return bool(status["received"] == settled + status["queued"] and status["queued"] >= 0)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread will do; what orders the two is the condition itself."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started do not fight for the cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@contextmanager
def server_process(folder: Path, **sections: Any) -> Iterator[ServerProcess]:
    """A real server in a process of its own; what its log holds must be no traceback."""
    with ServerProcess(folder, settings(**sections)) as server:
        yield server
    assert "Traceback" not in server.log


def scrape(service):
    # Not by way of a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{service.endpoints['metrics']}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
