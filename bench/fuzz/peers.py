"""Peers that pin memory: each attack on connections of its own, and what it cost the server and others."""

import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zmq

from bench.fuzz.ports import Regulars
from bench.load.watch import Watch
from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.process import ANY_PORT, ServerProcess

_MIB = 2**20
_PAYLOAD_MIB, _QUEUES_MIB = 4, 32
_HOLDERS = 4
_BOUND_MIB = (_HOLDERS + 2) * _QUEUES_MIB
# What the connections that hold frames may pin, `limits.queue_bytes` each, the queues, and as much again.
_WARM = 60
_LOOK_S = 0.02
_HELD_S = 3.0
# An attack's connections stay open so long after its last word.
_ASK_S = 120.0
_QUICK_S = 3.0

Endpoints = Mapping[str, str]
Attack = Callable[[Endpoints, ExitStack], None]


def attack(folder: Path) -> dict[str, Any]:
    """Attack one server with each of `_ATTACKS`, two good cameras beside them.

    Raises:
        ServerError: the server does not come up, or is down before the end.
        StreamerError: it does not answer.
    """
    figures: dict[str, Any] = {}
    checks: dict[str, bool] = {}
    with ServerProcess(folder, _settings(folder)) as server:
        watch = Watch(server.endpoints["scores"], Regulars.PREFIX)
        watch.start()
        watch.wait_up(_ASK_S)
        with Regulars(server.endpoints, 0) as regulars:
            for _ in range(_WARM):
                regulars.send()
            regulars.flush()
            pid, threads, before = server.pid, _threads(server), server.rss()
            for name, made in _ATTACKS.items():
                figures[name] = found = _under(server, regulars, made, before)
                checks[f"{name}: less than {_BOUND_MIB} MiB"] = found["above_mib"] < _BOUND_MIB
                checks[f"{name}: answers within {_QUICK_S:g} s"] = found["answer_s"] < _QUICK_S
            checks["no thread came with a connection"] = _threads(server) <= threads
        watch.stop()
        watch.fetch(server.endpoints["control"], regulars.streams)
        checks["the server stayed up"] = server.pid == pid
        checks["it ended in order"] = server.terminate() == 0
        checks["it blamed nothing on itself"] = "Traceback" not in server.log
    counts = [watch.scored(stream) for stream in regulars.streams]
    figures["good"] = regulars.sent
    figures["good_scored"] = sum(map(len, counts))
    checks["every good frame was scored, once"] = figures["good_scored"] == regulars.sent and all(
        times == 1 for count in counts for times in count.values()
    )
    return {**figures, "checks": checks}


def _under(server: ServerProcess, regulars: Regulars, made: Attack, before: int) -> dict[str, float]:
    """The most memory meanwhile beyond that before all attacks, and the slowest answer.

    Memory that one attack made the server take is there for the next one, so that all are held to one bound.
    """
    slowest = 0.0
    with _peak(server) as peak, ExitStack() as held:
        made(server.endpoints, held)
        end = time.monotonic() + _HELD_S
        while time.monotonic() < end:
            slowest = max(slowest, _answer_s(server.endpoints))
            time.sleep(_LOOK_S)
        regulars.send()
        regulars.flush()
    return {"above_mib": round((max(peak) - before) / _MIB, 1), "answer_s": round(slowest, 2)}


@contextmanager
def _peak(server: ServerProcess) -> Iterator[list[int]]:
    sizes, over = [server.rss()], threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            sizes.append(server.rss())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield sizes
    finally:
        over.set()
        watcher.join()


def _answer_s(endpoints: Endpoints) -> float:
    """Seconds that an honest status request and an honest scrape take, the slower of them."""
    began = time.monotonic()
    ask({"kind": "status"}, endpoints["control"], timeout_s=_ASK_S)
    asked = time.monotonic()
    # Not by way of a proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"http://{endpoints['metrics']}/metrics", timeout=_ASK_S).read()
    except OSError as error:
        raise StreamerError(f"metrics: no answer ({error})") from None
    return max(asked - began, time.monotonic() - asked)


