"""The engine on Ray beside that of one process: overhead a frame, actors, and costs to plan a plant by."""

import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

from bench.datasets import read_frame
from bench.machine import below, processor_s
from bench.speed.batch import Report
from bench.speed.fed import Fed
from bench.speed.runs import line
from bench.speed.service import parts_folder
from musc_online import backbones, config
from musc_online.errors import MuscError

_SWEEP_RING, _SWEEP_STREAMS, _SHARDS = 50, 2, 2
_KILLS, _PATIENCE_S = 3, 180.0


def measure(*, ring: int, frames: int, actors: Sequence[int], say: Report) -> dict[str, Any]:
    """Both engines as configs/line.yaml at 224 px in float32, on the same frames.

    Args:
        ring: references in the ring.
        frames: measured, after so many that fill the ring.
        actors: numbers of backbone actors to go through.
        say: told what is going on.

    Returns:
        `overhead`, `actors` and `costs`, as `bench.speed.report` prints and `bench.scale` reads them.

    Raises:
        MuscError: weights are missing, a service did not come up, or the line did not come back.
    """
    settings = line().configuration(ring)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = parts_folder(root / "data", ring + frames, 224)
        files = [path.read_bytes() for path in paths]
        say("backbone")
        tokens_bytes = _tokens_bytes(settings, paths[0])
        with (
            Fed(root / "local", settings, files) as local,
            Fed(root / "ray", ray(settings, 1), files) as remote,
        ):
            overhead = _overhead(local, remote, ring, frames, say)
        recovery_s = _recovery(root, settings, files, ring, say)
        found = []
        for n_actors in actors:
            for shards in (0, _SHARDS):
                say(f"{n_actors} backbone actors, {shards} shards")
                chosen = ray(settings, n_actors, shards, min(ring, _SWEEP_RING))
                found.append(_actors(root / f"ray-{n_actors}-{shards}", chosen, files, frames))
    costs = {
        **{name: overhead["ray"][name] for name in ("gate_ms", "decode_ms", "line_ms", "score_bytes")},
        "frame_bytes": mean(map(len, files)),
        "tokens_bytes": tokens_bytes,
        "recovery_s": recovery_s,
    }
    return {
        "image_size": 224,
        "ring": ring,
        "frames": frames,
        "overhead": overhead,
        "actors": found,
        "costs": costs,
    }


def ray(
    settings: Mapping[str, Any], backbones_: int, shards: int = 0, ring: int | None = None
) -> dict[str, Any]:
    """The same configuration on Ray."""
    engine = {"name": "ray", "backbones": backbones_, "shards": shards}
    sized = {} if ring is None else {
        "ring": {**settings["ring"], "capacity": ring}, "revise": {**settings["revise"], "window": ring}
    }  # fmt: skip
    return {**settings, **sized, "engine": engine}


def _tokens_bytes(settings: Mapping[str, Any], path: Path) -> int:
    """Of one frame, patches and class: what a backbone hands to a line."""
    backbone = backbones.load_configured(config.load(dict(settings)).backbone)
    patches, classes = backbone.extract(torch.stack([backbone.prepare(read_frame(path))]))
    return int(np.asarray(patches).nbytes + np.asarray(classes).nbytes)


