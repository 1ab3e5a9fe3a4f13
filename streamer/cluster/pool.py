"""Frames to the backbones, at the gate: which actor gets which, and what became of it.

The gate sees what an actor says of a frame. Its tokens stay in the store of the node that made them, as long
as somebody holds the reference: no more than a name here.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import structlog
from ray import exceptions

from musc_online.config import Config
from streamer.cluster.exchange import BackboneIdentity, Extracted, Job
from streamer.cluster.member import Member
from streamer.cluster.members import Members
from streamer.cluster.start import LOST, Cluster
from streamer.errors import StreamerError
from streamer.server.logs import RateLimitedLog

if TYPE_CHECKING:
    from streamer.server.stream import QueuedFrame

log = structlog.get_logger()

_OWN_CODES = frozenset(("internal", "backbone_failed"))
"""Of what is wrong with the service, not with a frame."""


class BackboneLostError(StreamerError):
    """An actor went, or its node, with a frame: the frame may be tried again, and has no score yet."""


class PoolClosedError(StreamerError):
    """The pool takes no frames any more."""


class Extraction:
    """A frame on its way through a backbone.

    Attributes:
        tokens: reference to its `exchange.Tokens`; freed once nobody holds it. None in place of them where
            `wait` tells of an error.
        node: id of the node that holds them.
    """

    def __init__(self, facts: "Future[Extracted]", tokens: Any, node: str) -> None:
        self.tokens, self.node = tokens, node
        self._facts = facts

    def when_done(self, call: Callable[[bool], None]) -> None:
        """Have `call` called once, in whatever thread, as `wait` would return or raise.

        It is told whether the frame's picture was decoded in time; of one that was lost nobody knows better.
        """
        self._facts.add_done_callback(
            lambda done: call(done.exception() is not None or done.result().in_time)
        )

    def wait(self) -> Extracted:
        """What is to be said of the frame, once its tokens are there; errors of a frame are in it.

        Raises:
            BackboneLostError: the actor or its node is gone.
        """
        try:
            return self._facts.result()
        except exceptions.RayTaskError as error:  # nothing that a backbone does ends in one
            return Extracted(error=("internal", f"backbone: {_line(error.cause)}"))
        except Exception as error:
            raise BackboneLostError(f"backbone: lost with the frame ({_line(error)})") from None


class Pool:
    """The backbones of a cluster.

    A frame that was in an actor as it died is tried again with an actor to itself: if it was not what killed
    it, it cannot be taken for it because of a neighbour.

    Args:
        cluster: where they are.
        config: of the service.
        failed: called if a thread of it dies.
    """

    def __init__(self, cluster: Cluster, config: Config, failed: Callable[[BaseException], None]) -> None:
        self._fill = 2 * config.transport.batch
        self._members = Members(cluster, config, self._fill, failed)
        self._doubtful: WeakSet[QueuedFrame] = WeakSet()
        self._log = RateLimitedLog()

    def begin(self) -> None:
        """Ask for all; `identity` waits for one."""
        self._members.start()
        self._members.begun.wait()

    def start(self) -> BackboneIdentity:
        """Begin all, and wait until one is up.

        Raises:
            WeightsError, ConfigError: the backbone cannot be loaded.
            StreamerError: no node has room for one, or none comes up.
        """
        self.begin()
        try:
            return self._members.wait_up()
        except BaseException:
            self.stop()
            raise

    def is_up(self) -> bool:
        """Whether any takes frames."""
        with self._members.changed:
            return bool(self._members.up())

    def identity(self) -> BackboneIdentity:
        """What the backbone is; waits and raises as `start`."""
        return self._members.wait_up()

    def fail(self, error: BaseException) -> None:
        """Have whoever waits for the first one told of an error that ends the service."""
        self._members.fail(error)

    def give_up(self) -> None:
        """Have them no longer wait; a signal handler may call it."""
        self._members.give_up()

    def settle(self) -> None:
        """Whoever uses it is up: spares may be loaded."""
        self._members.may_spare.set()

    def submit(self, queued: "QueuedFrame") -> Extraction:
        """Hand a frame to the actor that has fewest; waits while each has its fill, or none is up.

        Raises:
            PoolClosedError: it was stopped, perhaps meanwhile.
        """
        members = self._members
        with members.changed:
            member = self._alone(queued) if queued in self._doubtful else self._with_others()
            member.in_flight += 1
        facts: Future[Extracted] = Future()
        tokens = None
        try:
            extract = member.actor.extract.options(num_returns=2)
            said, tokens = extract.remote(*_as_sent(queued))
            facts = said.future()
        except Exception as error:  # no room for a large payload in the object store, say
            facts.set_exception(error)
        facts.add_done_callback(lambda done: self._done(member, queued, done))
        return Extraction(facts, tokens, member.node)

    def status(self) -> list[dict[str, Any]]:
        """Of each actor `pid` (None while it is not placed), `node`, frames `in_flight` and `restarts`."""
        return self._members.status()

    def recoveries_s(self) -> list[float]:
        """Seconds from noticing that an actor was gone to the next one being up, the newest 1000."""
        return list(self._members.recoveries_s)

    def drain(self, node: str) -> None:
        """Move the actors off a node: each goes once its successor is up elsewhere and it has no frame."""
        self._members.drain(node)

    def stop(self) -> None:
        """End the actors, whatever they do; whoever waits in `submit` or for a frame is woken."""
        self._members.close()

    def _with_others(self) -> Member:
        """An actor with room, as it is found; under the lock, which is given up while there is none."""
        while True:
            free = [one for one in self._up() if one.alone_for is None and one.in_flight < self._fill]
            if free:
                return min(free, key=lambda one: one.in_flight)
            self._members.changed.wait()

    def _alone(self, queued: "QueuedFrame") -> Member:
        """An actor without any other frame, which gets no other; likewise."""
        while True:
            free = [one for one in self._up() if one.alone_for is None]
            if free:
                mine = min(free, key=lambda one: one.in_flight)
                mine.alone_for = queued
                while mine in self._up():
                    if not mine.in_flight:
                        return mine
                    self._members.changed.wait()
                mine.alone_for = None
            else:
                self._members.changed.wait()

    def _up(self) -> list[Member]:
        if self._members.closed:
            raise PoolClosedError("backbone: the pool is closed")
        return self._members.up()

    def _done(self, member: Member, queued: "QueuedFrame", done: "Future[Extracted]") -> None:
        """Ray's own thread, as a rule: makes room for the next frame, whoever waits for this one or not."""
        lost = done.exception()
        error = None if lost else done.result().error
        with self._members.changed:
            member.in_flight -= 1
            if member.alone_for is queued:  # not that of one that was there before
                member.alone_for = None
            if isinstance(lost, LOST):
                member.lost = lost  # at once: the next frame must not be handed to it
                self._doubtful.add(queued)
            self._members.changed.notify_all()
        if error is not None and error[0] in _OWN_CODES:
            self._log.warning("frame_failed", error[0], stream=queued.stream.name, text=error[1])


def _as_sent(queued: "QueuedFrame") -> tuple[Job, npt.NDArray[np.uint8]]:
    """A frame, and its payload by itself: Ray copies an array once, and bytes within others twice."""
    message = queued.message
    payload = np.frombuffer(message.payload, np.uint8) if message.payload else np.empty(0, np.uint8)
    return Job(replace(message, payload=b""), queued.stream.name), payload


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
