"""A plant, event by event: each frame from its camera through gate, backbone and line to the subscribers."""

import heapq
import random
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from bench.scale.plant import Costs, Plant

_WARM_S = 2.0
"""Until the first pictures of all cameras are through; not counted."""
_LAST_S = 1.0
Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Outcome:
    """What came of a simulated stretch of time.

    Attributes:
        captured, scored, dropped: frames that were taken in that time, but for its last second; of them.
        latency_s: [N] float64 of those scored, from capture to the last subscriber, by capture.
        captured_s: [N] float64, when.
        busy: share of its time that each part was busy, by the names of `Plant.limits`.
    """

    captured: int
    scored: int
    dropped: int
    latency_s: Any
    captured_s: Any
    busy: dict[str, float]

    @property
    def bottleneck(self) -> str:
        """The part with the least to spare."""
        return max(self.busy, key=lambda name: self.busy[name])

    def in_time(self, limit_s: float) -> float:
        """Share of the frames that were scored and heard within `limit_s`, which is 1 s at most."""
        return float((self.latency_s <= limit_s).sum() / self.captured) if self.captured else 0.0

    def latency_ms(self, percent: float) -> float:
        """A percentile of the latencies; NaN if nothing was scored."""
        return float(1e3 * np.percentile(self.latency_s, percent)) if len(self.latency_s) else float("nan")


class Server:
    """`count` alike servers with one queue, in order: a processor, a link, a machine's cores."""

    def __init__(self, env: simpy.Environment, count: int = 1) -> None:
        self._env, self._free = env, [0.0] * count
        self.busy_s = 0.0

    def serve(self, seconds: float, after: float = 0.0) -> float:
        """Take a place in the queue now; when it is over, and not begun before `after`."""
        begins = max(self._env.now, after, heapq.heappop(self._free))
        heapq.heappush(self._free, begins + seconds)
        if self._env.now >= _WARM_S:
            self.busy_s += seconds
        return float(begins + seconds)

    def share(self, seconds: float) -> float:
        """How much of `seconds` it was busy; 1 too where more was asked of it."""
        return min(1.0, self.busy_s / (seconds * len(self._free)))


@dataclass(eq=False)
class _Frame:
    camera: int
    captured: float
    is_dropped: bool = False


@dataclass(eq=False)
class _Gpu:
    """A backbone: what it has, and what is decoded and waits for its next batch."""

    node: int
    held: set[_Frame] = field(default_factory=set)
    ready: deque[_Frame] = field(default_factory=deque)
    waked: simpy.Event | None = None


