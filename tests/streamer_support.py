"""What the service's tests share: a small configuration, a running service, a bare camera and screen."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
import yaml
import zmq

from musc_online import backbones
from musc_online.config import Config, load
from musc_online.errors import WeightsError
from streamer.control import ask
from streamer.service import Service

ANY_PORT = "tcp://127.0.0.1:*"
PATIENCE_MS = 60_000
IMAGE_SIZE = 56


def settings(**sections: Any) -> dict[str, Any]:
    """Free ports, a small image, a small ring; sections are merged over these."""
    values: dict[str, Any] = {
        "backbone": {"image_size": IMAGE_SIZE, "device": "cpu"},
        "ring": {"capacity": 12, "matcher": "faiss"},
        "revise": {"every": 100, "window": 12},
        "warmup": 2,
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


@pytest.fixture(scope="session")
def backbone() -> backbones.Backbone:
    """The real DINOv2 ViT-S/14 at a small size."""
    try:
        return backbones.load("dinov2_vits14", "auto", IMAGE_SIZE, (2, 5, 8, 11), "cpu", "float32")
    except WeightsError as error:
        pytest.skip(f"no weights on this machine: {error}")


@contextmanager
def serving(config: Config, backbone: Any) -> Iterator[Service]:
    """A service in this process, stopped in the orderly way at the end."""
    service = Service(config, backbone)
    service.start()
    try:
        yield service
    finally:
        getattr(backbone, "release", lambda: None)()
        service.stop()


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame with some structure, another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def header(frame_id: Any, stream: str = "line", seq: int = 0, **more: Any) -> dict[str, Any]:
    """A PNG frame's header, as DESIGN section 6 writes it."""
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
        """The headers of the next `count` messages of these kinds."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            fields = self.next()[1]
            if fields["kind"] in kinds:
                found.append(fields)
        return found

    def _prove(self) -> None:
        # A PUB socket drops what it sends before a subscription arrives: wait for a heartbeat.
        self.socket.setsockopt_string(zmq.SUBSCRIBE, "-/status")
        while self.next()[0] != "-/status":
            pass


def control(service: Service, kind: str, **fields: Any) -> dict[str, Any]:
    return ask({"kind": kind, **fields}, service.endpoints["control"], timeout_s=PATIENCE_MS / 1000)


def identity_holds(status: dict[str, Any]) -> bool:
    settled = status["scored"] + sum(status["dropped"].values()) + sum(status["refused"].values())
    return bool(status["received"] == settled + status["queued"])


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_MS / 1000
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def start_process(tmp_path: Path, **sections):
    """A real server process; its endpoints once it is up."""
    config, ready = tmp_path / "config.yaml", tmp_path / "ready.json"
    config.write_text(yaml.safe_dump(settings(**sections)))
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "streamer.serve", "--config", str(config), "--ready-file", str(ready)]
    with (tmp_path / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    until(lambda: ready.exists() or process.poll() is not None)
    if not ready.exists():
        raise AssertionError((tmp_path / "log.txt").read_text())
    return process, json.loads(ready.read_text())["endpoints"]
