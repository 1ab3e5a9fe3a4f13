"""A stream's line as the gate has it: made, opened, asked, and made anew where its process is gone."""

import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray
import structlog
from ray.exceptions import GetTimeoutError, ObjectLostError, RayTaskError

from musc_online.config import Config
from streamer.cluster.exchange import BackboneIdentity, Opened, Redone, Reply, Settled, Told
from streamer.cluster.shard import ShardsWanted
from streamer.cluster.spares import GONE, Spares, end
from streamer.cluster.start import Cluster
from streamer.errors import WireError
from streamer.server.ledger import LastFrame, Ledger
from streamer.server.stream import Stream
from streamer.server.threads import FairLock

log = structlog.get_logger()

_PLACE_S = 60.0
"""For which a line may wait for a node that has room for it."""
_TRIES = 3
_NEWEST = 64
"""Frames settled lately: more than can be under way between a gate and a line."""
_RECOVERIES = 1000
_ANSWER_S = 600.0
"""For what may wait for a slow disk."""
COUNTS = ("written", "failures", "refused", "restored", "replayed")
"""Of files, that go on as a line is made anew."""


@dataclass(frozen=True)
class Asked:
    """One operation: what is asked, and what of a journal would be it."""

    kind: str
    """`frame`, or the name of the line's method."""
    arguments: Callable[[], tuple[Any, ...]] = tuple
    frame_id: int | str | None = None

    @property
    def method(self) -> str:
        """Of the line."""
        return {"frame": "score", "word": "operate"}.get(self.kind, self.kind)

    def is_done_by(self, redone: Redone) -> bool:
        """Whether a change of a journal is this operation."""
        return self.kind == redone.kind and self.frame_id == redone.frame_id


@dataclass(frozen=True)
class Given:
    """What every line of a gate is made with."""

    cluster: Cluster
    spares: Spares
    identity: BackboneIdentity
    ledger: Ledger
    signed: bytes | None
    """`fence.signature` of the snapshots' folder."""
    draining: set[str]
    """Ids of nodes where no line is placed any more."""


