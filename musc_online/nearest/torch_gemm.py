"""The matcher as torch operations: any device torch knows; the one for CUDA."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from musc_online.nearest.features import grid_side, standardise, unit_windows

# Slots multiplied at once: bounds the product matrices to a few hundred MB at 518 px.
_CHUNK_ELEMENTS = 2**24


class TorchStore:
    """Standardised degree-1 maps on a torch device; one product a degree, exact distances of the winners."""

    name = "gemm"

    def __init__(
        self,
        *,
        capacity: int,
        n_stages: int,
        n_patches: int,
        n_channels: int,
        degrees: Sequence[int],
        dtype: str = "float16",
        device: str = "cpu",
    ) -> None:
        grid_side(n_patches)
        self.degrees = tuple(degrees)
        self._device = torch.device(device)
        shape = (capacity, n_stages, n_patches, n_channels)
        self._maps = torch.zeros(shape, dtype=getattr(torch, dtype), device=self._device)
        per_slot = n_stages * len(self.degrees) * n_patches * max(n_patches, n_channels)
        self._chunk = max(1, _CHUNK_ELEMENTS // per_slot)

    def prepare(self, patch_tokens: npt.NDArray[np.float32]) -> torch.Tensor:
        """`[S, P, C]` tokens to the standardised maps, rounded as they are kept."""
        return torch.from_numpy(standardise(patch_tokens)).to(self._device, self._maps.dtype)

    def put(self, slot: int, features: torch.Tensor) -> None:
        """Keep an image's maps in `slot`."""
        self._maps[slot].copy_(features)

    def match(
        self,
        features: torch.Tensor,
        slots: Sequence[int] | npt.NDArray[np.intp],
        forward: npt.NDArray[np.float32],
        backward: npt.NDArray[np.float32],
    ) -> None:
        """See `PatchStore.match`."""
        index = torch.as_tensor(np.asarray(slots, dtype=np.int64), device=self._device)
        arrival = self._unit(features.float())
        for start in range(0, len(index), self._chunk):
            part = slice(start, start + self._chunk)
            kept = self._unit(self._maps[index[part]].float())
            # |a - b|^2 / 2 = (|a|^2 + |b|^2) / 2 - ab: norms are 1, or 0 for an empty neighbourhood.
            closeness = torch.matmul(arrival, kept.transpose(-1, -2))
            forwards = (closeness - _half_norms(kept).unsqueeze(-2)).argmax(-1)
            backwards = (closeness - _half_norms(arrival).unsqueeze(-1)).argmax(-2)
            forward[part] = _distances(arrival.expand_as(kept), kept, forwards).cpu().numpy()
            backward[part] = _distances(kept, arrival.expand_as(kept), backwards).cpu().numpy()

    @property
    def nbytes(self) -> int:
        """Bytes held between calls."""
        return self._maps.numel() * self._maps.element_size()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The kept maps `[capacity, S, P, C]` (a copy when they live on a device)."""
        return {"maps": self._maps.cpu().numpy()}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Overwrite the kept maps."""
        self._maps.copy_(torch.from_numpy(np.ascontiguousarray(state["maps"])))

    def _unit(self, maps: torch.Tensor) -> torch.Tensor:
        """`[..., S, P, C]` to `[..., S, D, P, C]` unit vectors."""
        return torch.stack([unit_windows(maps, degree) for degree in self.degrees], dim=-3)


def _distances(queries: torch.Tensor, kept: torch.Tensor, winners: torch.Tensor) -> torch.Tensor:
    """Distances to the winners, from the difference of the vectors: exact where cos is near 1."""
    found = torch.gather(kept, -2, winners.unsqueeze(-1).expand(*winners.shape, kept.shape[-1]))
    distances: torch.Tensor = torch.linalg.vector_norm(queries - found, dim=-1)
    return distances


def _half_norms(vectors: torch.Tensor) -> torch.Tensor:
    """Half the squared norms `[..., P]`."""
    return vectors.square().sum(-1) * 0.5
