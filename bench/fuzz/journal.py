"""`kill -9` again and again under a reliable sender: with a journal nobody can tell by the scores."""

import threading
import time
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from musc_online import journal
from streamer.ask import ask
from streamer.process import ANY_PORT, ServerProcess
from streamer.reliable import ReliablePublisher

_STREAM = "line"
_FRAMES_A_KILL = 5
_PATIENCE_S = 600.0
_RECORDS = 100
# What a message says of the time, or of its place among others, is of the run.
_OF_THE_RUN = ("pub_seq", "scored_ns", "latency_ms", "capture_ns", "seq")


def attack(folder: Path, kills: int = 20) -> dict[str, Any]:
    """The same frames with `kills` kills and without any, the ring flushed at the end.

    One frame at a time is on its way, so that both servers see the same order.
    """
    n_frames = _FRAMES_A_KILL * (kills + 1)
    undisturbed = _run(folder / "undisturbed", n_frames, 0)
    killed = _run(folder / "killed", n_frames, kills)
    ids = [f"f{number}" for number in range(n_frames)]
    said = {frame_id: killed["score"].get(frame_id, []) for frame_id in ids}
    return {
        "frames": n_frames,
        "kills": killed["kills"],
        "lost": sum(not found for found in said.values()),
        "scored_twice": sum(len(found) > 1 for found in said.values()),
        "replayed_at_the_last_start": killed["replayed"],
        "seconds": round(killed["seconds"], 1),
        **_cost(folder),
        "checks": {
            f"it was killed {kills} times": killed["kills"] == kills,
            "every frame was scored once": all(len(found) == 1 for found in said.values()),
            "scores and maps on arrival are those of a run without a kill, to the last bit": killed["score"]
            == undisturbed["score"],
            "so is what a flush says": killed["final"] == undisturbed["final"] != [],
            "the log has no traceback": "Traceback" not in killed["log"],
        },
    }


def _cost(folder: Path) -> dict[str, Any]:
    """What the journal costs a frame at the defaults: four stages of 16 x 16 patches, 384 channels."""
    rng = np.random.default_rng(0)
    arrays = {"tokens": rng.normal(size=(4, 256, 384)).astype(np.float32), "token": np.zeros(384, np.float32)}
    found: dict[str, Any] = {}
    for name, durable in (("ms_a_frame", False), ("ms_a_frame_durable", True)):
        writer, spent = journal.Writer(folder / f"{name}.journal", durable=durable), []
        for number in range(_RECORDS):
            began = time.perf_counter()
            writer.append({"kind": "frame", "frame_id": number}, arrays)
            spent.append(1e3 * (time.perf_counter() - began))
        found |= {"bytes_a_frame": writer.size // _RECORDS, name: round(float(np.median(spent)), 2)}
        writer.close()
    return found


def _run(folder: Path, n_frames: int, kills: int) -> dict[str, Any]:
    folder.mkdir()
    with ServerProcess(folder, _settings(folder)) as server:
        began = time.monotonic()
        sender = _Sender(server.endpoints["reliable"], n_frames)
        sender.start()
        chance, n_kills = np.random.default_rng(0), 0
        for number in range(kills):
            sender.wait_for((number + 1) * _FRAMES_A_KILL - int(chance.integers(_FRAMES_A_KILL)))
            time.sleep(chance.random() * 0.1)  # anywhere in the life of a frame, or of a snapshot
            server.kill()
            server.start()
            n_kills += 1
        sender.join()
        if sender.error is not None:
            raise sender.error
        control = server.endpoints["control"]
        flush = ask({"kind": "flush", "stream": _STREAM}, control, timeout_s=_PATIENCE_S)
        status = ask({"kind": "status"}, control, timeout_s=_PATIENCE_S)
        found = {
            "score": _by_frame(_said(control, "score")),
            "final": _flushed(control, f"f{n_frames - 1}", flush["flushed"]),
            "seconds": time.monotonic() - began,
            "replayed": status["snapshot"]["replayed"],
            "kills": n_kills,
        }
    return {**found, "log": server.log}


def _settings(folder: Path) -> dict[str, Any]:
    ports = dict.fromkeys(("frames", "scores", "control", "reliable"), ANY_PORT)
    return {
        "backbone": {"image_size": 56, "device": "cpu", "precision": "float32"},
        "ring": {"capacity": 12, "admit": "quarantine", "quarantine": 4},
        "revise": {"every": 3},
        "warmup": 2,
        "transport": {**ports, "batch": 1},
        "history": {"path": str(folder / "history.sqlite")},
        "snapshot": {"path": str(folder / "rings"), "every_s": 0.05, "journal": True},
    }


class _Sender(threading.Thread):
    """Sends the frames in order, each once the one before is acknowledged."""

    def __init__(self, endpoint: str, n_frames: int) -> None:
        super().__init__(name="sender", daemon=True)
        self.error: Exception | None = None
        self._endpoint, self._n_frames = endpoint, n_frames
        self._moved = threading.Condition()
        self._sent = 0

    def run(self) -> None:
        """Send them all."""
        rng = np.random.default_rng(0)
        try:
            with ReliablePublisher(
                self._endpoint, _STREAM, window=1, resend_s=0.3, wait_s=_PATIENCE_S
            ) as camera:
                for number in range(self._n_frames):
                    frame = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                    camera.send(frame, f"f{number}", {"part": number}, timeout_s=_PATIENCE_S)
                    with self._moved:
                        self._sent += 1
                        self._moved.notify_all()
                camera.flush(_PATIENCE_S)
        except Exception as error:
            self.error = error
            with self._moved:
                self._sent = self._n_frames
                self._moved.notify_all()

    def wait_for(self, number: int) -> None:
        """Wait until so many were sent."""
        with self._moved:
            self._moved.wait_for(lambda: self._sent >= number, _PATIENCE_S)


def _flushed(control: str, last: str, count: int) -> list[Any]:
    """What the flush said of the frames in the ring, once its word on the last one is out."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        said = _said(control, "revision")
        if (said and said[-1][0] == last and said[-1][1]["is_final"]) or time.monotonic() > end:
            return said[-count:]
        time.sleep(0.1)


def _by_frame(said: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for frame_id, *rest in said:
        found.setdefault(frame_id, []).append(rest)
    return found


def _said(control: str, kind: str) -> list[Any]:
    """Everything that was published, oldest first: frame, header without what is of the run, map."""
    said: list[Any] = []
    first, more = 0, True
    while more:
        request = {"kind": "history", "topic": f"{_STREAM}/{kind}", "first": first}
        answer = ask(request, control, timeout_s=_PATIENCE_S)
        more = answer["more"]
        for message in answer["messages"]:
            header = msgpack.unpackb(message["header"])
            kept = {name: value for name, value in header.items() if name not in _OF_THE_RUN}
            said.append((header["frame_id"], kept, message["map"]))
            first = message["pub_seq"] + 1
    return said
