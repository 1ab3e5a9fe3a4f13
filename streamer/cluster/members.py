"""The actors of a pool: placed, loaded, watched, replaced when they die, moved off a node that is to go."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ray
import structlog
from ray import exceptions

from musc_online.config import Config
from musc_online.errors import MuscError
from streamer.cluster import beginning
from streamer.cluster.backbone import BESIDE, BackboneActor
from streamer.cluster.exchange import BackboneIdentity
from streamer.cluster.member import Member
from streamer.cluster.start import Cluster
from streamer.errors import StreamerError
from streamer.server.threads import Worker

log = structlog.get_logger()

_LOOK_S = 0.2
_ROOM_S = 30.0
"""After which an actor that has no place yet is told of."""
_AGAIN_S = 10.0
"""Before the next try where an actor could not be made."""
_RECOVERIES = 1000


class Members(Worker):
    """As many actors as `engine.backbones` says, looked after by this thread.

    Libraries take ten times as long to load as weights. In a cluster of our own, where that costs nothing but
    memory, a spare has loaded them: it takes the place of the next one that is lost.

    No call to Ray is made under the lock: its own thread waits for that lock when a frame is done.

    Args:
        cluster: where they are.
        config: of the service.
        fill: frames that an actor may have at a time.
        failed: called if this thread dies.

    Attributes:
        changed: the lock, and the news that something of them changed.
        closed: set as they are ended.
        begun: set once each was asked for, or none can be.
        may_spare: set once a spare takes nothing from what is more urgent.
        identity: of the backbone, once one is up: all have it.
        recoveries_s: seconds from noticing the loss of an actor to the next one being up, the newest 1000.
    """

    def __init__(
        self, cluster: Cluster, config: Config, fill: int, failed: Callable[[BaseException], None]
    ) -> None:
        def died(error: BaseException) -> None:
            self.fail(error)
            failed(error)

        super().__init__("backbones", died)
        self.changed = threading.Condition()
        self.closed = False
        self.begun, self.may_spare = threading.Event(), threading.Event()
        self.identity: BackboneIdentity | None = None
        self.recoveries_s: deque[float] = deque(maxlen=_RECOVERIES)
        self._cluster, self._config, self._fill = cluster, config, fill
        self._remote = ray.remote(BackboneActor)
        self._members = [Member() for _ in range(config.engine.backbones)]
        self._spare: Member | None = None
        self._spare_due = 0.0 if cluster.own and not config.engine.backbone_gpus else float("inf")
        self._avoid: set[str] = set()
        self._beginning = beginning.Beginning()
        self._cannot: MuscError | StreamerError | None = None
        self._given_up = False

    def wait_up(self) -> BackboneIdentity:
        """What the backbone is, as soon as one is up; what stands in the way of the first is raised.

        Raises:
            WeightsError, ConfigError: the backbone cannot be loaded.
            StreamerError: there is no room for an actor, none comes up, or it was given up.
        """
        with self.changed:
            # With a look now and then: a signal handler may take no lock, and so wakes nobody.
            while not (self.identity or self._cannot or self.closed or self._given_up):
                self.changed.wait(_LOOK_S)
            if self.identity is None:
                raise self._cannot or StreamerError("engine.backbones: they were stopped before one was up")
            return self.identity

    def fail(self, error: BaseException) -> None:
        """None comes up any more where none is yet: the head is gone, say, or this thread."""
        if not isinstance(error, MuscError | StreamerError):
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            error = StreamerError(f"engine.backbones: none comes up ({text})")
        with self.changed:
            self._cannot = self._cannot or error
            self.changed.notify_all()
        self.begun.set()

    def give_up(self) -> None:
        """Have `wait_up` raise, where none is up; a signal handler may call it."""
        self._given_up = True

    def up(self) -> list[Member]:
        """Those that take frames; under the lock."""
        return [one for one in self._members if one.step == "up" and not one.leaving and one.lost is None]

    def status(self) -> list[dict[str, Any]]:
        """Of each `pid` (None while it is not placed), `node`, frames `in_flight`, and `restarts` so far."""
        with self.changed:
            return [member.status() for member in self._members]

    def drain(self, node: str) -> None:
        """Move actors off a node, each once its successor is up; none is placed there any more."""
        with self.changed:
            self._avoid.add(node)

    def close(self) -> None:
        """End them all, whatever they do."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.begun.set()
        if self.ident is not None:
            self.join()
        for member in self._all():
            member.kill()

    def work(self) -> None:
        """Begin what is due, hear what was answered, until closed."""
        while not self.closed:
            self._move()
            if (
                self._spare is None
                and self.may_spare.is_set()
                and self._all_up()
                and time.monotonic() >= self._spare_due
            ):
                self._spare = Member(told=True)
            for member in self._all():
                self._look_at(member)
            self.begun.set()
            if self.identity is None and self._cannot is None:
                self._judge()
            self._hear()

    def _all(self) -> list[Member]:
        return self._members + ([] if self._spare is None else [self._spare])

    def _all_up(self) -> bool:
        return all(member.step == "up" for member in self._members)

    def _judge(self) -> None:
        """Whether to go on trying to get the first one up."""
        cannot = self._beginning.cannot(self._members, self._cluster, self._config.engine)
        with self.changed:
            self._cannot = self._cannot or cannot
            self.changed.notify_all()

    def _hear(self) -> None:
        """Take in what was answered; waits a little for it."""
        pending = {member.pending: member for member in self._all() if member.pending is not None}
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
        elif member.step == "placing" and now - member.since > _ROOM_S and not member.told:
            member.told = True
            there_is = beginning.room(self._cluster, self._config.engine, self._avoid)
            log.warning("backbone_not_placed", **there_is)
        elif member.step == "up" and member.lost is not None:
            self._lost(member, member.lost)
        elif member.leaving and not member.in_flight:
            self._put(member, [])
            log.info("backbone_moved", pid=member.pid, node=member.node)

    def _begin(self, member: Member) -> None:
        engine = self._config.engine
        options = self._cluster.options(engine.backbone_cpus, engine.backbone_gpus, avoid=self._avoid)
        made = self._remote.options(**options, max_concurrency=self._fill + BESIDE)
        member.actor = made.remote(self._config, self._cluster.threads(engine.backbone_cpus))
        member.ask("placing", "where")

    def _load(self, member: Member) -> None:
        # `auto` is what it became for the first: another processor must not make another thing of it.
        wanted = self._config.backbone.precision if self.identity is None else self.identity.precision
        member.ask("loading", "identity", wanted)

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
            elif member is self._spare:
                member.ask("warming", "warm")
            else:
                self._load(member)
        elif member.step == "warming":
            member.ask("warm", "stand")
        elif isinstance(answer, BackboneIdentity):
            self._loaded(member, answer)
        else:
            self._refused(member, answer)

    def _loaded(self, member: Member, identity: BackboneIdentity) -> None:
        if self.identity not in {None, identity}:
            # Of weights of its own, or before it was told what `auto` was for the first.
            text = f"backbone: got {identity}, expected {self.identity}, as on the first node"
            self._refused(member, StreamerError(text))
            return
        took_s = time.monotonic() - member.since
        if member.lost_at is not None:
            self.recoveries_s.append(time.monotonic() - member.lost_at)
        member.ask("loading", "stand")
        with self.changed:
            self.identity, member.step = identity, "up"
            if member.replaces is not None:
                member.replaces.leaving = True
            self.changed.notify_all()
        log.info("backbone_up", pid=member.pid, node=member.node, took_s=round(took_s, 3))

    def _refused(self, member: Member, error: MuscError | StreamerError) -> None:
        """It says itself why it cannot work there: others may elsewhere, and so may it later."""
        self._beginning.refusal = self._beginning.refusal or error
        log.warning("backbone_refused", pid=member.pid, node=member.node, text=str(error))
        self._again(member, _AGAIN_S)

    def _lost(self, member: Member, error: BaseException) -> None:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        log.warning("backbone_lost", pid=member.pid, node=member.node, in_flight=member.in_flight, text=text)
        if member.step == "up":
            self._again(member, 0.0, lost=True)
        else:
            self._beginning.deaths.append(text)
            self._again(member, _LOOK_S if self.identity is None else _AGAIN_S)

    def _again(self, member: Member, after_s: float, *, lost: bool = False) -> None:
        """Put a new one in its place, in a while, unless it has a successor."""
        now = time.monotonic()
        if member is self._spare:
            self._spare, self._spare_due = None, now + after_s
            member.kill()
            return
        successor = Member(
            member.restarts + lost, now if lost else member.lost_at, now + after_s, member.replaces
        )
        self._put(member, [] if member.moving else [successor])
        spare = self._spare
        if lost and not member.moving and spare is not None and spare.step == "warm":
            self._spare = None
            successor.actor, successor.pid, successor.node = spare.actor, spare.pid, spare.node
            self._load(successor)

    def _put(self, member: Member, others: list[Member]) -> None:
        """End a member, and put others in its place."""
        place = self._members.index(member)
        with self.changed:
            self._members[place : place + 1] = others
            self.changed.notify_all()
        member.kill()

    def _move(self) -> None:
        """Have a successor made of each actor on a node that is to go."""
        with self.changed:
            for member in [one for one in self._members if one.node in self._avoid and not one.moving]:
                member.moving = True
                self._members.append(Member(member.restarts, replaces=member))
