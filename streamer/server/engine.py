"""What decodes, extracts, matches and keeps rings for a service: here by threads of this process.

The other engine is `streamer.cluster.engine`, of the same interface.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from musc_online import backbones
from musc_online.backbones import Backbone
from musc_online.config import Config
from streamer.errors import WireError
from streamer.progress import Progress
from streamer.server.decode_pool import DecodePool
from streamer.server.intake import Intake
from streamer.server.outbox import Outbox
from streamer.server.outcomes import Outcomes
from streamer.server.pipeline import Pipeline
from streamer.server.scoring import Scoring
from streamer.server.snapshots import Snapshots
from streamer.server.stream import Stream
from streamer.server.streams import Streams
from streamer.wire.frame import Limits
from streamer.wire.requests import Word

Step = tuple[Callable[[], object], Callable[[], object]]
"""How a part is started, and how it is stopped."""


@dataclass(frozen=True)
class Parts:
    """What a service has made before its engine.

    `observe` is told milliseconds by phase of each frame, `observe_score` a stream's raw scores, `failed` of
    errors that end the service.
    """

    config: Config
    limits: Limits
    streams: Streams
    outcomes: Outcomes
    outbox: Outbox
    intake: Intake
    observe: Callable[[Mapping[str, float]], None]
    observe_score: Callable[[str, float], None]
    failed: Callable[[BaseException], None]


class Identity(Protocol):
    """What is said of a backbone."""

    @property
    def fingerprint(self) -> str:
        """Of its weights."""
        ...

    @property
    def precision(self) -> str:
        """In which it runs."""
        ...


class Frames(Protocol):
    """Takes frames of the intake until that is closed and empty."""

    @property
    def progress(self) -> Progress:
        """The steps that it is in."""
        ...

    def join(self) -> None:
        """Wait until everything accepted is scored."""
        ...

    def run_between_frames(self, job: Callable[[], None]) -> None:
        """Run something where rings may be changed."""
        ...


class Rings(Protocol):
    """What is done to rings; called where `Frames.run_between_frames` runs it. Raises as `Scoring` does."""

    def flush(self, stream: Stream) -> int:
        """Make every score final; how many there were."""
        ...

    def reset(self, stream: Stream) -> None:
        """Forget a stream's ring."""
        ...

    def operate(self, stream: Stream, word: Word) -> dict[str, Any]:
        """An operator's word."""
        ...


class Keeper(Protocol):
    """Rings on disk, as `streamer.server.snapshots.Snapshots` keeps them."""

    @property
    def progress(self) -> Progress:
        """The steps that it is in, and those of who asks it."""
        ...

    @property
    def failed_text(self) -> str | None:
        """Why the last snapshot could not be written."""
        ...

    def stop(self) -> None:
        """End, after the file being written."""
        ...

    def save_now(self) -> list[dict[str, Any]]:
        """Write every stream."""
        ...

    def save_last(self) -> None:
        """Write what changed, once everything is scored."""
        ...

    def save_and_release(
        self, stream: Stream, due: Callable[[Stream], bool], release: Callable[[Stream], None]
    ) -> None:
        """Write a stream's ring and let go of it."""
        ...

    def forget(self, stream: Stream) -> None:
        """Delete the file of a stream that was emptied on purpose."""
        ...

    def status(self) -> dict[str, Any]:
        """What became of files."""
        ...


class Engine(Protocol):
    """What a service does its work with."""

    @property
    def identity(self) -> Identity:
        """Of the backbone."""
        ...

    @property
    def pipeline(self) -> Frames:
        """Where frames go."""
        ...

    @property
    def scoring(self) -> Rings:
        """Where operators' words go."""
        ...

    @property
    def snapshots(self) -> Keeper:
        """Where rings are kept."""
        ...

    def resume(self) -> None:
        """Open the streams that have a ring on disk."""
        ...

    def steps(self) -> list[Step]:
        """Its parts in the order they are started; `pipeline` is the last, and ends with the intake."""
        ...

    def end_workers(self) -> None:
        """End what has no more frames to work on, whatever it does."""
        ...

    def status(self) -> dict[str, Any]:
        """What `status` says of it, under `engine`."""
        ...

    def move(self, stream: str, node: str | None) -> dict[str, Any]:
        """Have a stream's ring go on elsewhere, on a node or on any other; raises WireError."""
        ...

    def drain(self, node: str) -> dict[str, Any]:
        """Move everything off a node; raises WireError."""
        ...

    def close(self) -> None:
        """Let go of everything; done twice it does nothing."""
        ...


MakeEngine = Callable[[Parts], Engine]


class LocalEngine:
    """Threads of this process, and two that decode in processes of their own.

    Args:
        parts: of the service.
        backbone: loaded by the caller; None loads the configured one.

    Raises:
        WeightsError, ConfigError: the backbone cannot be loaded.
    """

    def __init__(self, parts: Parts, backbone: Backbone | None = None) -> None:
        config = parts.config
        self.identity = backbone = backbone or backbones.load_configured(config.backbone)
        self.snapshots = Snapshots(
            config.snapshot.path,
            config.snapshot.every_s,
            (config.snapshot.journal, config.history.durable),
            parts.streams,
            parts.outcomes.ledger,
            lambda job: self.pipeline.run_between_frames(job),  # noqa: PLW0108  (it is made below)
            parts.outbox,
            parts.failed,
        )
        self.scoring = Scoring(
            parts.streams,
            backbone,
            parts.outcomes,
            self.snapshots.restorer,
            parts.observe,
            parts.observe_score,
        )
        self.decoders = DecodePool(parts.limits, config.limits.decode_s)
        self.pipeline = Pipeline(
            parts.intake,
            backbone,
            self.scoring.score,
            parts.outcomes,
            self.decoders,
            config.transport.batch,
            parts.failed,
        )
        self.snapshots.restorer.progress = self.pipeline.progress

    def resume(self) -> None:
        """Open the streams that have a ring on disk; before the matching thread starts."""
        self.scoring.resume()

    def steps(self) -> list[Step]:
        """Its parts in the order they are started."""
        return [
            (self.snapshots.start, self.snapshots.stop),
            (self.decoders.start, self.decoders.stop),
            (self.pipeline.start, self.pipeline.join),
        ]

    def end_workers(self) -> None:
        """End the processes that decode, whatever they do."""
        self.decoders.stop()

    def status(self) -> dict[str, Any]:
        """What `status` says of it."""
        return {"name": "local"}

    def move(self, stream: str, node: str | None) -> dict[str, Any]:
        """Refuse: there is nowhere else.

        Raises:
            WireError: `not_configured`.
        """
        raise WireError("not_configured", "move: everything is in one process; set engine.name to ray")

    def drain(self, node: str) -> dict[str, Any]:
        """Refuse: there is one machine.

        Raises:
            WireError: `not_configured`.
        """
        raise WireError("not_configured", "drain: everything is in one process; set engine.name to ray")

    def close(self) -> None:
        """Close the journals: no score goes out any more."""
        self.snapshots.close()
