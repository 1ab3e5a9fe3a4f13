"""`python -m bench.soak`: thousands of frames through a real server, its memory watched."""

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.commands import Command
from bench.load.publisher import pictures
from bench.load.watch import Watch
from bench.memory import Memory
from bench.progress import Phases
from streamer.ask import ask
from streamer.commands import examples
from streamer.process import ANY_PORT, ServerError, ServerProcess
from streamer.publish import Publisher

_PREFIX = "soak-"
_STREAMS = ("soak-a", "soak-b")
_AHEAD = 32
# Frames under way at most, so that a sample of memory belongs to the frames scored so far.
_PATIENCE_S = 120.0
_SAMPLES = 200


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online soak --frames 10000",
        "musc-online soak --frames 1000 --json soak.json",
    ),
)
@click.option("--frames", type=click.IntRange(100), default=10_000, help="Frames sent.")
@click.option(
    "--image-size", type=click.IntRange(14), default=56, help="Side that frames are scored at, pixels."
)
@click.option("--capacity", type=click.IntRange(2), default=32, help="Of each ring.")
@click.option(
    "--bound-kib", type=click.FloatRange(0, min_open=True), default=2.0,
    help="KiB a frame that memory may grow by, fitted after the first quarter.",
)  # fmt: skip
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
def main(frames: int, image_size: int, capacity: int, bound_kib: float, json_path: Path | None) -> None:
    """Send thousands of frames, and see whether memory stays flat.

    Of changing size, through two streams of a detector of its own.

    Exit status: 0 if it does and every frame was scored, 1 if not, 2 if the server cannot be started.
    """
    figures = soak(frames, image_size, capacity, bound_kib)
    console = Console()
    for name in ("frames", "scored", "frames_per_s", "seconds", "memory", "ring_bytes"):
        console.print(f"{name.replace('_', ' ')}: {figures[name]}", soft_wrap=True)
    for check, holds in figures["checks"].items():
        console.print(f"{'[green]holds[/green]' if holds else '[red]FAILS[/red]'}  {check}")
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    sys.exit(0 if figures["holds"] else 1)


def soak(frames: int, image_size: int, capacity: int, bound_kib: float) -> dict[str, Any]:
    """Send `frames` frames and watch.

    Raises:
        ServerError: the server does not come up, or ends.
        StreamerError: it takes no frames, or does not answer.
    """
    phases = Phases("soak", Console(stderr=True))
    payloads = [one for seed, size in enumerate((48, 64, 96, 130, 200)) for one in pictures(size, seed)]
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="musc-soak-")))
        server = held.enter_context(ServerProcess(folder, _settings(folder, image_size, capacity)))
        senders = [
            held.enter_context(Publisher(server.endpoints["frames"], stream, wait_s=_PATIENCE_S))
            for stream in _STREAMS
        ]
        control = server.endpoints["control"]
        watch = Watch(server.endpoints["scores"], _PREFIX)
        watch.start()
        watch.wait_up(_PATIENCE_S)
        memory, rings = Memory(server, _SAMPLES, frames), []
        began = time.monotonic()
        with phases.phase("frames", frames) as done:
            for number in range(frames):
                payload = payloads[number % len(payloads)]
                senders[number % len(senders)].send(payload, number, timeout_s=_PATIENCE_S)
                if memory.step():
                    rings.append(ask({"kind": "status"}, control, timeout_s=_PATIENCE_S)["bytes"]["rings"])
                done(1)
                _keep_pace(server, watch, number + 1)
        watch.stop()
        status = _settled(control, frames)
        seconds = time.monotonic() - began
    slope = memory.slope_kib()
    full = rings[len(rings) // 4 :]
    checks = {
        "every frame was scored": status["scored"] == status["received"] == frames,
        "the rings held as much at the end as after a quarter": len(set(full)) == 1,
        f"memory grew by less than {bound_kib:g} KiB a frame": slope < bound_kib,
    }
    return {
        "frames": frames,
        "scored": status["scored"],
        "seconds": round(seconds, 1),
        "frames_per_s": round(frames / seconds, 1),
        "memory": memory.as_dict(),
        "ring_bytes": rings[-1] if rings else 0,
        "snapshots": status["snapshot"]["written"],
        "checks": checks,
        "holds": all(checks.values()),
    }


def _keep_pace(server: ServerProcess, watch: Watch, sent: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while sent - len(watch.latencies_ms) > _AHEAD:
        if server.pid and time.monotonic() > deadline:
            raise ServerError(
                f"musc-online serve: no score for {_PATIENCE_S:g} s, after {len(watch.latencies_ms)}"
            )
        time.sleep(0.005)


def _settled(control: str, frames: int) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        status = ask({"kind": "status"}, control, timeout_s=_PATIENCE_S)
        if (status["received"] >= frames and status["queued"] == 0) or time.monotonic() > deadline:
            return status
        time.sleep(0.2)


def _settings(folder: Path, image_size: int, capacity: int) -> dict[str, Any]:
    return {
        "backbone": {"image_size": image_size},
        "ring": {"capacity": capacity},
        "revise": {"every": 20, "window": capacity},
        "transport": {
            "frames": ANY_PORT,
            "scores": ANY_PORT,
            "control": ANY_PORT,
            "when_full": "block",
            "heartbeat_s": 1.0,
            "subscriber_queue": 100_000,
        },
        # Full long before the first quarter is over, so that memory that still grows is memory lost.
        "history": {"path": str(folder / "history.sqlite"), "max_messages": 500},
        "snapshot": {"path": str(folder / "snapshots"), "every_s": 5.0},
    }


if __name__ == "__main__":
    main()
