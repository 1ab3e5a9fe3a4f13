"""Whether the first backbone of a pool can still come up, and what is said where it cannot."""

import time
from collections.abc import Sequence
from typing import Any

from musc_online.config_service import Engine
from musc_online.errors import MuscError
from streamer.cluster.member import Member
from streamer.cluster.start import Cluster
from streamer.errors import StreamerError

_START_S = 60.0
"""After which a start ends that found no place for any; one that loads may take as long as it does."""
_DEATHS = 3
"""Of an actor that never got as far as to work."""


class Beginning:
    """What came of the actors so far, until one is up.

    Attributes:
        refusal: the first that one gave for not loading its backbone.
        deaths: why actors ended, one line each, before they were up.
    """

    def __init__(self) -> None:
        self.refusal: MuscError | StreamerError | None = None
        self.deaths: list[str] = []
        self._began = time.monotonic()

    def cannot(
        self, members: Sequence[Member], cluster: Cluster, engine: Engine
    ) -> MuscError | StreamerError | None:
        """Why no more is to be hoped for; None as long as something is."""
        steps = {member.step for member in members}
        if self.refusal is not None and steps == {"due"}:
            return self.refusal
        if len(self.deaths) >= _DEATHS * len(members):
            return StreamerError(f"engine.backbones: none comes up ({self.deaths[-1]})")
        if time.monotonic() - self._began < _START_S or "loading" in steps:
            return None
        told = room(cluster, engine, ())
        return self.refusal or StreamerError(
            f"engine.backbones: no node has room for one yet ({told['asked']} each: engine.backbone_cpus, "
            f"engine.backbone_gpus) after {_START_S:g} s; there is {told['there_is']}; ask for less"
        )


def room(cluster: Cluster, engine: Engine, avoid: Sequence[str] | set[str]) -> dict[str, Any]:
    """What is `asked` for an actor, and what `there_is`, each a line."""
    nodes = [
        f"{node.address}: {node.cpus:g} CPUs, {node.gpus:g} GPUs"
        for node in cluster.nodes()
        if node.alive and node.id not in avoid
    ]
    return {
        "asked": f"{engine.backbone_cpus:g} CPUs, {engine.backbone_gpus:g} GPUs",
        "there_is": "; ".join(nodes) or "no node",
    }
