"""How a service is: what an operator asks, and the few counts that its supervisor is told."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from musc_online.config import Config
from streamer.server import host
from streamer.server.engine import Engine
from streamer.server.history import History
from streamer.server.intake import Intake
from streamer.server.outbox import Outbox
from streamer.server.outcomes import Ledger
from streamer.server.sources import Sources
from streamer.server.streams import Streams


@dataclass(frozen=True)
class Standing:
    """The parts of a service that know; `begun_ns` is when it began, `time.monotonic_ns`."""

    config: Config
    begun_ns: int
    ledger: Ledger
    streams: Streams
    sources: Sources
    history: History
    outbox: Outbox
    intake: Intake
    engine: Engine

    def tally(self) -> dict[str, int]:
        """How many streams are open, and what became of frames so far.

        `worked` moves with the pipeline's steps on frames, which `at_work` are under way, 1 or 0; `written`
        with snapshots begun and written, `writing` likewise.
        """
        totals = self.ledger.totals()
        frames, files = self.engine.pipeline.progress, self.engine.snapshots.progress
        return {
            "streams": len(self.streams.known()),
            "scored": totals["scored"],
            "dropped": sum(totals["dropped"].values()),
            "refused": sum(totals["refused"].values()),
            "queued": totals["queued"],
            "worked": frames.moves,
            "at_work": frames.at_work,
            "written": files.moves,
            "writing": files.at_work,
        }

    def status(self, endpoints: Mapping[str, str], lost_lines: int) -> dict[str, Any]:
        """What an operator asks; `received = scored + dropped + refused + queued`, in all and per stream."""
        tallies = self.ledger.streams()
        known, snapshots = self.streams.known(), self.engine.snapshots
        self.sources.frames_came({stream.name: stream.newest_ns for stream in known})
        sources = self.sources.status()
        states = {
            stream.name: {
                "tiles": stream.config.tiles.model_dump(),
                "picture": stream.config.output.picture.model_dump(),
                "warmup": stream.config.warmup,
                "latency_ms": stream.latencies.status(),
                "source": sources.get(stream.name),
                **stream.state,
            }
            for stream in known
        }
        streams = {name: {**tally, **states.get(name, {})} for name, tally in tallies.items()}
        rings = sum(int(state.get("bytes", 0)) for state in states.values())
        asleep = sum(state["state"] == "asleep" for state in states.values())
        kept = self.history.status()
        return {
            **self.ledger.totals(),
            "version": host.version(),
            "uptime_s": (time.monotonic_ns() - self.begun_ns) / 1e9,
            "model_id": self._model_id(),
            "precision": self.engine.identity.precision,
            "state": "degraded" if self.outbox.history_failed or snapshots.failed_text else "ready",
            "published": self.outbox.published,
            "bytes": {"rings": rings, "queue": self.intake.status()["bytes"], "history": kept["bytes"]},
            "history": {
                **kept,
                "failed": self.outbox.history_failed,
                "free_bytes": host.free_bytes(self.config.history.path),
            },
            "snapshot": {**snapshots.status(), "free_bytes": host.free_bytes(self.config.snapshot.path)},
            "asleep": asleep,
            "log": {"lost_lines": lost_lines},
            "streams": streams,
            "sources": {name: source for name, source in sources.items() if name not in streams},
            "engine": self.engine.status(),
            "endpoints": endpoints,
        }

    def _model_id(self) -> str:
        wanted = self.config.backbone
        return f"{wanted.name}@{wanted.image_size}-{self.engine.identity.fingerprint}"
