"""The actors of a pool: placed, loaded, watched, replaced when they die, moved off a node that is to go."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import ray
import structlog
from ray import exceptions

from musc_online.config import Config
from musc_online.errors import MuscError
from streamer.cluster.backbone import BESIDE, BackboneActor
from streamer.cluster.exchange import BackboneIdentity
from streamer.cluster.start import Cluster
from streamer.errors import StreamerError
from streamer.server.threads import Worker

log = structlog.get_logger()

_LOOK_S = 0.2
_ROOM_S = 10.0
"""After which an actor that has no place yet is told of."""
_START_S = 60.0
"""After which a start ends that found no place for any; one that loads may take as long as it does."""
_AGAIN_S = 10.0
"""Before the next try where an actor could not be made."""
_DEATHS = 3
"""Of an actor that never got as far as to work: a start gives up then."""
_RECOVERIES = 1000


@dataclass(eq=False)
class Member:
    """An actor, or the wait for one. What others than the pool's thread read changes under its lock.

    `pending` is what it was asked: where it is, then its identity, then a call that ends with it. One that is
    `moving` has a successor, and is `leaving` once that is up: it finishes what it has.
    """

    restarts: int = 0
    lost_at: float | None = None
    """When its predecessor was."""
    due: float = 0.0
    step: Literal["due", "placing", "loading", "up", "gone"] = "due"
    begun: float = 0.0
    actor: Any = None
    pending: Any = None
    pid: int | None = None
    node: str = ""
    in_flight: int = 0
    alone: bool = False
    """A frame has it for itself, or waits for that."""
    lost: BaseException | None = None
    """What its frames say of it: it is gone."""
    moving: bool = False
    leaving: bool = False
    told: bool = False
    """That there is no room for it."""
    replaces: "Member | None" = None


class Members(Worker):
    """As many actors as `engine.backbones` says, looked after by this thread.

    No call to Ray is made under the lock: its own thread waits for that lock when a frame is done.

    Args:
        cluster: where they are.
        config: of the service; all use the precision that `auto` became for the first.
        fill: frames that an actor may have at a time.
        failed: called if this thread dies.

    Attributes:
        changed: the lock, and the news that something of them changed.
        closed: set as they are ended.
        identity: of the backbone, once one is up.
        recoveries_s: seconds from noticing the loss of an actor to the next one being up, the newest 1000.
    """

    def __init__(
        self, cluster: Cluster, config: Config, fill: int, failed: Callable[[BaseException], None]
    ) -> None:
        super().__init__("backbones", failed)
        self.changed = threading.Condition()
        self.closed = False
        self.identity: BackboneIdentity | None = None
        self.recoveries_s: deque[float] = deque(maxlen=_RECOVERIES)
        self._cluster, self._config, self._fill = cluster, config, fill
        self._remote = ray.remote(BackboneActor)
        self._members = [Member() for _ in range(config.engine.backbones)]
        self._avoid: set[str] = set()
        self._drained: deque[str] = deque()
        self._began = time.monotonic()
        self._refusal: MuscError | StreamerError | None = None
        self._deaths: list[str] = []
        self._cannot: MuscError | StreamerError | None = None

    def wait_up(self) -> BackboneIdentity:
        """What the backbone is, as soon as one is up; what stands in the way of the first is raised.

        Raises:
            WeightsError, ConfigError: the backbone cannot be loaded.
            StreamerError: there is no room for an actor, or none comes up.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.identity or self._cannot or self.closed)
            if self.identity is None:
                raise self._cannot or StreamerError("engine.backbones: they were stopped before one was up")
            return self.identity

    def up(self) -> list[Member]:
        """Those that take frames; under the lock."""
        return [one for one in self._members if one.step == "up" and not one.leaving and one.lost is None]

    def status(self) -> list[dict[str, Any]]:
        """Of each `pid` (None while it is not placed), `node`, frames `in_flight`, and `restarts` so far."""
        with self.changed:
            return [
                {name: getattr(member, name) for name in ("pid", "node", "in_flight", "restarts")}
                for member in self._members
            ]

    def drain(self, node: str) -> None:
        """Move actors off a node, each once its successor is up; none is placed there any more."""
        with self.changed:
            self._drained.append(node)

    def close(self) -> None:
        """End them all, whatever they do."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        if self.ident is not None:
            self.join()
        for member in self._members:
            self._kill(member)

    def work(self) -> None:
        """Begin what is due, hear what was answered, until closed."""
        while not self.closed:
            self._move()
            for member in list(self._members):
                self._look_at(member)
            self._judge_start()
            self._hear()

    def _hear(self) -> None:
        """Take in what was answered; waits a little for it."""
        pending = {member.pending: member for member in self._members if member.pending is not None}
        if not pending:
            with self.changed:
                self.changed.wait(_LOOK_S)
            return
        ready, _ = ray.wait(list(pending), timeout=_LOOK_S)
        for ref in ready:
            self._answered(pending[ref])

    def _look_at(self, member: Member) -> None:
        """Do what a member waits for: to be begun, to be told of, or to be ended."""
        now = time.monotonic()
        if member.step == "due" and now >= member.due:
            self._begin(member)
        elif member.step == "placing" and now - member.begun > _ROOM_S and not member.told:
            member.told = True
            log.warning("backbone_has_no_room", **self._room())
        elif member.step == "up" and member.lost is not None:
            self._lost(member, member.lost)
        elif member.leaving and not member.in_flight:
            with self.changed:
                self._members.remove(member)
            self._kill(member)
            log.info("backbone_moved", pid=member.pid, node=member.node)

    def _begin(self, member: Member) -> None:
        engine = self._config.engine
        options = self._cluster.options(engine.backbone_cpus, engine.backbone_gpus, avoid=self._avoid)
        threads = self._cluster.threads(engine.backbone_cpus)
        made = self._remote.options(**options, max_concurrency=self._fill + BESIDE)
        member.actor = made.remote(self._config, threads)
        member.pending = member.actor.where.remote()
        member.step, member.begun = "placing", time.monotonic()

    def _answered(self, member: Member) -> None:
        try:
            answer = ray.get(member.pending)
        except exceptions.RayError as error:
            self._lost(member, error)
            return
        if member.step == "placing":
            member.pid, member.node = answer
            if member.node in self._avoid:
                self._again(member, 0.0)
            else:
                member.step, member.pending = "loading", member.actor.identity.remote()
        elif isinstance(answer, BackboneIdentity):
            self._loaded(member, answer)
        else:
            self._refused(member, answer)

    def _loaded(self, member: Member, identity: BackboneIdentity) -> None:
        first = self.identity is None
        if first:
            self._config = _at_precision(self._config, identity.precision)
        elif identity != self.identity:
            # Of weights of its own, or before it was told what `auto` was for the first.
            text = f"backbone: got {identity}, expected {self.identity}, as on the first node"
            self._refused(member, StreamerError(text))
            return
        member.pending = member.actor.stand.remote()
        took_s = time.monotonic() - member.begun
        if member.lost_at is not None:
            self.recoveries_s.append(time.monotonic() - member.lost_at)
        with self.changed:
            self.identity, member.step = identity, "up"
            if member.replaces is not None:
                member.replaces.leaving = True
            self.changed.notify_all()
        log.info("backbone_up", pid=member.pid, node=member.node, took_s=round(took_s, 3))

    def _refused(self, member: Member, error: MuscError | StreamerError) -> None:
        """It says itself why it cannot work there: others may elsewhere, and so may it later."""
        self._refusal = self._refusal or error
        log.warning("backbone_refused", pid=member.pid, node=member.node, text=str(error))
        self._again(member, _AGAIN_S)

    def _lost(self, member: Member, error: BaseException) -> None:
        was_up = member.step == "up"
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        log.warning("backbone_lost", pid=member.pid, node=member.node, in_flight=member.in_flight, text=text)
        if not was_up:
            self._deaths.append(text)
        self._again(member, 0.0 if was_up else _AGAIN_S if self.identity else _LOOK_S, lost=was_up)

    def _again(self, member: Member, after_s: float, *, lost: bool = False) -> None:
        """Put a new one in its place, in a while, unless it has a successor."""
        now = time.monotonic()
        lost_at = now if lost else member.lost_at
        successor = Member(member.restarts + lost, lost_at, now + after_s, replaces=member.replaces)
        place = self._members.index(member)
        with self.changed:
            self._members[place : place + 1] = [] if member.moving else [successor]
            member.step = "gone"
            self.changed.notify_all()
        self._kill(member)

    def _move(self) -> None:
        """Have a successor made of each actor on a node that is to go."""
        with self.changed:
            self._avoid.update(self._drained)
            self._drained.clear()
            there = [member for member in self._members if member.node in self._avoid and not member.moving]
            for member in there:
                member.moving = True
                self._members.append(Member(member.restarts, replaces=member))

    def _judge_start(self) -> None:
        """Whether to go on trying to get the first one up."""
        if self.identity is not None or self._cannot is not None:
            return
        steps = {member.step for member in self._members}
        if self._refusal is not None and steps == {"due"}:
            cannot = self._refusal
        elif len(self._deaths) >= _DEATHS * len(self._members):
            cannot = StreamerError(f"engine.backbones: none comes up ({self._deaths[-1]})")
        elif time.monotonic() - self._began > _START_S and "loading" not in steps:
            cannot = self._refusal or StreamerError(_no_room(self._room()))
        else:
            return
        with self.changed:
            self._cannot = cannot
            self.changed.notify_all()

    def _room(self) -> dict[str, Any]:
        """What is asked for an actor, and what there is."""
        engine = self._config.engine
        nodes = [
            f"{node.address}: {node.cpus:g} CPUs, {node.gpus:g} GPUs"
            for node in self._cluster.nodes()
            if node.alive and node.id not in self._avoid
        ]
        return {
            "asked": f"{engine.backbone_cpus:g} CPUs, {engine.backbone_gpus:g} GPUs",
            "there_is": "; ".join(nodes),
        }

    def _kill(self, member: Member) -> None:
        if member.actor is not None:
            member.pending = None
            with contextlib.suppress(exceptions.RayError, ValueError, RuntimeError):
                ray.kill(member.actor)


def _at_precision(config: Config, precision: str) -> Config:
    """`auto` is what it became for the first: another processor must not make another thing of it."""
    backbone = config.backbone.model_copy(update={"precision": precision})
    return config.model_copy(update={"backbone": backbone})


def _no_room(room: dict[str, Any]) -> str:
    return (
        f"engine.backbones: no node has room for one ({room['asked']} each: engine.backbone_cpus and "
        f"engine.backbone_gpus) in {_START_S:g} s; there is {room['there_is']}; ask for less or add a node"
    )
