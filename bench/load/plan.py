"""What a load test is asked to do."""

import uuid
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """What is asked for. `kills`: kill -9 of our own server, spread over the run."""

    publishers: int
    fps: float
    seconds: float
    size: int
    reliable: bool = False
    kills: int = 0
    patience_s: float = 300.0
    prefix: str = field(default_factory=lambda: f"load-{uuid.uuid4().hex[:6]}-")

    @property
    def frames(self) -> int:
        """How many are sent in all."""
        return self.publishers * round(self.fps * self.seconds)

    @property
    def streams(self) -> list[str]:
        """One a publisher; new names each run, so that a server's rings of other streams do not matter."""
        return [f"{self.prefix}{number}" for number in range(self.publishers)]
