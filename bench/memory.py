"""Memory of a server process over a run: sampled, compared, fitted."""

from typing import Any

import numpy as np

from streamer.process import ServerProcess

_MIB = 2**20


class Memory:
    """Samples resident memory as a run goes on.

    Args:
        server: running.
        samples: how many over the run.
        steps: of the run.
    """

    def __init__(self, server: ServerProcess, samples: int, steps: int) -> None:
        self.pid = server.pid
        self._server = server
        self._every = max(1, steps // samples)
        self._at: list[int] = []
        self._mib: list[float] = []
        self._step = 0

    def step(self) -> bool:
        """One step further; whether a sample was taken.

        Raises:
            ServerError: the server is down.
        """
        self._step += 1
        if self._step % self._every:
            return False
        self._at.append(self._step)
        self._mib.append(self._server.rss() / _MIB)
        return True

    def growth_mib(self) -> float:
        """Median of the last quarter of the samples less that of the first quarter but for its first half.

        The first eighth is warming up: rings, queues, history and allocator fill.
        """
        n = len(self._mib)
        first, last = self._mib[n // 8 : max(n // 4, n // 8 + 1)], self._mib[-max(1, n // 4) :]
        return float(np.median(last) - np.median(first)) if n else 0.0

    def slope_kib(self) -> float:
        """KiB a step, fitted by least squares to the samples after the first quarter."""
        start = len(self._at) // 4
        if len(self._at) - start < 2:
            return 0.0
        return float(np.polyfit(self._at[start:], self._mib[start:], 1)[0]) * 1024

    def as_dict(self) -> dict[str, Any]:
        """First, largest and last sample in MiB, and what the fits say."""
        if not self._mib:
            return {}
        return {
            "first_mib": round(self._mib[0], 1),
            "max_mib": round(max(self._mib), 1),
            "last_mib": round(self._mib[-1], 1),
            "growth_mib": round(self.growth_mib(), 2),
            "slope_kib_per_step": round(self.slope_kib(), 4),
            "samples": len(self._mib),
        }
