"""Which matcher `auto` is: the faster of those that run here, measured once for each shape of features."""

import time
from functools import cache
from importlib.util import find_spec

import numpy as np

from musc_online.nearest.protocol import PatchStore

_REPEATS = 3


@cache
def faster(n_patches: int, n_channels: int, degrees: tuple[int, ...]) -> str:
    """`gemm` or `faiss`, whichever matches a pair of random one-stage images sooner on this CPU.

    Takes some milliseconds at 224 px once the compiled code is cached. Without faiss there is no choice.
    """
    if find_spec("faiss") is None:
        return "gemm"
    seconds = {name: _match_seconds(name, n_patches, n_channels, degrees) for name in ("gemm", "faiss")}
    return min(seconds, key=lambda name: seconds[name])


def _match_seconds(name: str, n_patches: int, n_channels: int, degrees: tuple[int, ...]) -> float:
    store = _store(name, n_patches, n_channels, degrees)
    generator = np.random.default_rng(0)
    tokens = generator.standard_normal((2, 1, n_patches, n_channels), np.float32)
    store.put(0, store.prepare(tokens[0]))
    arrival = store.prepare(tokens[1])
    forward, backward = (np.empty((1, 1, len(degrees), n_patches), np.float32) for _ in range(2))
    seconds = []
    for _ in range(1 + _REPEATS):
        started = time.perf_counter()
        store.match(arrival, [0], forward, backward)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])  # the first call compiles, or loads what was compiled


def _store(name: str, n_patches: int, n_channels: int, degrees: tuple[int, ...]) -> PatchStore:
    from musc_online.nearest import create  # noqa: PLC0415 - which itself asks here

    return create(name, capacity=1, n_stages=1, n_patches=n_patches, n_channels=n_channels, degrees=degrees)
