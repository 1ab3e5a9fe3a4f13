"""Attack `pictures`: how long another stream's frame, and an orderly stop, wait beside a costly picture."""

import time
from pathlib import Path
from typing import Any

import zmq

from bench.fuzz.costly import PICTURES, few_scans
from bench.load.publisher import pictures
from streamer import images
from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.process import ANY_PORT, ServerProcess
from streamer.subscribe import Subscriber
from streamer.wire.codes import WARNINGS
from streamer.wire.frame import FrameMessage, pack_frame

_MOST_WAIT_S = 3.0
_MOST_STOP_S = 10.0
_PATIENCE_S = 300.0
_CROWD, _CROWD_EACH, _CROWD_DECODE_S = 6, 3, 0.5
_ROUNDS = 60
_STOPPED_BESIDE = ("progressive", "few_scans", "markers", "huge_jpeg", "huge_png", "half_jpeg")
"""One of each kind: a server is started for each."""


def attack(folder: Path) -> dict[str, Any]:
    """Every costly picture from one stream, and a good frame of another right behind it on one connection.

    Raises:
        ServerError: the server does not come up, or is down before the end.
        StreamerError: it does not answer.
    """
    made = {name: _kept(folder / name, make()) for name, make in PICTURES.items()}
    waits, codes = beside_each(folder, made)
    stops = {name: stop_beside(folder, made[name]) for name in _STOPPED_BESIDE}
    crowd = _beside_many(folder)
    return {
        "waits_s": waits,
        "refused": codes,
        "stops_s": {name: seconds for name, (seconds, _) in stops.items()},
        "longest_wait_s": max(waits.values()),
        "longest_stop_s": max(seconds for seconds, _ in stops.values()),
        "longest_wait_beside_many_s": crowd,
        "checks": {
            f"another stream's frame waits less than {_MOST_WAIT_S:g} s beside each": max(waits.values())
            < _MOST_WAIT_S,
            f"SIGTERM ends in order in less than {_MOST_STOP_S:g} s beside one of each kind": all(
                status == 0 and seconds < _MOST_STOP_S for seconds, status in stops.values()
            ),
            f"it waits less than {_MOST_WAIT_S:g} s beside {_CROWD} streams of nothing else": crowd
            < _MOST_WAIT_S,
        },
    }


def beside_each(folder: Path, made: dict[str, Path]) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds that a good frame waits for its score behind each picture; what each picture was told.

    Raises:
        ServerError, StreamerError: as `attack`.
    """
    waits, codes = {}, {}
    with ServerProcess(folder, _settings()) as server, _Peers(server) as peers:
        peers.wait_for_good()
        for name, path in made.items():
            peers.send(name, path.read_bytes())
            waits[name] = round(peers.wait_for_good(), 3)
            codes[name] = peers.outcome_of(name)
    return waits, codes


def stop_beside(folder: Path, path: Path) -> tuple[float, int]:
    """Seconds from SIGTERM to the end of a server that has just taken a picture, and its exit status.

    Raises:
        ServerError, StreamerError: as `attack`.
    """
    with ServerProcess(folder, _settings()) as server, _Peers(server) as peers:
        peers.send("hostile", path.read_bytes())
        while not ask({"kind": "status"}, server.endpoints["control"], timeout_s=_PATIENCE_S)["received"]:
            time.sleep(0.01)
        began = time.monotonic()
        status = server.terminate()
        return round(time.monotonic() - began, 3), status


def _beside_many(folder: Path) -> float:
    """The longest wait of a good stream while others send nothing but pictures that are given up."""
    payload = few_scans()
    with ServerProcess(folder, _settings(decode_s=_CROWD_DECODE_S)) as server, _Peers(server) as peers:
        peers.wait_for_good()
        for _ in range(_CROWD_EACH):
            for number in range(_CROWD):
                peers.send(f"hostile-{number}", payload)
        return round(max(peers.wait_for_good() for _ in range(_ROUNDS)), 3)


class _Peers:
    """A connection that good and costly frames share, and one who hears what is published."""

    def __init__(self, server: ServerProcess) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.linger, self._socket.sndtimeo = 0, int(_PATIENCE_S * 1000)
        self._socket.connect(server.endpoints["frames"])
        self._heard = Subscriber(server.endpoints["scores"], timeout_s=_PATIENCE_S, wait_s=30.0, queue=0)
        self._good = pictures(64, 0, 8)
        self._sent = 0
        self._told: dict[str, str] = {}

    def __enter__(self) -> "_Peers":
        # What is published before the subscription arrives is lost: wait for a heartbeat.
        self._next()
        return self

    def __exit__(self, *_: object) -> None:
        self._heard.close()
        self._context.destroy(linger=0)

    def send(self, stream: str, payload: bytes) -> None:
        """A frame of that stream."""
        self._sent += 1
        encoding = images.sniff(payload) or "jpeg"
        message = FrameMessage(stream, self._sent, encoding, payload, capture_ns=time.time_ns())
        self._socket.send_multipart(pack_frame(message))

    def wait_for_good(self) -> float:
        """Send a good frame; seconds until its score is here."""
        began = time.monotonic()
        self.send("good", self._good[self._sent % len(self._good)])
        wanted = self._sent
        while True:
            kind, stream, frame_id = self._next()
            if (kind, stream, frame_id) == ("score", "good", wanted):
                return time.monotonic() - began

    def outcome_of(self, stream: str) -> str:
        """What became of a stream's frame: the code it was refused with, or `scored`."""
        while stream not in self._told:
            self._next()
        return self._told[stream]

    def _next(self) -> tuple[str, str, Any]:
        message = self._heard.receive()
        if message is None:
            raise StreamerError(f"scores: nothing within {_PATIENCE_S:g} s")
        stream, kind = str(message.get("stream")), message.kind
        warned = message.get("code") in WARNINGS  # the frame is used all the same
        if kind in ("score", "error") and not warned:
            self._told[stream] = "scored" if kind == "score" else str(message["code"])
        return kind, stream, message.get("frame_id")


def _kept(path: Path, payload: bytes) -> Path:
    path.write_bytes(payload)
    return path


def _settings(**limits: Any) -> dict[str, Any]:
    return {
        "backbone": {"image_size": 56},
        "ring": {"capacity": 16, "matcher": "faiss"},
        "revise": {"every": 50, "window": 16},
        "warmup": 4,
        "limits": {"streams": 32, **limits},
        "transport": {
            **dict.fromkeys(("frames", "scores", "control"), ANY_PORT),
            "when_full": "block",
            "heartbeat_s": 0.5,
        },
    }
