"""kill -9 of a part of a detector under load, and how long its streams stood still for it."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from bench.load.camera import Camera
from bench.load.nodes import Nodes
from bench.load.victims import Engine, Victim, chosen, replaced
from streamer.ask import ask
from streamer.errors import StreamerError
from streamer.process import ServerError

_LOOK_S, _STATUS_S, _ASK_S = 0.005, 0.05, 5.0


class Server(Protocol):
    """The detector's process, as far as it is killed."""

    def kill(self) -> None: ...  # noqa: D102
    def start(self) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        victim: what was killed.
        without_ack_s: the longest time from one ack of a stream to its next, of the streams that needed the
            victim, from the kill until it was replaced and each of them had an ack again.
        recoveries_s: the server's own figures since the kill before: from a death noticed to a first reply.
        recovered: False if `patience_s` was over before.
    """

    victim: Victim
    without_ack_s: float
    recoveries_s: list[float]
    recovered: bool


class Silence(threading.Thread):
    """Watches acks from the kill on, a look every 5 ms, until it is stopped."""

    def __init__(self, cameras: Sequence[Camera]) -> None:
        super().__init__(name="silence", daemon=True)
        self._cameras, began = cameras, time.monotonic()
        self._seen = [camera.acknowledged for camera in cameras]
        self._since = [began] * len(cameras)
        self._longest = [0.0] * len(cameras)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Look until stopped."""
        while not self._stopping.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        for number, camera in enumerate(self._cameras):
            count = camera.acknowledged
            if count != self._seen[number]:
                self._longest[number] = max(self._longest[number], now - self._since[number])
                self._seen[number], self._since[number] = count, now

    def stop(self) -> float:
        """The longest time without an ack of any of the cameras, so far."""
        self._stopping.set()
        self.join()
        self._look()
        return max(self._longest, default=0.0)


class Killer:
    """Kills one part after another of a server, each once the one before is replaced.

    Args:
        server: the detector's process.
        nodes: the cluster, where its nodes are killed.
        cameras: that send meanwhile.
        control: the detector's.
        patience_s: how long one may take to be replaced.
    """

    def __init__(
        self, server: Server, nodes: Nodes | None, cameras: Sequence[Camera], control: str, patience_s: float
    ) -> None:
        self._server, self._nodes, self._cameras = server, nodes, cameras
        self._control, self._patience_s = control, patience_s
        self._turns: dict[str, int] = {}
        self._told = 0
        """Recoveries that the status has told and that were counted."""

    def kill(self, kind: str) -> Kill:
        """Kill one of a kind, and wait until it is replaced and every stream has acks again.

        Raises:
            ServerError: the status names none of its kind, or the server does not come up again.
        """
        victim = self._victim(kind)
        needed = [one for one in self._cameras if victim.stream in {None, one.stream} and not one.done]
        silence = Silence(needed)
        silence.start()
        lost = self._strike(victim)
        recovered = self._recovered(victim, needed)
        without_ack_s = silence.stop()
        if lost is not None and self._nodes is not None:  # so that the next to be killed is not the last
            self._nodes.start(lost)
        return Kill(victim, without_ack_s, self.recoveries(), recovered)

    def recoveries(self) -> list[float]:
        """The server's own figures that were not given before, seconds; of its last 1,000."""
        found = [float(value) for value in self._engine().get("recoveries_s", ())]
        fresh, self._told = found[self._told :], len(found)
        return fresh

    def _victim(self, kind: str) -> Victim:
        turn = self._turns.get(kind, 0)
        self._turns[kind] = turn + 1
        deadline = time.monotonic() + self._patience_s
        while True:
            streams = [camera.stream for camera in self._cameras if not camera.done]
            victim = chosen(kind, turn, self._engine(), streams)
            if victim is not None:
                return victim
            if time.monotonic() > deadline or not streams:
                raise ServerError(f"--kill-{kind}: the detector's status names none; is engine.name ray?")
            time.sleep(_STATUS_S)

    def _strike(self, victim: Victim) -> str | None:
        """Kill it; the address of a node that is lost with it."""
        if victim.kind == "gate":
            self._server.kill()
            self._told = 0
            self._server.start()
        elif victim.kind == "node":
            if self._nodes is None:
                raise ServerError("--kill-node: needs a cluster of its own (no --connect)")
            nodes = self._engine().get("nodes", [])
            address = str(next(node["address"] for node in nodes if node["id"] == victim.node))
            self._nodes.kill(address)
            return address
        elif victim.pid is not None:
            with suppress(ProcessLookupError):  # it died of something else just now: that counts as well
                os.kill(victim.pid, signal.SIGKILL)
        return None

    def _recovered(self, victim: Victim, needed: Sequence[Camera]) -> bool:
        deadline = time.monotonic() + self._patience_s
        while not replaced(victim, self._engine()):
            if time.monotonic() > deadline:
                return False
            time.sleep(_STATUS_S)
        before = [camera.acknowledged for camera in needed]
        while any(
            camera.acknowledged == count and not camera.done
            for camera, count in zip(needed, before, strict=True)
        ):
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        return True

    def _engine(self) -> Engine:
        with suppress(StreamerError):
            found: Engine = ask({"kind": "status"}, self._control, timeout_s=_ASK_S).get("engine", {})
            return found
        return {}