class Simulation:
    """One run; `run` gives what came of it.

    Args:
        plant: the machines and cameras.
        costs: of a frame.
        seconds: simulated, after two that are not counted.
        lose_node_at: when a node is lost, its GPUs for good, its lines until they are made anew elsewhere;
            seconds from the beginning of what is counted; None for never.
        seed: of the cameras' phases, and of which line is on which node.
    """

    def __init__(
        self, plant: Plant, costs: Costs, seconds: float, *, lose_node_at: float | None = None, seed: int = 0
    ) -> None:
        self._plant, self._costs, self._seconds = plant, costs, seconds
        self._env = env = simpy.Environment()
        self._random = random.Random(seed)  # noqa: S311
        nodes = range(plant.nodes)
        self._gates = [Server(env) for _ in range(plant.gates)]
        self._gate_in, self._gate_out = ([Server(env) for _ in self._gates] for _ in range(2))
        self._node_in, self._node_out = ([Server(env) for _ in nodes] for _ in range(2))
        self._cores = [Server(env, plant.cores) for _ in nodes]
        self._gpus = [_Gpu(number // plant.gpus_per_node) for number in range(plant.gpus)]
        self._lines = [Server(env) for _ in range(plant.cameras)]
        self._at = [camera % plant.nodes for camera in range(plant.cameras)]
        self._line_up = [0.0] * plant.cameras
        self._waiting: list[deque[_Frame]] = [deque() for _ in range(plant.cameras)]
        self._turn: deque[_Frame] = deque()
        self._gpu_busy_s, self._pub_busy_s = 0.0, 0.0
        self._done: list[tuple[float, float]] = []
        self._captured = self._dropped = 0
        if lose_node_at is not None:
            env.process(self._lose(_WARM_S + lose_node_at))

    def run(self) -> Outcome:
        """Simulate it."""
        for camera in range(self._plant.cameras):
            self._env.process(self._camera(camera))
        for gpu in self._gpus:
            self._env.process(self._gpu(gpu))
        self._env.run(until=_WARM_S + self._seconds)
        done = np.array(sorted(self._done), np.float64).reshape(-1, 2)
        captured, latency_s = done[:, 0] - _WARM_S, done[:, 1]
        return Outcome(self._captured, len(done), self._dropped, latency_s, captured, self._busy())

    def _counts(self, frame: _Frame) -> bool:
        """Whether it was taken in what is counted: early enough to be scored before the end."""
        return _WARM_S <= frame.captured < _WARM_S + self._seconds - _LAST_S

    def _busy(self) -> dict[str, float]:
        def most(servers: list[Server]) -> float:
            return max((server.share(self._seconds) for server in servers), default=0.0)

        return {
            "gate": most(self._gates),
            "network into gate": most(self._gate_in),
            "network out of gate": most(self._gate_out),
            "of that PUB": min(1.0, self._pub_busy_s / self._seconds / len(self._gates)),
            "GPUs": min(1.0, self._gpu_busy_s / self._seconds / self._plant.gpus),
            "cores": most(self._cores),
            "network into node": most(self._node_in),
            "network out of node": most(self._node_out),
            "lines": most(self._lines),
        }

    def _until(self, moment: float) -> simpy.Event:
        return self._env.timeout(max(0.0, moment - self._env.now))

    def _sent(self, n_bytes: float, gbit: float) -> float:
        return 8 * n_bytes / (1e9 * gbit)

    def _camera(self, camera: int) -> Steps:
        yield self._env.timeout(self._random.random() / self._plant.fps)
        while True:
            frame = _Frame(camera, self._env.now)
            self._captured += self._counts(frame)
            self._env.process(self._arrive(frame))
            yield self._env.timeout(1 / self._plant.fps)

    def _arrive(self, frame: _Frame) -> Steps:
        """Through the gate into its stream's queue, whose oldest goes where it is full."""
        gate = frame.camera % len(self._gates)
        link_s = self._sent(self._costs.frame_bytes, self._plant.gate_gbit)
        yield self._until(self._gate_in[gate].serve(link_s))
        yield self._until(self._gates[gate].serve(self._costs.gate_ms / 2e3))
        waiting = self._waiting[frame.camera]
        if len(waiting) == self._plant.queue:
            oldest = waiting.popleft()
            oldest.is_dropped = True  # and passed over when its turn comes
            self._dropped += self._counts(oldest)
        waiting.append(frame)
        self._turn.append(frame)
        self._dispatch()

    def _dispatch(self) -> None:
        """Frames to the backbones that have room: the one with least gets the next."""
        while self._turn and self._gpus:
            if self._turn[0].is_dropped:
                self._turn.popleft()
                continue
            gpu = min(self._gpus, key=lambda one: len(one.held))
            if len(gpu.held) >= 2 * self._plant.batch:
                return
            frame = self._turn.popleft()
            self._waiting[frame.camera].popleft()  # a stream's frames are in order in both queues
            gpu.held.add(frame)
            self._env.process(self._decode(frame, gpu))

    def _decode(self, frame: _Frame, gpu: _Gpu) -> Steps:
        gate = frame.camera % len(self._gates)
        size = self._costs.frame_bytes
        yield self._until(self._gate_out[gate].serve(self._sent(size, self._plant.gate_gbit)))
        yield self._until(self._node_in[gpu.node].serve(self._sent(size, self._plant.node_gbit)))
        yield self._until(self._cores[gpu.node].serve(self._costs.decode_ms / 1e3))
        if frame in gpu.held:  # else its node is lost, and it was handed to another
            gpu.ready.append(frame)
            if gpu.waked is not None and not gpu.waked.triggered:
                gpu.waked.succeed()

    def _gpu(self, gpu: _Gpu) -> Steps:
        while True:
            if not gpu.ready:
                gpu.waked = self._env.event()
                yield gpu.waked
            batch = [gpu.ready.popleft() for _ in range(min(len(gpu.ready), self._plant.batch))]
            spent = (len(batch) * self._plant.gpu_ms + self._plant.gpu_batch_ms) / 1e3
            yield self._env.timeout(spent)
            if self._env.now >= _WARM_S:
                self._gpu_busy_s += spent
            for frame in batch:
                if frame in gpu.held:
                    gpu.held.remove(frame)
                    self._env.process(self._score(frame, gpu.node))
            self._dispatch()

    def _score(self, frame: _Frame, node: int) -> Steps:
        """Tokens to the line, its step, and the score to all subscribers."""
        costs, plant, camera = self._costs, self._plant, frame.camera
        gate = camera % len(self._gates)
        at = self._at[camera]
        if at != node:
            link_s = self._sent(costs.tokens_bytes, plant.node_gbit)
            yield self._until(self._node_out[node].serve(link_s))
            yield self._until(self._node_in[at].serve(link_s))
        step_s = costs.line_ms / 1e3
        yield self._until(self._lines[camera].serve(step_s, after=self._line_up[camera]) - step_s)
        yield self._until(self._cores[at].serve(step_s))
        yield self._until(self._node_out[at].serve(self._sent(costs.score_bytes, plant.node_gbit)))
        yield self._until(self._gate_in[gate].serve(self._sent(costs.score_bytes, plant.gate_gbit)))
        yield self._until(self._gates[gate].serve(costs.gate_ms / 2e3))
        heard_s = self._sent(plant.subscribers * costs.score_bytes, plant.gate_gbit)
        if self._env.now >= _WARM_S:
            self._pub_busy_s += heard_s
        yield self._until(self._gate_out[gate].serve(heard_s))
        if self._counts(frame):
            self._done.append((frame.captured, self._env.now - frame.captured))

    def _lose(self, moment: float) -> Steps:
        """A node's frames go to others, first of all; its lines come up elsewhere after `recovery_s`."""
        yield self._env.timeout(moment)
        lost = self._plant.nodes - 1
        gone = [gpu for gpu in self._gpus if gpu.node == lost]
        self._gpus = [gpu for gpu in self._gpus if gpu.node != lost]
        for camera, at in enumerate(self._at):
            if at == lost and lost > 0:
                self._at[camera] = camera % lost
                self._line_up[camera] = self._env.now + self._costs.recovery_s
        for gpu in gone:
            for frame in sorted(gpu.held, key=lambda one: (one.captured, one.camera), reverse=True):
                self._waiting[frame.camera].appendleft(frame)
                self._turn.appendleft(frame)
            gpu.held.clear()
        self._dispatch()
