"""What is asked of the simulation: how many cameras a plant carries, and what one node fewer costs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bench.scale.plant import Costs, Plant
from bench.scale.simulation import Outcome, Simulation

_IN_TIME = 0.999
_SHARES = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Of what its tightest part can carry; the first at which frames are in time is what the plant carries."""
_SWEPT = {"cameras", "gpus", "gates"}
_BUSY = 0.8
"""The share of its cameras with which a plant loses a node, and by which its latency is told."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What is simulated.

    Attributes:
        cameras, gpus: to go through.
        limit_s: a frame is in time if its score is heard so soon.
        seconds: simulated each time.
    """

    cameras: Sequence[int]
    gpus: Sequence[int]
    limit_s: float = 1.0
    seconds: float = 6.0


def simulate(plant: Plant, costs: Costs, asked: Asked, say: Say) -> dict[str, Any]:
    """All of it: a row a number of GPUs, and a row a number of cameras.

    Args:
        plant: everything but its cameras, GPUs and gates.
        costs: of a frame.
        asked: how far to go.
        say: told what is going on.
    """
    carried = []
    for gpus in asked.gpus:
        say(f"{gpus} GPUs")
        carried.append(_of_gpus(replace(plant, gpus=gpus), costs, asked))
    needed = []
    for cameras in asked.cameras:
        say(f"{cameras} cameras")
        needed.append(_of_cameras(replace(plant, cameras=cameras), costs, asked))
    return {
        "costs": asdict(costs),
        "assumed": {name: value for name, value in asdict(plant).items() if name not in _SWEPT},
        "limit_s": asked.limit_s,
        "carried": carried,
        "needed": needed,
    }  # fmt: skip


def carries(plant: Plant, costs: Costs, asked: Asked) -> tuple[int, Outcome]:
    """The most cameras whose frames are in time, and how the plant does with them; 0 if not even one."""
    for share in _SHARES:
        most = share * _most(plant, costs)
        tried = replace(plant, cameras=max(1, int(most / plant.fps)))
        outcome = Simulation(tried, costs, asked.seconds).run()
        if outcome.in_time(asked.limit_s) >= _IN_TIME:
            return tried.cameras, outcome
    return 0, outcome


def _most(plant: Plant, costs: Costs) -> float:
    """Frames a second of the tightest part, whatever the number of cameras."""
    return min(rate for name, rate in plant.limits(costs).items() if name != "lines")


def _of_gpus(plant: Plant, costs: Costs, asked: Asked) -> dict[str, Any]:
    """What so many GPUs carry behind one gate, and behind as many as they need; and with a node fewer."""
    alone, outcome = carries(replace(plant, gates=1), costs, asked)
    plant = replace(plant, gates=_gates(plant, costs))
    cameras, best = (alone, outcome) if plant.gates == 1 else carries(plant, costs, asked)
    row = {
        "gpus": plant.gpus,
        "nodes": plant.nodes,
        "cameras_one_gate": alone,
        "bottleneck_one_gate": outcome.bottleneck,
        "gates": plant.gates,
        "cameras": cameras,
        "bottleneck": best.bottleneck,
        "busy": {name: round(share, 3) for name, share in best.busy.items()},
    }
    busy = replace(plant, cameras=max(1, int(_BUSY * cameras)))
    row["latency_ms"] = _latency(Simulation(busy, costs, asked.seconds).run())
    if plant.nodes > 1:
        fewer = replace(plant, gpus=plant.gpus - _on_last(plant))
        row["cameras_one_node_fewer"] = left = carries(fewer, costs, asked)[0]
        row["loss"] = {**_loss(busy, costs, asked), "carried": busy.cameras <= left}
    return row


def _gates(plant: Plant, costs: Costs) -> int:
    """As many as let something else be the tightest part."""
    limits = plant.limits(costs)
    gate = min(rate for name, rate in limits.items() if "gate" in name) / plant.gates
    rest = min(
        rate for name, rate in limits.items() if "gate" not in name and name not in {"lines", "of that PUB"}
    )
    return max(1, int(np.ceil(rest / gate)))


def _on_last(plant: Plant) -> int:
    return plant.gpus - (plant.nodes - 1) * plant.gpus_per_node


def _loss(plant: Plant, costs: Costs, asked: Asked) -> dict[str, Any]:
    """A node is lost in mid-run: frames dropped, the longest wait, and until when frames were late."""
    moment, seconds = 2.0, asked.seconds + 4 * costs.recovery_s
    outcome = Simulation(plant, costs, seconds, lose_node_at=moment).run()
    late = outcome.captured_s[outcome.latency_s > asked.limit_s]
    return {
        "cameras": plant.cameras,
        "dropped": outcome.dropped,
        "longest_s": round(float(outcome.latency_s.max(initial=0.0)), 2),
        "late": len(late),
        "late_until_s": round(float(late.max() - moment), 2) if len(late) else 0.0,
    }


def _of_cameras(plant: Plant, costs: Costs, asked: Asked) -> dict[str, Any]:
    """The fewest of the GPUs gone through, and gates, that score so many cameras in time."""
    for gpus in sorted(asked.gpus):
        tried = replace(plant, gpus=gpus)
        gates = max(1, int(np.ceil(tried.offered / (_most_of_gate(tried, costs) * 0.9))))
        tried = replace(tried, gates=gates)
        if tried.offered > _most(tried, costs):
            continue
        outcome = Simulation(tried, costs, asked.seconds).run()
        if outcome.in_time(asked.limit_s) >= _IN_TIME:
            return {
                "cameras": plant.cameras,
                "gpus": gpus,
                "gates": gates,
                "bottleneck": outcome.bottleneck,
                "busy": round(outcome.busy[outcome.bottleneck], 3),
                "latency_ms": _latency(outcome),
            }
    return {"cameras": plant.cameras, "gpus": None}


def _most_of_gate(plant: Plant, costs: Costs) -> float:
    one = replace(plant, gates=1).limits(costs)
    return min(rate for name, rate in one.items() if "gate" in name)


def _latency(outcome: Outcome) -> dict[str, float]:
    return {f"p{percent}": round(outcome.latency_ms(percent), 1) for percent in (50, 95, 99)}