def _threads(server: ServerProcess) -> int:
    return len(list(Path(f"/proc/{server.pid}/task").iterdir()))


def _peer(held: ExitStack, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
    """A connection that reads nothing by itself."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    held.callback(context.destroy, 0)
    made = context.socket(kind)
    made.rcvhwm, made.sndhwm, made.linger = 1, 0, 0
    made.connect(endpoint)
    return made


def _answers(endpoints: Endpoints, held: ExitStack) -> None:
    peer = _peer(held, zmq.DEALER, endpoints["control"])
    for _ in range(200):
        request = {"kind": "history", "topic": f"{Regulars.PREFIX}plain/score"}
        peer.send_multipart([b"", msgpack.packb(request)])


def _waiting(endpoints: Endpoints, held: ExitStack) -> None:
    for _ in range(16):
        peer = _peer(held, zmq.DEALER, endpoints["control"])
        for _ in range(50):
            peer.send_multipart([b"", msgpack.packb({"kind": "flush", "who": "x" * 60_000})])


def _subscriptions(endpoints: Endpoints, held: ExitStack) -> None:
    rng = np.random.default_rng(0)
    for _ in range(2):
        peer = _peer(held, zmq.XSUB, endpoints["scores"])
        for _ in range(100_000):
            peer.send(b"\x01" + rng.bytes(40))


def _acks(endpoints: Endpoints, held: ExitStack) -> None:
    peer = _peer(held, zmq.DEALER, endpoints["reliable"])
    for number in range(5_000):
        peer.send_multipart([msgpack.packb({"v": 1, "stream": "fuzz", "frame_id": number}), b"no picture"])


def _frames(endpoints: Endpoints, held: ExitStack) -> None:
    """Frames that are taken one after the other, faster than they are scored, on several connections."""
    side = 1180
    payload = bytes(side * side * 3)
    for holder in range(_HOLDERS):
        peer = _peer(held, zmq.PUSH, endpoints["frames"])
        for number in range(20):
            header = {"v": 1, "kind": "frame", "stream": f"fuzz-{holder}", "frame_id": number}
            more = {"encoding": "raw", "shape": [side, side, 3], "dtype": "uint8"}
            peer.send_multipart([msgpack.packb({**header, **more}), payload], copy=False)


def _parts(endpoints: Endpoints, held: ExitStack) -> None:
    peer = _peer(held, zmq.PUSH, endpoints["frames"])
    for _ in range(1_000_000):
        peer.send(b"", zmq.SNDMORE)
    peer.send(b"")


def _silent(endpoints: Endpoints, held: ExitStack) -> None:
    for name, endpoint in endpoints.items():
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        for number in range(200):
            made = held.enter_context(socket.create_connection((host, int(port)), _ASK_S))
            if name == "metrics" and number % 2:
                made.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")


_ATTACKS: dict[str, Attack] = {
    "silent_connections": _silent,
    "acks_unread": _acks,
    "subscriptions": _subscriptions,
    "answers_unread": _answers,
    "requests_waiting": _waiting,
    "frames_held_back": _frames,
    "million_parts": _parts,
}


def _settings(folder: Path) -> dict[str, Any]:
    return {
        "backbone": {"image_size": 56},
        "ring": {"capacity": 16, "matcher": "faiss"},
        "revise": {"every": 50, "window": 16},
        "warmup": 4,
        # Large maps: a history of which every page is full.
        "output": {"map_size": 448},
        "transport": {
            **dict.fromkeys(("frames", "scores", "control", "reliable"), ANY_PORT),
            "when_full": "block",
            "queue": 16,
            "map_encoding": "float32",
        },
        "limits": {"payload_bytes": f"{_PAYLOAD_MIB}MiB", "queue_bytes": f"{_QUEUES_MIB}MiB"},
        "history": {"path": str(folder / "history.sqlite")},
        "metrics": {"endpoint": "127.0.0.1:0"},
    }
