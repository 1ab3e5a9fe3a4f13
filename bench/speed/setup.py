"""Tokens to measure on, and what the machine can do."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.machine import cores, processor
from musc_online.arrays import Geometry


@dataclass(frozen=True)
class Shape:
    """One image's features."""

    n_stages: int = 4
    n_patches: int = 256
    n_channels: int = 384
    degrees: tuple[int, ...] = (1, 3, 5)

    @property
    def geometry(self) -> Geometry:
        """As a matcher takes it."""
        return Geometry(self.n_stages, self.degrees, self.n_patches, self.n_channels)

    def pair_flop(self, *, degrees: bool) -> float:
        """Operations of one pair's products, for all degrees as published or once."""
        once = 2.0 * self.n_patches**2 * self.n_channels * self.n_stages
        return once * len(self.degrees) if degrees else once


def tokens(shape: Shape, n_images: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """`[S, N, P, C]` tokens of one product: a common scene, and what is each image's own."""
    generator = np.random.default_rng(seed)
    size = (shape.n_stages, 1, shape.n_patches, shape.n_channels)
    scene = generator.standard_normal(size, np.float32)
    own = generator.standard_normal((shape.n_stages, n_images, *size[2:]), np.float32)
    return scene + own


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def float32_peak() -> float:
    """The machine's measured float32 GEMM rate in GFLOP/s: the best of ten large products."""
    n = 1536
    one, other = torch.ones(n, n), torch.ones(n, n)
    best = min(timed(lambda: torch.mm(one, other)) for _ in range(10))
    return 2.0 * n**3 / best / 1e9


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, vector instructions, threads, load."""
    model, flags = processor()
    wanted = ("avx2", "avx_vnni", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8")
    return {
        "processor": model,
        "vector_instructions": [flag for flag in wanted if flag in flags],
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "float32_gemm_gflops": round(float32_peak(), 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
