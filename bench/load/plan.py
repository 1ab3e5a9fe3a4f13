"""What a load test is asked for: cameras, their frames, and what is killed under them in which order."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

KINDS = {
    "line": "line actor of a stream",
    "backbone": "backbone actor",
    "gate": "detector's own process",
    "shard": "shard actor of a stream",
    "node": "node, every process of it",
}
"""What can be killed."""
OF_RAY = KINDS.keys() - {"gate"}
"""What only `engine.name: ray` has."""
_WINDOW = 16


def interleaved(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Kinds in the order in which they are killed: one of each kind in turn, as long as there are any.

    Args:
        counts: how often each of `KINDS` is to be killed.
    """
    rounds = range(max(counts.values(), default=0))
    return tuple(kind for turn in rounds for kind in KINDS if counts.get(kind, 0) > turn)


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        publishers: cameras, a stream each.
        fps: frames a second of each.
        seconds: how long each sends.
        size: side of a frame in pixels.
        kills: kind of each kill -9, in order; they come at even parts of the frames acknowledged.
        engine: `local` or `ray`; None leaves it to the configuration.
        compared: scores are to be those of another run. Then, where the gate is killed, one frame of a
            camera is under way at a time: what is sent again to the next gate would else come behind what was
            sent since, and score otherwise.
        patience_s: ends what would be waited for in vain.
    """

    publishers: int
    fps: float
    seconds: float
    size: int
    reliable: bool = False
    kills: tuple[str, ...] = ()
    engine: str | None = None
    compared: bool = False
    patience_s: float = 300.0
    prefix: str = field(default_factory=lambda: f"load-{uuid.uuid4().hex[:6]}-")

    @property
    def each(self) -> int:
        """How many frames one camera sends."""
        return round(self.fps * self.seconds)

    @property
    def frames(self) -> int:
        """How many are sent in all."""
        return self.publishers * self.each

    @property
    def window(self) -> int:
        """Frames of a camera that may be sent and not acknowledged."""
        return 1 if self.compared and "gate" in self.kills else _WINDOW

    @property
    def streams(self) -> list[str]:
        """One a publisher; new names each run, so that a server's rings of other streams do not matter."""
        return [f"{self.prefix}{number}" for number in range(self.publishers)]

    def undisturbed(self, engine: str) -> Self:
        """The same frames without a kill, by `engine`."""
        return replace(self, kills=(), engine=engine)
