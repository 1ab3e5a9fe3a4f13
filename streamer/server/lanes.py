"""Frames extracted side by side, some by each thread, where enough wait to keep every core busy.

All threads on one frame wait for each other some hundred times in it, and whatever else takes a core for a
moment holds up them all. Where each has frames of its own, nobody waits. A frame that comes alone has all of
the threads, and is done sooner.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property
from itertools import accumulate

import torch

from musc_online import frames
from musc_online.backbones import Backbone
from musc_online.parallel import soloists

Extracted = tuple[torch.Tensor, torch.Tensor]


class Lanes:
    """Extracts prepared inputs, some by each thread or all threads on each: it is the same bytes.

    Made by a thread in which torch computes with all of its threads (`musc_online.parallel.soloists`).

    Args:
        backbone: what extracts.
        at_once: inputs that it gets at a time; where there are more threads, they share each input.
    """

    def __init__(self, backbone: Backbone, at_once: int) -> None:
        self._backbone, self._at_once = backbone, at_once
        self._pool: ThreadPoolExecutor | None = None
        self._number = torch.get_num_threads()
        if 1 < self._number <= at_once and backbone.uses_torch_threads:
            self._pool = soloists(self._number)

    def keep_apart(self, n_inputs: int) -> bool:
        """Whether of so many inputs none is shared by several threads."""
        return sum(self._shares(n_inputs)) == n_inputs

    def extract(self, prepared: torch.Tensor) -> Extracted:
        """As `musc_online.frames.extract`: `[N, 3, S, S]`, N >= 1."""
        shares = self._shares(len(prepared))
        rest = prepared[sum(shares) :]
        parts = self._apart(
            [prepared[end - n : end] for n, end in zip(shares, accumulate(shares), strict=True)]
        )
        if len(rest):
            parts.append(frames.extract(self._backbone, rest, self._at_once))
        if len(parts) == 1:
            return parts[0]
        return torch.cat([tokens for tokens, _ in parts], dim=1), torch.cat([token for _, token in parts])

    def _shares(self, n_inputs: int) -> list[int]:
        """How many inputs each thread gets, turn by turn; what is left over would leave some of them idle."""
        shares: list[int] = []
        if self._pool is None or n_inputs < self._number or not self._is_same_alone:
            return shares
        while share := min(n_inputs // self._number, self._at_once // self._number):
            shares += [share] * self._number
            n_inputs -= share * self._number
        return shares

    def _apart(self, shares: Sequence[torch.Tensor]) -> list[Extracted]:
        if self._pool is None:
            return []
        done = [self._pool.submit(self._backbone.extract, share) for share in shares]
        wait(done)  # all of them: nothing computes on while the caller sees to what one failed of
        return [one.result() for one in done]

    @cached_property
    def _is_same_alone(self) -> bool:
        """Whether one thread gives the very bytes that all together give: tried once, on a frame of noise.

        A library of matrix products may sum in another order with another number of threads, and how many
        frames waited must not show in a score.
        """
        size = self._backbone.image_size
        noise = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        (alone,) = self._apart([noise])
        return all(map(torch.equal, alone, self._backbone.extract(noise)))
