"""Which node has what: streams moved by request, and off a node that is to go."""

import threading
from typing import Any

import structlog

from streamer.cluster.lines import Lines
from streamer.cluster.pool import Pool
from streamer.cluster.scoring import LineScoring
from streamer.cluster.start import Cluster, Node
from streamer.errors import WireError
from streamer.printable import printable
from streamer.server.streams import Streams
from streamer.server.threads import Worker

log = structlog.get_logger()

_LOOK_S = 2.0


class Placement(Worker):
    """Moves lines; by itself off nodes that Ray says are draining, as an autoscaler has it.

    Args:
        cluster: whose nodes are looked at.
        streams: the open ones.
        lines: of the streams.
        scoring: moves them.
        pool: has the backbones.
        draining: ids of nodes where nothing is placed any more; kept here, read by whoever places.
        failed: called if the thread dies.
    """

    def __init__(
        self,
        cluster: Cluster,
        streams: Streams,
        lines: Lines,
        scoring: LineScoring,
        pool: Pool,
        draining: set[str],
        failed: Any,
    ) -> None:
        super().__init__("placement", failed)
        self._cluster, self._streams, self._pool = cluster, streams, pool
        self._lines, self._scoring = lines, scoring
        self._draining = draining
        self._known: list[Node] = cluster.nodes()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End, after the line being moved; done twice it does nothing."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def work(self) -> None:
        """Look at the nodes now and then, until stopped."""
        while not self._stopping.wait(_LOOK_S):
            with self.progress.step("look at nodes"):
                self.look()

    def look(self) -> None:
        """See which nodes there are; empty those that are to go."""
        self._known = self._cluster.nodes()
        alive = {node.id for node in self._known if node.alive}
        self._draining &= alive
        for node in self._known:
            if node.alive and node.draining and node.id not in self._draining:
                log.info("node_draining", node=node.id, address=node.address)
                self._empty(node.id)

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes as last seen, and how many lines and backbones are on each."""
        lines = [line.node for line in self._lines.open().values()]
        backbones = [one["node"] for one in self._pool.status()]
        return [
            {
                "id": node.id,
                "address": node.address,
                "alive": node.alive,
                "head": node.is_head,
                "draining": node.id in self._draining,
                "cpus": node.cpus,
                "gpus": node.gpus,
                "lines": lines.count(node.id),
                "backbones": backbones.count(node.id),
            }
            for node in self._known
        ]

    def move(self, name: str, node: str | None) -> dict[str, Any]:
        """Have a stream's line go on elsewhere.

        Args:
            name: of an open stream.
            node: id of a node; None for any other.

        Raises:
            WireError: `bad_value` for an unknown stream or node; `no_line`; `snapshot_failed`, it stays then.
        """
        stream = self._streams.get(name)
        line = None if stream is None else self._lines.open().get(name)
        if stream is None or line is None:
            raise WireError("bad_value", f"stream: got '{printable(name)[:80]}', expected one with a line")
        if node is not None:
            self._check(node)
        avoid = frozenset() if node is not None or line.node is None else frozenset({line.node})
        before = line.node
        return {"stream": name, "from": before, "to": self._scoring.move(stream, node, avoid)}

    def drain(self, node: str) -> dict[str, Any]:
        """Move everything off a node, and place nothing there again while it lives.

        Raises:
            WireError: `bad_value` for an unknown node, or the last one.
        """
        self._check(node)
        if not any(
            other.alive and other.id not in {*self._draining, node} for other in self._cluster.nodes()
        ):
            raise WireError("bad_value", f"node: got '{node}', which is the last one; add another first")
        return {"node": node, "moved": self._empty(node)}

    def _empty(self, node: str) -> list[str]:
        self._draining.add(node)
        self._pool.drain(node)
        moved = []
        for name, line in self._lines.open().items():
            stream = self._streams.get(name)
            if line.node == node and stream is not None:
                try:
                    self._scoring.move(stream, None, frozenset(self._draining))
                    moved.append(name)
                except WireError as error:
                    log.error("line_not_moved", stream=name, code=error.code, text=error.text)
        return moved

    def _check(self, node: str) -> None:
        alive = [one.id for one in self._cluster.nodes() if one.alive]
        if node not in alive:
            there = ", ".join(alive)
            raise WireError("bad_value", f"node: got '{printable(str(node))[:80]}', expected one of {there}")
