"""Frames a second of the whole service, as a process of its own, against the backbone alone."""

import random
import tempfile
import threading
import time
import urllib.request
from itertools import count
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from prometheus_client.parser import text_string_to_metric_families

from bench import demo_data
from bench.datasets import read_frame
from bench.speed import runs
from bench.speed.batch import Report
from bench.speed.setup import timed
from musc_online import backbones, config
from musc_online.errors import MuscError
from streamer.errors import StreamerError
from streamer.process import ServerProcess
from streamer.publish import Publisher
from streamer.subscribe import Subscriber
from streamer.wire.codes import WARNINGS
from streamer.wire.published import Message

RUNS = runs.USUAL
_ALONE = 16
"""Frames that the backbone alone is measured with."""
_PATIENCE_S = 180.0


def measure(*, ring: int, frames: int, with_lines: bool, say: Report) -> dict[str, Any]:
    """Rates of the runs with a full ring, and of the backbone in float32 at 224 px before and after each.

    Args:
        ring: references in the ring.
        frames: measured, after so many that fill the ring.
        with_lines: those of `bench.speed.runs.lines` too.
        say: told what is going on.

    Raises:
        MuscError: the backbone's weights are missing, or the service did not come up.
    """
    wanted = [*RUNS, *(runs.lines() if with_lines else ())]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        image_size = config.load().backbone.image_size
        sizes = dict.fromkeys([image_size, *(run.image_size for run in wanted)])
        paths = {size: parts_folder(root / f"data-{size}", ring + frames, size) for size in sizes}
        backbone = _backbone()
        alone, found = [_backbone_fps(backbone, paths[image_size], say)], []
        for number, run in enumerate(wanted):
            say(f"service, {run.name}")
            place = root / f"run-{number}"
            place.mkdir()
            measured = _run(place, run.configuration(ring), paths[run.image_size], ring, frames)
            found.append({"name": run.name, **measured})
            alone.append(_backbone_fps(backbone, paths[image_size], say))
    for index, one in enumerate(found):  # what the machine gave the backbone before and after the run
        one["of_backbone"] = one["fps"] / mean(alone[index : index + 2])
    return {"image_size": image_size, "ring": ring, "backbone_fps": mean(alone), "runs": found}


def parts_folder(root: Path, n_images: int, image_size: int) -> list[Path]:
    """As many different parts as are measured: no part passes a camera twice."""
    n_defective = n_images // 10
    demo_data.generate(root, n_good=n_images - n_defective, n_defective=n_defective, size=image_size)
    paths = sorted(root.glob("part/test/*/*.png"))
    random.Random(0).shuffle(paths)  # noqa: S311
    return paths


def _backbone() -> backbones.Backbone:
    plain = config.load({"backbone": {"device": "cpu", "precision": "float32"}})
    return backbones.load_configured(plain.backbone)


def _backbone_fps(backbone: backbones.Backbone, paths: list[Path], say: Report) -> float:
    """Frames a second of decoding excluded, preparing and extracting included; one by one or in fours."""
    say("backbone alone")
    frames = [read_frame(path) for path in paths[:_ALONE]]
    rates = []
    for batch in (1, 4):
        parts = [frames[start : start + batch] for start in range(0, len(frames), batch)]

        def extract(parts: list[Any] = parts) -> None:
            for part in parts:
                backbone.extract(torch.stack([backbone.prepare(frame) for frame in part]))

        rates += [len(frames) / timed(extract) for _ in range(2)]
    return max(rates)


def _run(root: Path, settings: dict[str, Any], paths: list[Path], ring: int, frames: int) -> dict[str, Any]:
    with (
        ServerProcess(root, settings) as server,
        Subscriber(server.endpoints["scores"], timeout_s=_PATIENCE_S) as scores,
    ):
        stop = threading.Event()
        sender = threading.Thread(target=_send, args=(server.endpoints["frames"], paths, stop), daemon=True)
        sender.start()
        try:
            _arrivals(scores, ring, 0)
            before = _publish_times(server.endpoints["metrics"])
            arrived = _arrivals(scores, 0, frames)
            after = _publish_times(server.endpoints["metrics"])
        finally:
            stop.set()
            sender.join(_PATIENCE_S)
    times, messages = zip(*arrived, strict=True)
    latencies = [message["latency_ms"] for message in messages[1:]]
    phases = {name: mean(latency[name] for latency in latencies) for name in latencies[0]}
    phases["publish"] = 1e3 * (after[0] - before[0]) / (after[1] - before[1])
    return {
        "fps": (len(times) - 1) / (times[-1] - times[0]),
        "references": int(mean(message["n_references"] for message in messages)),
        "phases_ms": phases,
    }


def _arrivals(scores: Subscriber, passed_over: int, frames: int) -> list[tuple[float, Message]]:
    """The scores of `frames + 1` frames after some others, each with the time it came."""
    arrived: list[tuple[float, Message]] = []
    seen = 0
    for message in scores:
        if message.kind == "error" and message.get("code") not in WARNINGS:
            raise MuscError(f"service: refused a frame: {message.get('code')}, {message.get('text')}")
        if message.kind != "score":
            continue
        seen += 1
        if seen > passed_over:
            arrived.append((time.perf_counter(), message))
        if len(arrived) > frames:
            return arrived
    raise MuscError(f"service: no score within {_PATIENCE_S:.0f} s, after {seen}")


def _send(endpoint: str, paths: list[Path], stop: threading.Event) -> None:
    payloads = [path.read_bytes() for path in paths]
    with Publisher(endpoint, "speed", wait_s=20.0) as publisher:
        for number in count():
            while not stop.is_set():
                try:
                    publisher.send(payloads[number % len(payloads)], number, timeout_s=0.5)
                    break
                except StreamerError:
                    continue
            if stop.is_set():
                return


def _publish_times(endpoint: str) -> tuple[float, float]:
    """Seconds spent publishing scores so far, and how many: from the server's own histogram."""
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=_PATIENCE_S) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found = {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("phase") == "publish"
    }
    return found["musc_latency_seconds_sum"], found["musc_latency_seconds_count"]
