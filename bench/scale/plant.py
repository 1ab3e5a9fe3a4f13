"""What is simulated: costs of a frame, measured or assumed, and machines with cameras."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from musc_online.errors import DataError

_BITS = 8
_GIGA = 1e9


@dataclass(frozen=True)
class Costs:
    """What one frame costs, as `musc-online speed --engine ray` measures it.

    Attributes:
        gate_ms: processor time of the gate, one thread at a time: receive, account, hand on, publish, ack.
        decode_ms: a core of the backbone's machine: decode and prepare.
        line_ms: a core of the line's machine: match, average, verdict, what there is to publish.
        frame_bytes: a frame as its camera sends it.
        tokens_bytes: what a backbone makes of it, and a line gets.
        score_bytes: a score with its map, as published.
        recovery_s: from the loss of an actor to the first reply of the next.
    """

    gate_ms: float
    decode_ms: float
    line_ms: float
    frame_bytes: float
    tokens_bytes: float
    score_bytes: float
    recovery_s: float

    @classmethod
    def read(cls, path: Path) -> Self:
        """The costs in a file of measurements.

        Raises:
            DataError: it cannot be read, or a cost is missing or no positive number.
        """
        expected = f"{path}: expected the --json of `musc-online speed --engine ray`"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["engine"]["costs"]
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{expected}, with `engine.costs`") from None
        return cls(**{field.name: _positive(found, field.name, expected) for field in fields(cls)})


def _positive(found: Mapping[str, object], name: str, expected: str) -> float:
    value = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(f"{expected}; engine.costs.{name} is {value!r}, expected a number above 0")
    return float(value)


@dataclass(frozen=True)
class Plant:
    """Cameras, and the machines that score their frames.

    Attributes:
        cameras: streams, each of `fps` frames a second.
        gpus: each runs a backbone; `gpus_per_node` of them share a machine with its cores and its network.
        gpu_ms: of a frame in a full batch on one GPU; assumed, for no GPU was measured.
        gpu_batch_ms: of a batch beside its frames; assumed.
        gates: detectors, on machines of their own, that share the cameras and the cluster.
        cores: of each node; decoders and lines share them.
        gate_gbit, node_gbit: network of a gate's machine and of a node's, Gbit/s in each direction.
        subscribers: who hear all scores of a gate.
        batch: `transport.batch`; a backbone has twice as many frames at most.
        queue: `transport.queue`, frames of a stream that wait; more drop the oldest.
    """

    cameras: int
    gpus: int
    fps: float = 2.0
    gpu_ms: float = 5.0
    gpu_batch_ms: float = 2.0
    gates: int = 1
    gpus_per_node: int = 4
    cores: int = 32
    gate_gbit: float = 10.0
    node_gbit: float = 10.0
    subscribers: int = 2
    batch: int = 4
    queue: int = 64

    @property
    def nodes(self) -> int:
        """Machines with GPUs."""
        return math.ceil(self.gpus / self.gpus_per_node)

    @property
    def offered(self) -> float:
        """Frames a second of all cameras."""
        return self.cameras * self.fps

    def limits(self, costs: Costs) -> dict[str, float]:
        """Frames a second that each part can carry at most, by its name; the least of them is the plant's."""
        n_nodes, gates = self.nodes, self.gates
        elsewhere = (n_nodes - 1) / n_nodes
        gate_bytes, node_bytes = (_GIGA * gbit / _BITS for gbit in (self.gate_gbit, self.node_gbit))
        out = costs.frame_bytes + self.subscribers * costs.score_bytes
        a_batch_ms = self.batch * self.gpu_ms + self.gpu_batch_ms
        return {
            "gate": gates * 1e3 / costs.gate_ms,
            "network into gate": gates * gate_bytes / (costs.frame_bytes + costs.score_bytes),
            "network out of gate": gates * gate_bytes / out,
            "of that PUB": gates * gate_bytes / (self.subscribers * costs.score_bytes or math.inf),
            "GPUs": self.gpus * self.batch * 1e3 / a_batch_ms,
            "cores": n_nodes * self.cores * 1e3 / (costs.decode_ms + costs.line_ms),
            "network into node": n_nodes * node_bytes / (costs.frame_bytes + elsewhere * costs.tokens_bytes),
            "network out of node": n_nodes
            * node_bytes
            / (elsewhere * costs.tokens_bytes + costs.score_bytes),
            "lines": self.cameras * 1e3 / costs.line_ms,
        }