def _overhead(local: Fed, remote: Fed, ring: int, frames: int, say: Report) -> dict[str, Any]:
    """A frame at a time to one and the other in turn, then as many as each takes, in turn too."""
    both = {"local": local, "ray": remote}
    for name, service in both.items():
        say(f"{name}: filling the ring")
        with service.fed():
            service.scores(ring)
        service.drain()
    waited: dict[str, list[float]] = {name: [] for name in both}
    decoded: dict[str, list[float]] = {name: [] for name in both}
    sizes = []
    say("one frame at a time, in turn")
    for number in range(frames):
        for name in [*both][:: 1 if number % 2 else -1]:
            seconds, message = both[name].one()
            waited[name].append(1e3 * seconds)
            decoded[name].append(float(message["latency_ms"]["decode"]))
            sizes.append(len(message.topic) + len(message.packed) + len(message.payload or b""))
    result: dict[str, Any] = {
        name: {"ms": _quantiles(waited[name]), "decode_ms": mean(decoded[name]), "score_bytes": mean(sizes)}
        for name in both
    }
    more = [there - here for here, there in zip(waited["local"], waited["ray"], strict=True)]
    result["overhead_ms"] = {"mean": mean(more), **_quantiles(more)}
    say("as many frames as each takes")
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in both}
    for _ in range(2):
        for name, service in both.items():
            rounds[name].append(_busy(service, frames))
            service.drain()
    for name, found in rounds.items():
        result[name] |= {key: mean(one[key] for one in found) for key in found[0]}
    result["overhead_busy_ms"] = 1e3 / result["ray"]["fps"] - 1e3 / result["local"]["fps"]
    return result


def _busy(service: Fed, frames: int) -> dict[str, float]:
    """Frames a second under as many as it takes, and what a frame costs each kind of process."""
    kinds = _processes(service)
    with service.fed():
        service.scores(4)
        before = {kind: sum(map(processor_s, pids)) for kind, pids in kinds.items()}
        seconds, _ = service.scores(frames)
        after = {kind: sum(map(processor_s, pids)) for kind, pids in kinds.items()}
    spent = {f"{kind}_ms": 1e3 * (after[kind] - before[kind]) / (frames + 1) for kind in kinds}
    return {"fps": frames / seconds, **spent}


def _processes(service: Fed) -> dict[str, list[int]]:
    """Process ids by what they do: `ray` is what Ray runs beside actors; decoders count with who has them."""
    engine = service.engine()
    actors = {
        "line": list(engine.get("lines", {}).values()),
        "backbone": engine.get("backbones", []),
        "shard": [shard for shards in engine.get("shards", {}).values() for shard in shards],
    }
    pids = {kind: [entry["pid"] for entry in entries] for kind, entries in actors.items()}
    pids["backbone"] += [pid for actor in pids["backbone"] for pid in below(actor)]
    started = set(below(service.gate)).difference(*pids.values())
    own = [service.gate] if engine else [service.gate, *started]
    return {"gate": own, **pids, "ray": sorted(started) if engine else []}


def _actors(root: Path, settings: Mapping[str, Any], files: Sequence[bytes], frames: int) -> dict[str, Any]:
    ring, engine = settings["ring"]["capacity"], settings["engine"]
    with Fed(root, settings, files, _SWEEP_STREAMS) as service:
        with service.fed():
            service.scores(_SWEEP_STREAMS * ring)
        found = _busy(service, frames)
    return {
        "actors": engine["backbones"],
        "shards": engine["shards"],
        "streams": _SWEEP_STREAMS,
        "ring": ring,
        **found,
    }


def _recovery(
    root: Path, settings: Mapping[str, Any], files: Sequence[bytes], ring: int, say: Report
) -> float:
    """Seconds from the loss of a line to the first reply of the next, by the status: the median of some.

    With a journal, as whoever wants to lose nothing has it; the overhead is measured without.

    Raises:
        MuscError: it did not come back.
    """
    say("recovery")
    kept = {"path": str(root / "rings"), "journal": True}
    with Fed(root / "ray-kept", {**ray(settings, 1), "snapshot": kept}, files) as service, service.fed():
        service.scores(ring)
        for kills in range(_KILLS):
            deadline = time.monotonic() + _PATIENCE_S
            (line_,) = service.engine()["lines"].values()
            os.kill(line_["pid"], signal.SIGKILL)
            while len(service.engine()["recoveries_s"]) == kills:
                if time.monotonic() > deadline:
                    raise MuscError(f"engine: a killed line was not replaced within {_PATIENCE_S:.0f} s")
                time.sleep(0.05)
            service.scores(2)
        return float(median(service.engine()["recoveries_s"]))


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    return {name: float(np.percentile(values, percent)) for name, percent in (("p50", 50), ("p95", 95))}
