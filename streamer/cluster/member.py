"""One actor of the pool of backbones, and how far it is."""

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import ray
from ray import exceptions

if TYPE_CHECKING:
    from streamer.server.stream import QueuedFrame

Step = Literal["due", "placing", "warming", "warm", "loading", "up", "gone"]


@dataclass(eq=False)
class Member:
    """An actor, or the wait for one. What others than the pool's thread read changes under its lock.

    `pending` is what it was asked, and whose answer is waited for: where it is, to get warm (a spare), its
    identity, then a call that ends with it. One that is `moving` has a successor, and is `leaving` once that
    is up: it finishes what it has.
    """

    restarts: int = 0
    lost_at: float | None = None
    """When its predecessor was."""
    due: float = 0.0
    replaces: "Member | None" = None
    step: Step = "due"
    since: float = field(default_factory=time.monotonic)
    """When its step began."""
    actor: Any = None
    pending: Any = None
    pid: int | None = None
    node: str = ""
    in_flight: int = 0
    alone_for: "QueuedFrame | None" = None
    """The frame that has it for itself, or waits for that."""
    lost: BaseException | None = None
    """What its frames say of it: it is gone."""
    moving: bool = False
    leaving: bool = False
    told: bool = False
    """That it was not placed yet: there is no room, or much else to do."""

    def ask(self, step: Step, method: str, *arguments: Any) -> None:
        """Go on to a step, which ends with the answer to a call."""
        self.pending = getattr(self.actor, method).remote(*arguments)
        self.step, self.since = step, time.monotonic()

    def kill(self) -> None:
        """End the actor, if there is one."""
        self.step, self.pending = "gone", None
        if self.actor is not None:
            with contextlib.suppress(exceptions.RayError, ValueError, RuntimeError):
                ray.kill(self.actor)

    def status(self) -> dict[str, Any]:
        """For an operator; `pid` is None while it is not placed."""
        return {name: getattr(self, name) for name in ("pid", "node", "in_flight", "restarts")}
