"""`python -m bench.fuzz`: malformed messages at every port of a real server, good frames in between."""

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.commands import Command
from bench.fuzz import attacks
from bench.fuzz.ports import Attacker, Regulars
from bench.load.watch import Watch
from bench.memory import Memory
from bench.progress import Phases
from streamer.ask import ask
from streamer.commands import examples
from streamer.process import ANY_PORT, ServerProcess

_GOOD_EVERY = 100
_ASK_S = 300.0
# What a server logs when something of its own went wrong; a bad message never is.
_OWN_FAULTS = ("Traceback", "thread_died", "phase_died", "control_failed", "frame_failed", "message_failed")


@click.command(
    cls=Command,
    epilog=examples(
        "musc-online fuzz --messages 100000 --seed 1",
        "musc-online fuzz --attack pictures --attack peers",
    ),
)
@click.option("--messages", type=click.IntRange(1), default=100_000, help="Malformed ones.")
@click.option(
    "--attack", "names", type=click.Choice(("messages", *attacks.NAMES)), multiple=True,
    help="Only these, in this order; may be given more than once.  [all]",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the messages.")
@click.option(
    "--bound-mib", type=click.FloatRange(0, min_open=True), default=48.0,
    help="By how much memory may grow from the first quarter of the run to the last.",
)  # fmt: skip
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here."
)
def main(messages: int, names: tuple[str, ...], seed: int, bound_mib: float, json_path: Path | None) -> None:
    """Attack detectors of its own with what was seen to hurt.

    Malformed messages, costly pictures, peers that misbehave, kills and stops.

    Exit status: 0 if everything holds that each attack checks; 1 if not; 2 if a server cannot be started.
    """
    figures: dict[str, Any] = {}
    for name in names or ("messages", *attacks.NAMES):
        figures[name] = attack(messages, seed, bound_mib) if name == "messages" else _other(name)
        _show(name, figures[name])
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    sys.exit(0 if all(all(found["checks"].values()) for found in figures.values()) else 1)


def _other(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix=f"musc-{name}-") as folder:
        return attacks.find(name)(Path(folder))


def _show(name: str, figures: dict[str, Any]) -> None:
    console = Console()
    console.print(f"[bold]{name}[/bold]")
    for figure, value in figures.items():
        if figure != "checks":
            console.print(f"{figure.replace('_', ' ')}: {value}", soft_wrap=True)
    for check, holds in figures["checks"].items():
        console.print(f"{'[green]holds[/green]' if holds else '[red]FAILS[/red]'}  {check}", soft_wrap=True)


def attack(messages: int, seed: int, bound_mib: float) -> dict[str, Any]:
    """Send `messages` malformed messages, and a good frame after every hundredth.

    Raises:
        ServerError: the server does not come up, or is down before the end.
        StreamerError: it does not answer.
    """
    phases = Phases("fuzz", Console(stderr=True))
    with tempfile.TemporaryDirectory(prefix="musc-fuzz-") as name, Attacker(seed) as attacker:
        folder = Path(name)
        with ServerProcess(folder, _settings(folder, attacker.publishes_at)) as server:
            watch = Watch(server.endpoints["scores"], Regulars.PREFIX)
            watch.start()
            watch.wait_up(_ASK_S)
            began = time.monotonic()
            memory = Memory(server, samples=200, steps=messages)
            attacker.connect(server.endpoints)
            with Regulars(server.endpoints, seed) as regulars, phases.phase("messages", messages) as done:
                for number in range(messages):
                    attacker.send(server)
                    if number % _GOOD_EVERY == 0:
                        regulars.send()
                    memory.step()
                    done(1)
                regulars.flush()
            status = _settled(server.endpoints["control"])
            seconds = time.monotonic() - began
            watch.stop()
            watch.fetch(server.endpoints["control"], regulars.streams)
            pid_held = server.pid == memory.pid
            ended = server.terminate()
        counts = [watch.scored(stream) for stream in regulars.streams]
        log = server.log
    growth = memory.growth_mib()
    checks = {
        "the server stayed up": pid_held,
        "it ended in order": ended == 0,
        "every good frame was scored": sum(map(len, counts)) == regulars.sent,
        "none was scored twice": all(times == 1 for count in counts for times in count.values()),
        "received = scored + dropped + refused, nothing queued at the end": _identity(status),
        "it blamed no message on itself": not any(fault in log for fault in _OWN_FAULTS)
        and "internal" not in status["refused"],
        f"memory grew by less than {bound_mib:g} MiB": growth < bound_mib,
    }
    return {
        "malformed": messages,
        "good": regulars.sent,
        "good_scored": sum(map(len, counts)),
        "seconds": round(seconds, 1),
        "by_port": dict(attacker.sent),
        "refused": dict(Counter(status["refused"]).most_common()),
        "memory": memory.as_dict(),
        "checks": checks,
    }


def _settled(control: str) -> dict[str, Any]:
    deadline = time.monotonic() + _ASK_S
    while True:
        before = ask({"kind": "status"}, control, timeout_s=_ASK_S)
        time.sleep(0.5)
        status = ask({"kind": "status"}, control, timeout_s=_ASK_S)
        still = status["received"] == before["received"] and status["queued"] == 0
        if still or time.monotonic() > deadline:
            return status


def _identity(status: dict[str, Any]) -> bool:
    settled = status["scored"] + sum(status["dropped"].values()) + sum(status["refused"].values())
    return bool(status["received"] == settled and status["queued"] == 0)


def _settings(folder: Path, publishes_at: str) -> dict[str, Any]:
    names = ("frames", "scores", "control", "reliable", "imagezmq")
    return {
        "backbone": {"image_size": 56},
        "ring": {"capacity": 16, "matcher": "faiss"},
        "revise": {"every": 50, "window": 16},
        "warmup": 4,
        "transport": {
            **dict.fromkeys(names, ANY_PORT),
            "imagezmq_subscribe": [publishes_at],
            "when_full": "block",
            "subscriber_queue": 1_000_000,
            "heartbeat_s": 0.5,
        },
        # Full after the first per cent of the run, so that memory that still grows is memory lost.
        "history": {"path": str(folder / "history.sqlite"), "max_messages": 1_000},
        "snapshot": {"path": str(folder / "snapshots")},
    }
