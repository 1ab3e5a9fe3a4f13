"""Processes for lines: made where they are wanted, and in a cluster of our own kept ready for the next."""

import threading
from collections import deque
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from streamer.cluster.exchange import LineEndedError, ShardLostError
from streamer.cluster.line_actor import BESIDE, LineActor
from streamer.cluster.start import LOST, Cluster

GONE: tuple[type[Exception], ...] = (*LOST, ShardLostError, LineEndedError)
"""What is raised for a line whose process, node or shards are gone."""
_MOST = 2
"""That wait. One takes some 0.4 GB."""
_AT_START = 8
_END_S = 60.0
"""For a line to let go of its files; one that hangs is ended."""


class Spares:
    """Hands out actors for lines; safe from any thread.

    In a cluster of our own nobody asks for a share of a node, so that one may wait without taking it from
    others: a line that died, or a stream that wakes, has a process at once. One whose line ended is kept.

    Args:
        cluster: where.
        level: of the actors' logs.
        gpus: that a line asks; of GPUs none is kept from others for one that waits.
    """

    def __init__(self, cluster: Cluster, level: str, gpus: float = 0.0) -> None:
        self._cluster, self._level = cluster, level
        self._keeps = cluster.own and not gpus
        self._lock = threading.Lock()
        self._idle: deque[Any] = deque()
        self._warming: tuple[Any, Any] | None = None
        """One that loads with what others leave, and what says when it has: another is up before."""
        self._closed = False
        self._settled = False

    def prepare(self, count: int) -> None:
        """Have so many ready as soon as may be, up to a few: they are wanted at once."""
        if self._keeps:
            options = self._cluster.options(0.0)
            with self._lock:
                while len(self._idle) < min(count, _AT_START):
                    actor = self._make(options)
                    actor.load.remote()
                    self._idle.append(actor)

    def settle(self) -> None:
        """Whoever uses it is up: from now on one waits."""
        if self._keeps:
            options = self._cluster.options(0.0)
            with self._lock:
                self._settled = True
                self._warm(options)

    def take(self, cpus: float, gpus: float, node: str | None, avoid: set[str]) -> Any:
        """An actor without a line, perhaps not placed yet.

        Args:
            cpus, gpus: that it asks of its node.
            node: where it is to be; None for anywhere.
            avoid: nodes where it is not to be.
        """
        if not self._keeps:
            return self._make(self._cluster.options(cpus, gpus, node, avoid))
        options = self._cluster.options(cpus, gpus)
        with self._lock:
            self._look()
            actor = self._idle.popleft() if self._idle else None
            self._warm(options)
        return self._make(options) if actor is None else actor

    def give_back(self, actor: Any) -> None:
        """Take an actor back whose line is no more wanted; it is ended, or kept."""
        try:
            ray.get(actor.end.remote(), timeout=_END_S)
        except (*GONE, GetTimeoutError):
            end(actor)
            return
        with self._lock:
            if self._keeps and not self._closed and len(self._idle) < _MOST:
                self._idle.appendleft(actor)
                return
        end(actor)

    def close(self) -> None:
        """End those that wait."""
        with self._lock:
            self._closed = True
            if self._warming is not None:
                self._idle.append(self._warming[0])
                self._warming = None
            while self._idle:
                end(self._idle.pop())

    def _look(self) -> None:
        """Whether the one that loads has; under the lock."""
        if self._warming is not None:
            actor, loaded = self._warming
            if ray.wait([loaded], timeout=0)[0]:
                self._warming = None
                self._idle.append(actor)

    def _warm(self, options: dict[str, Any]) -> None:
        """Begin a spare, where there is none; under the lock."""
        if self._settled and not self._closed and not self._idle and self._warming is None:
            actor = self._make(options)
            self._warming = actor, actor.warm.remote()

    def _make(self, options: dict[str, Any]) -> Any:
        made: Any = ray.remote(LineActor)
        return made.options(**options, max_concurrency=1 + BESIDE).remote(self._level)


def end(actor: Any) -> None:
    """End an actor, whatever it does; one that is gone is let be."""
    with suppress(*GONE, ValueError):
        ray.kill(actor, no_restart=True)
