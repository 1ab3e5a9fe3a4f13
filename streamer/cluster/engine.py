"""The engine on Ray: what a service uses instead of its own threads (`streamer.server.engine`)."""

from typing import Any

import structlog

from streamer.cluster import fence
from streamer.cluster.lines import Lines
from streamer.cluster.pipeline import LinePipeline
from streamer.cluster.placement import Placement
from streamer.cluster.published import Published
from streamer.cluster.remote_line import Given
from streamer.cluster.resources import Resources
from streamer.cluster.scoring import LineScoring
from streamer.cluster.snapshots import LineSnapshots
from streamer.progress import Progress
from streamer.server.engine import Parts, Step
from streamer.server.restoring import Restorer
from streamer.server.snapshot_tally import SnapshotTally

log = structlog.get_logger()

_RECOVERIES = 1000
_PATIENCE_S = 30.0
"""For lines of a gate that was killed: Ray ends them within moments."""


class ClusterEngine:
    """Backbones and lines on a cluster; the process of the service is its gate.

    Args:
        parts: of the service.
        resources: begun by the caller; None begins them.
        owned: whether they end with the engine, and not when the caller says.

    Raises:
        StreamerError: the cluster cannot be reached or trusted, or has no room for a backbone.
        WeightsError, ConfigError: the backbone cannot be loaded.
    """

    def __init__(self, parts: Parts, resources: Resources | None = None, *, owned: bool = False) -> None:
        config = self._config = parts.config
        self._owns = owned or resources is None
        self.resources = resources or Resources(config)
        self.resources.tell(parts.failed)
        try:
            self.cluster, self.pool = self.resources.cluster, self.resources.pool
            self.identity = self.pool.identity()
            progress = Progress()
            tally = SnapshotTally(parts.outbox)
            # It says what is on disk; what is written there, the lines write.
            restorer = Restorer(config.snapshot.path, tally, (False, False), lambda: None)
            draining = set[str]()
            folder = config.snapshot.path
            signed = None if folder is None else fence.signature(folder)
            spares, ledger = self.resources.spares, parts.outcomes.ledger
            given = Given(self.cluster, spares, self.identity, ledger, signed, draining)
            published = Published(parts.outcomes, parts.observe, parts.observe_score)
            self.lines = Lines(parts.streams, given, published, restorer, progress)
            self.scoring = LineScoring(self.lines, published)
            self.snapshots = LineSnapshots(
                config.snapshot.path,
                config.snapshot.every_s,
                parts.streams,
                self.lines,
                tally,
                parts.failed,
            )
            self.pipeline = LinePipeline(
                parts.intake,
                self.pool,
                self.scoring,
                parts.outcomes,
                config.limits.streams + config.limits.sleeping,
                progress,
                parts.failed,
                lambda: self.resources.is_gone,
            )
            self.placement = Placement(
                self.cluster, parts.streams, self.lines, self.scoring, self.pool, draining, parts.failed
            )
        except BaseException:
            self.close()
            raise

    def resume(self) -> None:
        """Open the streams that have a ring on disk, once the lines of an earlier gate are gone."""
        folder = self._config.snapshot.path
        held = [] if folder is None else fence.wait_for_all(folder, _PATIENCE_S)
        for name in held:
            log.warning(
                "line_of_before", file=name, text="its process goes on: its stream cannot be opened yet"
            )
        self.lines.resume()

    def steps(self) -> list[Step]:
        """Its parts in the order they are started."""
        return [
            (self.snapshots.start, self.snapshots.stop),
            (self.placement.start, self.placement.stop),
            (self._settle, bool),
            (self.pipeline.start, self.pipeline.join),
        ]

    def end_workers(self) -> None:
        """Look at nodes no more, and end the backbones, whatever they do."""
        if self.resources.is_gone:  # nobody would answer, and the process ends
            return
        self.placement.stop()
        if self._owns:
            self.pool.stop()

    def status(self) -> dict[str, Any]:
        """Nodes, backbones, lines and shards: where they are, and how long the dead took to be replaced."""
        lines = self.lines.open()
        recovered = [took for line in lines.values() for took in line.recoveries_s]
        recovered += self.pool.recoveries_s()
        return {
            "name": "ray",
            "address": self.cluster.address,
            "nodes": self.placement.nodes(),
            "backbones": self.pool.status(),
            "lines": {name: line.status() for name, line in lines.items()},
            "shards": {name: line.shards for name, line in lines.items() if line.shards},
            "recoveries_s": recovered[-_RECOVERIES:],
        }

    def move(self, stream: str, node: str | None) -> dict[str, Any]:
        """Have a stream's line go on elsewhere; see `Placement.move`."""
        return self.placement.move(stream, node)

    def drain(self, node: str) -> dict[str, Any]:
        """Move everything off a node; see `Placement.drain`."""
        return self.placement.drain(node)

    def close(self) -> None:
        """End lines and backbones, and let go of the cluster; done twice it does nothing."""
        if hasattr(self, "lines") and not self.resources.is_gone:
            self.lines.close()
        if self._owns:
            self.resources.close()

    def _settle(self) -> None:
        self.pool.settle()
        self.resources.spares.settle()
