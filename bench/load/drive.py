"""Drive a server with several cameras, kill it under them where asked, and collect what became of it all."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.load.camera import Camera
from bench.load.kills import Kill, Killer
from bench.load.nodes import Nodes
from bench.load.plan import Plan
from bench.load.watch import Watch
from streamer.ask import ask
from streamer.process import ServerProcess

_ASK_S = 60.0
_UP_S = 60.0


@dataclass(frozen=True)
class Observed:
    """What was seen of one run, to be judged.

    Attributes:
        sent: what each publisher reported.
        tallies: the server's own accounts of our streams.
        watch: what a subscriber heard or fetched.
        kills: what was killed, and how it was replaced.
        seconds: from the first frame to the last account.
    """

    sent: list[dict[str, Any]]
    tallies: dict[str, dict[str, Any]]
    watch: Watch
    kills: Sequence[Kill]
    seconds: float


def drive(
    plan: Plan, endpoints: Mapping[str, str], server: ServerProcess | None, nodes: Nodes | None = None
) -> Observed:
    """Run the cameras of a plan to their ends, and wait until the server has settled all they sent.

    Args:
        plan: what to do.
        endpoints: of the server.
        server: its process where it is ours, so that it can be killed.
        nodes: its cluster where that is ours.

    Raises:
        ServerError: a publisher died, or the server did not come up again.
        StreamerError: the server does not answer.
    """
    watch = Watch(endpoints["scores"], plan.prefix)
    watch.start()
    watch.wait_up(_UP_S)
    began = time.monotonic()
    with ExitStack() as held:
        cameras = [Camera(plan, number, endpoints) for number in range(plan.publishers)]
        for camera in cameras:
            held.push(camera.end)
        kills = []
        if server is not None:
            kills = _kill(
                plan, Killer(server, nodes, cameras, endpoints["control"], plan.patience_s), cameras
            )
        sent = [camera.facts() for camera in cameras]
    tallies = _settled(plan, endpoints["control"], sent)
    seconds = time.monotonic() - began
    watch.stop()
    _fetch_all(plan, endpoints["control"], watch, tallies)
    return Observed(sent, tallies, watch, kills, seconds)


def _kill(plan: Plan, killer: Killer, cameras: Sequence[Camera]) -> list[Kill]:
    """The kills of a plan, up to one that was not recovered from or that came too late for any frame."""
    kills: list[Kill] = []
    for part, kind in enumerate(plan.kills, start=1):
        if not _reached(plan, part, cameras) or (kills and not kills[-1].recovered):
            break
        kills.append(killer.kill(kind))
    return kills


def _reached(plan: Plan, part: int, cameras: Sequence[Camera]) -> bool:
    """Wait until `part` of `kills + 1` equal parts of the frames are acknowledged: the server is busy then.

    Not until so many scores were heard: those published before a subscriber is back after a kill never are.
    """
    share = part * plan.frames // (len(plan.kills) + 1)
    deadline = time.monotonic() + plan.patience_s
    while sum(camera.acknowledged for camera in cameras) < share:
        if time.monotonic() > deadline or all(camera.done for camera in cameras):
            return False
        time.sleep(0.002)
    return True


def _settled(plan: Plan, control: str, sent: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The server's accounts of our streams, once it has all that was sent and nothing is queued.

    What a publisher has handed over may still be on its way when the publisher is done. With reliable ones
    (whose frames are acknowledged, and counted again when sent again) only the queue is waited for. The last
    accounts if that never happens.
    """
    n_sent = 0 if plan.reliable else sum(report["sent"] for report in sent)
    deadline = time.monotonic() + plan.patience_s
    while True:
        streams = ask({"kind": "status"}, control, timeout_s=_ASK_S)["streams"]
        ours = {name: streams[name] for name in plan.streams if name in streams}
        received = sum(tally["received"] for tally in ours.values())
        settled = received >= n_sent and not any(tally["queued"] for tally in ours.values())
        if settled or time.monotonic() > deadline:
            return ours
        time.sleep(0.1)


def _fetch_all(plan: Plan, control: str, watch: Watch, tallies: dict[str, dict[str, Any]]) -> None:
    """Fetch what did not come live, until every drop the server has counted was told: it counts first."""
    n_dropped = sum(sum(tally["dropped"].values()) for tally in tallies.values())
    deadline = time.monotonic() + plan.patience_s
    while True:
        watch.fetch(control, plan.streams)
        if plan.reliable or sum(watch.dropped.values()) >= n_dropped or time.monotonic() > deadline:
            return
        time.sleep(0.1)
