"""Drive a server with several cameras, kill it under them where asked, and collect what became of it all."""

import multiprocessing
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from bench.load import publisher
from bench.load.watch import Watch
from streamer import child
from streamer.ask import ask
from streamer.process import ServerError, ServerProcess

_ASK_S = 60.0
_UP_S = 60.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Plan:
    """What is asked for. `kills`: kill -9 of our own server, spread over the run."""

    publishers: int
    fps: float
    seconds: float
    size: int
    reliable: bool = False
    kills: int = 0
    patience_s: float = 300.0
    prefix: str = field(default_factory=lambda: f"load-{uuid.uuid4().hex[:6]}-")

    @property
    def frames(self) -> int:
        """How many are sent in all."""
        return self.publishers * round(self.fps * self.seconds)

    @property
    def streams(self) -> list[str]:
        """One a publisher; new names each run, so that a server's rings of other streams do not matter."""
        return [f"{self.prefix}{number}" for number in range(self.publishers)]


@dataclass(frozen=True)
class Observed:
    """What was seen of one run, to be judged.

    Attributes:
        sent: what each publisher reported.
        tallies: the server's own accounts of our streams.
        watch: what a subscriber heard or fetched.
        kills: how often the server was killed.
        seconds: from the first frame to the last account.
    """

    sent: list[dict[str, Any]]
    tallies: dict[str, dict[str, Any]]
    watch: Watch
    kills: int
    seconds: float


class _Camera:
    """A publisher in a process of its own. `acknowledged` is how many of its frames are so far."""

    def __init__(self, plan: Plan, number: int, endpoints: Mapping[str, str]) -> None:
        with child.safe_path():
            theirs = self._start(plan, number, endpoints)
        theirs.close()  # so that `recv` fails, and does not wait, should the process die

    def _start(self, plan: Plan, number: int, endpoints: Mapping[str, str]) -> Connection:
        self._report, theirs = _SPAWN.Pipe(duplex=False)
        self._acknowledged = _SPAWN.Value("q", 0)
        self._process = _SPAWN.Process(
            target=publisher.run,
            args=(theirs, endpoints["reliable" if plan.reliable else "frames"], plan.streams[number]),
            kwargs={
                "reliable": plan.reliable,
                "fps": plan.fps,
                "seconds": plan.seconds,
                "size": plan.size,
                "seed": number,
                "patience_s": plan.patience_s,
                "acknowledged": self._acknowledged,
            },
            daemon=True,
        )
        self._process.start()
        return theirs

    @property
    def report(self) -> Connection:
        """Gets its facts when it is done, and ends if it dies before."""
        return self._report

    @property
    def acknowledged(self) -> int:
        """Frames whose scores the server has acknowledged."""
        return int(self._acknowledged.value)

    def end(self, failed: type[BaseException] | None, *_: object) -> None:
        """Wait for the process to end; end it where the run was given up."""
        if failed is not None:
            self._process.terminate()
        self._process.join(30.0)


def drive(plan: Plan, endpoints: Mapping[str, str], server: ServerProcess | None) -> Observed:
    """Run the cameras of a plan to their ends, and wait until the server has settled all they sent.

    Args:
        plan: what to do.
        endpoints: of the server.
        server: its process where it is ours, so that it can be killed.

    Raises:
        ServerError: a publisher died, or the server did not come up again.
        StreamerError: the server does not answer.
    """
    watch = Watch(endpoints["scores"], plan.prefix)
    watch.start()
    watch.wait_up(_UP_S)
    began = time.monotonic()
    kills = 0
    with ExitStack() as held:
        cameras = [_Camera(plan, number, endpoints) for number in range(plan.publishers)]
        for camera in cameras:
            held.push(camera.end)
        while kills < plan.kills and server is not None and _reached(plan, kills + 1, cameras):
            server.kill()
            server.start()
            kills += 1
        sent = [_facts(camera) for camera in cameras]
    tallies = _settled(plan, endpoints["control"], sent)
    seconds = time.monotonic() - began
    watch.stop()
    _fetch_all(plan, endpoints["control"], watch, tallies)
    return Observed(sent, tallies, watch, kills, seconds)


def _reached(plan: Plan, part: int, cameras: list[_Camera]) -> bool:
    """Wait until `part` of `kills + 1` equal parts of the frames are acknowledged: the server is busy then.

    Not until so many scores were heard: those published before a subscriber is back after a kill never are.
    """
    share = part * plan.frames // (plan.kills + 1)
    deadline = time.monotonic() + plan.patience_s
    while sum(camera.acknowledged for camera in cameras) < share:
        if time.monotonic() > deadline or all(camera.report.poll() for camera in cameras):
            return False
        time.sleep(0.002)
    return True


def _facts(camera: _Camera) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = camera.report.recv()
    except EOFError:
        raise ServerError("publisher: its process died before it could report") from None
    return facts


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