class RemoteLine:
    """One line. Whoever changes its ring holds `turn`; `settle` and `status` are for any thread.

    Args:
        stream: whose it is.
        given: what lines are made with.

    Attributes:
        stream: as given.
        wants_snapshot: whether its journal is not to wait for the next round.
        turn: held by whoever asks it to change its ring, or to copy it.
        files: what became of its snapshots, as it said last; `earlier`, what lines of before had counted.
        failed_at: when its file could not be written last, `time.monotonic`.
        recoveries_s: seconds from noticing that it was gone to the first reply of the new one; the newest
            last.
    """

    def __init__(self, stream: Stream, given: Given) -> None:
        self.stream = stream
        self.turn = FairLock()
        self.wants_snapshot = False
        self.restarts = 0
        self.recoveries_s: deque[float] = deque(maxlen=_RECOVERIES)
        self.node: str | None = None
        self.pid: int | None = None
        self.files: dict[str, Any] = {}
        self.shards: list[dict[str, Any]] = []
        self.failed_at = -math.inf
        self.earlier: Counter[str] = Counter()
        self._given = given
        self._actor: Any = None
        self._of = ""
        self._lost_at: float | None = None
        self._last = Reply()
        self._redone: list[Redone] = []
        """What a line of before did, and nobody heard of."""
        self._change: int | None = None
        """Number of the change that is next, as far as replies told."""
        self._settled: deque[Settled] = deque(maxlen=_NEWEST)

    @property
    def is_open(self) -> bool:
        """Whether there is an actor, dead perhaps."""
        return self._actor is not None

    def settle(self, frame: LastFrame, *, late: bool) -> None:
        """A frame's score is out; told without waiting, and once more to a line that is made anew."""
        settled = Settled(frame, late)
        self._settled.append(settled)
        actor = self._actor
        if actor is not None:
            actor.do.remote(self._of, "settle", [settled], self._tally() or {})

    def open(self, room: int, *, node: str | None = None, avoid: frozenset[str] = frozenset()) -> Opened:
        """Make the actor, which restores the ring; with `turn`.

        Args:
            room: bytes that its ring may have.
            node: where it is to be; None for anywhere.
            avoid: nodes where it is not to be.

        Raises:
            WireError: `no_line`, `no_room` or `snapshot_unreadable`; there is no actor then.
        """
        begun = time.monotonic()
        engine, avoided = self.stream.config.engine, {*self._given.draining, *avoid}
        for attempt in range(_TRIES):
            actor = self._given.spares.take(engine.line_cpus, engine.line_gpus, node, avoided)
            try:
                self.pid, self.node = _placed(actor, self.stream.name, self._given.cluster)
                of = uuid.uuid4().hex
                ray.get(self._begin(actor, of, avoided))
                opened: Opened = ray.get(
                    actor.do.remote(
                        of,
                        "open",
                        room,
                        self._change,
                        list(self._settled),
                        self._tally(),
                        asleep=self.stream.asleep,
                    )
                )
                break
            except GONE as lost:
                end(actor)
                log.warning("line_died", stream=self.stream.name, text=_first_line(lost), at="its start")
                if attempt + 1 == _TRIES:
                    text = f"stream '{self.stream.name}': its line died {_TRIES} times as it came up"
                    raise WireError("no_line", text) from None
            except BaseException:
                end(actor)
                raise
        if opened.reply.error is not None:
            self._given.spares.give_back(actor)  # it only refuses
            raise WireError(*opened.reply.error)
        took_s = round(time.monotonic() - begun, 3)
        log.info("line_up", stream=self.stream.name, pid=self.pid, node=self.node, took_s=took_s)
        self._actor, self._of = actor, of
        self._redone, self._last = opened.redone, replace(opened.reply, told=[])
        if not opened.redone:  # else a line that takes the place of this one is to say the same
            self._change = opened.reply.change
        return opened

    def ask(self, asked: Asked, reopen: Callable[[], Opened]) -> Reply:
        """Have an operation done once, whatever dies meanwhile; with `turn`.

        Args:
            asked: the operation.
            reopen: opens this line once more, and takes over what it tells.

        Raises:
            WireError: see `open`; or `internal`, the line died of it each time.
        """
        begun = False
        for _ in range(_TRIES):
            since = self._lost_at
            if self._actor is None:
                reopen()
            # Only what was asked of a line that died is what a line of after did again.
            done = next((one for one in self._redone if begun and asked.is_done_by(one)), None)
            told = [one for other in self._redone if other is not done for one in other.told]
            if done is not None and asked.kind != "frame":
                self._recovered(since)
                self._redone, self._change = [], self._last.change
                return replace(self._last, told=[*told, *done.told], answer=done.answer)
            try:
                begun = True
                reply: Reply = ray.get(self._actor.do.remote(self._of, asked.method, *asked.arguments()))
            except GONE as lost:
                if isinstance(lost, RayTaskError) and isinstance(lost, ObjectLostError):
                    raise  # the line is well: what it was to be given is gone
                self._note_lost(lost)
                continue
            self._recovered(since)
            self._redone, self._change = [], reply.change
            self._look_for_shards()
            return replace(reply, told=[*told, *reply.told, *([] if done is None else done.told)])
        text = f"stream '{self.stream.name}': its line died {_TRIES} times of it"
        raise WireError("internal", text)

    def copy(self, *, asleep: bool) -> bool:
        """Copy its state, to be written; with `turn`. Whether there was one to copy."""
        self.wants_snapshot = False
        return bool(self.call("copy", asleep))

    def call(self, what: str, *args: Any) -> Any:
        """Ask it something that changes nothing; None where it is gone, or does not answer for long.

        Args:
            what: name of a method of `Line`.
            args: its arguments.
        """
        actor = self._actor
        if actor is None:
            return None
        try:
            return ray.get(actor.do.remote(self._of, what, *args), timeout=_ANSWER_S)
        except (*GONE, GetTimeoutError):
            return None

    def look_at_files(self) -> list[Told]:
        """Hear what became of its files; what it tells of them."""
        told: list[Told] = self.call("troubles") or []
        found = self.call("status")
        if found is not None:
            # When the newest file was written outlives whoever wrote it.
            self.files = {**found, "saved_ns": found["saved_ns"] or self.files.get("saved_ns")}
        return told

    def take_redone(self) -> list[Told]:
        """What a line of before did and nobody heard of, where it is not asked for again; with `turn`."""
        redone, self._redone = self._redone, []
        if redone:
            self._change = self._last.change
        return [one for other in redone for one in other.told]

    def end(self) -> None:
        """End the actor and forget it; with `turn`."""
        actor, self._actor = self._actor, None
        self._change, self._redone = None, []
        self._settled.clear()
        self._count_files()
        self.pid, self.node, self.shards = None, None, []
        if actor is not None:
            self._given.spares.give_back(actor)

    def _count_files(self) -> None:
        """Keep what an actor that ends has counted."""
        counts = self.files
        self.earlier.update({name: counts.get(name, 0) for name in COUNTS})
        self.files = {name: counts[name] for name in ("saved_ns", "failed") if name in counts}

    def status(self) -> dict[str, Any]:
        """Process and node, how often it was made anew, and what the last time took."""
        took = self.recoveries_s[-1] if self.recoveries_s else None
        return {"pid": self.pid, "node": self.node, "restarts": self.restarts, "recovery_s": took}

    def _look_for_shards(self) -> None:
        """Where its shards are, which it has from its first frame on."""
        if self.stream.config.engine.shards and not self.shards:
            self.shards = self._shards_of(self._actor)

    def _shards_of(self, actor: Any) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = ray.get(actor.shards.remote(), timeout=_ANSWER_S)
            return found
        except (*GONE, GetTimeoutError):
            return []

    def _note_lost(self, lost: BaseException) -> None:
        self._lost_at = time.monotonic()
        actor, self._actor = self._actor, None
        log.warning("line_died", stream=self.stream.name, pid=self.pid, text=_first_line(lost))
        self.restarts += 1
        self._count_files()
        self.pid, self.shards = None, []
        end(actor)  # one that cannot be reached must not go on

    def _recovered(self, since: float | None) -> None:
        if since is not None:
            took = time.monotonic() - since
            self.recoveries_s.append(took)
            log.info("line_back", stream=self.stream.name, pid=self.pid, seconds=round(took, 2))
            self._lost_at = None

    def _begin(self, actor: Any, of: str, avoid: set[str]) -> Any:
        """Have an actor be this line; what says when it is."""
        given, engine = self._given, self.stream.config.engine
        shards = None
        if engine.shards:
            shards = ShardsWanted.of(given.cluster, engine.shards, engine.shard_cpus, avoid)
        threads = given.cluster.threads(engine.line_cpus)
        config = _anywhere(self.stream.config)
        return actor.begin.remote(of, self.stream.name, config, given.identity, threads, shards, given.signed)

    def _tally(self) -> dict[str, Any] | None:
        return self._given.ledger.stream(self.stream.name)


def _anywhere(config: Config) -> Config:
    """The same where another folder is the current one."""
    if config.snapshot.path is None:
        return config
    snapshot = config.snapshot.model_copy(update={"path": config.snapshot.path.absolute()})
    return config.model_copy(update={"snapshot": snapshot})


def _placed(actor: Any, stream: str, cluster: Cluster) -> tuple[int, str]:
    """Process and node of an actor, once a node had room for it."""
    try:
        found: tuple[int, str] = ray.get(actor.where.remote(), timeout=_PLACE_S)
        return found
    except GetTimeoutError:
        there = ", ".join(
            f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in cluster.nodes() if node.alive
        )
        text = (
            f"stream '{stream}': no node had room for its line within {_PLACE_S:g} s (nodes have {there}); "
            "set engine.line_cpus lower, or add a node"
        )
        raise WireError("no_line", text) from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
