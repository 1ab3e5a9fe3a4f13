"""The matcher as torch operations, for CUDA (and any other device torch knows).

A graphics processor multiplies half precision so fast that what counts is memory: each degree's unit
vectors are made from the kept degree-1 maps, multiplied in half precision with float32 sums to find each
winner, and the winner's distance is taken in float32 from the difference of the two vectors. With a
`position` the whole product is made all the same, and what is out of reach masked: exact, but no cheaper.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from musc_online.arrays import Geometry, overwrite
from musc_online.lnamd import standardise, unit_windows

# Values of one product tensor at once, where it is not one stage of one pair: bounds working memory to some
# hundred MB.
_CHUNK_VALUES = 2**25


class TorchStore:
    """Standardised degree-1 maps on a torch device, allocated once, `[capacity, S, P, C]`.

    Args:
        dtype: in which maps are kept: `float16` (2 bytes a value, the ring) or `float32`.
        rounded: multiply in half precision; by default on CUDA. Elsewhere the factors are rounded alike and
            multiplied in float32, so that the effect can be tested without a GPU.
    """

    name = "gemm"

    def __init__(
        self,
        capacity: int,
        geometry: Geometry,
        *,
        ignored: npt.NDArray[np.bool_] | None = None,
        dtype: str = "float16",
        device: str = "cpu",
        rounded: bool | None = None,
    ) -> None:
        self._geometry = geometry
        self._device = torch.device(device)
        self._rounded = self._device.type == "cuda" if rounded is None else rounded
        shape = (capacity, geometry.n_stages, geometry.n_patches, geometry.n_channels)
        self._maps = torch.zeros(shape, dtype=getattr(torch, dtype), device=self._device)
        hidden = np.zeros(shape[1:3], np.bool_) if ignored is None else ignored
        self._ignored = torch.from_numpy(np.array(hidden, np.bool_)).to(self._device)
        self._any_ignored = bool(self._ignored.any())
        self._far = _far(geometry).to(self._device)
        per_map = geometry.n_degrees * geometry.n_patches * max(geometry.n_patches, geometry.n_channels)
        self._stages = min(geometry.n_stages, max(1, _CHUNK_VALUES // per_map))
        self._chunk = max(1, _CHUNK_VALUES // (per_map * self._stages))

    @staticmethod
    def price(capacity: int, geometry: Geometry, *, dtype: str = "float16", device: str = "cpu") -> int:
        """`nbytes` of a store of these arguments, without making it."""
        n_patches = geometry.n_stages * geometry.n_patches
        masks = n_patches + (geometry.n_patches**2 if _most_steps(geometry) is not None else 0)
        return capacity * n_patches * geometry.n_channels * int(getattr(torch, dtype).itemsize) + masks

    def prepare(self, patch_tokens: npt.NDArray[np.float32]) -> torch.Tensor:
        """`[S, P, C]` tokens to the standardised maps, rounded as they are kept."""
        return torch.from_numpy(standardise(patch_tokens)).to(self._device, self._maps.dtype)

    def put(self, slot: int, features: torch.Tensor) -> None:
        """Keep an image's maps in `slot`."""
        self._maps[slot].copy_(features)

    def features(self, slot: int) -> torch.Tensor:
        """The maps kept in `slot`."""
        return self._maps[slot]

    def match(
        self,
        features: torch.Tensor,
        slots: Sequence[int] | npt.NDArray[np.intp],
        forward: npt.NDArray[np.float32],
        backward: npt.NDArray[np.float32],
    ) -> None:
        """See `PatchStore.match`."""
        index = torch.as_tensor(np.asarray(slots, dtype=np.int64), device=self._device)
        for first in range(0, self._geometry.n_stages, self._stages):
            stages = slice(first, first + self._stages)
            arrival = self._unit(features[stages].float())
            for start in range(0, len(index), self._chunk):
                part = slice(start, start + self._chunk)
                kept = self._unit(self._maps[index[part], stages].float())
                found = self._both_ways(arrival.expand_as(kept), kept, self._ignored[stages])
                forward[part, stages], backward[part, stages] = (away.cpu().numpy() for away in found)

    def _both_ways(
        self, arrival: torch.Tensor, kept: torch.Tensor, ignored: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances `[R, S, D, P]` of unit vectors `[R, S, D, P, C]` to their nearest, both ways."""
        products = self._multiply(arrival, kept)
        if self._far.numel():
            products.masked_fill_(self._far, -torch.inf)
        if self._any_ignored:  # neither of them wins: what is left of an ignored patch is overwritten below
            products.masked_fill_(ignored[:, None, None, :], -torch.inf)
            products.masked_fill_(ignored[:, None, :, None], -torch.inf)
        # |a - b|^2 / 2 = (|a|^2 + |b|^2) / 2 - ab: norms are 1, or 0 for an empty neighbourhood.
        to_kept = (products - _half_squares(kept).unsqueeze(-2)).argmax(-1)
        to_arrival = products.sub_(_half_squares(arrival).unsqueeze(-1)).argmax(-2)
        forward, backward = _distances(arrival, kept, to_kept), _distances(kept, arrival, to_arrival)
        if self._any_ignored:
            forward.masked_fill_(ignored[:, None], 0.0)
            backward.masked_fill_(ignored[:, None], 0.0)
        return forward, backward

    @property
    def nbytes(self) -> int:
        """Bytes held between calls."""
        return sum(array.numel() * array.element_size() for array in (self._maps, self._ignored, self._far))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The kept maps `[capacity, S, P, C]`: a view on a CPU, a copy from other devices."""
        return {"maps": self._maps.cpu().numpy()}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Overwrite the kept maps."""
        overwrite({"maps": self._maps.cpu().numpy()}, state)  # checks; on a CPU this has copied already
        self._maps.copy_(torch.from_numpy(np.ascontiguousarray(state["maps"])))

    def _unit(self, maps: torch.Tensor) -> torch.Tensor:
        """`[..., S, P, C]` to `[..., S, D, P, C]` unit vectors."""
        sides = self._geometry.sides
        return torch.stack([unit_windows(maps, degree, sides) for degree in self._geometry.degrees], dim=-3)

    def _multiply(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """`[..., P, P]` float32 products, of half-precision factors where `rounded`."""
        if not self._rounded:
            return torch.matmul(one, other.transpose(-1, -2))
        shape = (-1, *one.shape[-2:])
        rows, columns = one.half().reshape(shape), other.half().reshape(shape).transpose(-1, -2)
        if self._device.type == "cuda":
            products = _half_product(rows, columns)
        else:
            products = torch.bmm(rows.float(), columns.float())
        return products.reshape(*one.shape[:-1], -1)


def _most_steps(geometry: Geometry) -> int | None:
    """`position`, or None where it leaves no patch of the grid out of reach of another."""
    steps = geometry.position
    return None if steps is None or steps >= max(geometry.sides) - 1 else steps


def _far(geometry: Geometry) -> torch.Tensor:
    """`[P, P]`: which patches are too far apart to be compared; empty where none is."""
    steps = _most_steps(geometry)
    if steps is None:
        return torch.zeros((0, 0), dtype=torch.bool)
    place = torch.arange(geometry.n_patches)
    row, column = place // geometry.sides[1], place % geometry.sides[1]
    far: torch.Tensor = (row[:, None] - row).abs() > steps
    return far.logical_or_((column[:, None] - column).abs() > steps)


def _half_product(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Half factors, float32 sums: rounding the sums to half as well would pick wrong winners."""
    try:
        return torch.bmm(rows, columns, out_dtype=torch.float32)
    except (TypeError, RuntimeError):  # torch before 2.8: TF32 rounds the factors to as many digits
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return torch.bmm(rows.float(), columns.float())
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before


def _distances(queries: torch.Tensor, kept: torch.Tensor, winners: torch.Tensor) -> torch.Tensor:
    """Distances to the winners, from the difference of the vectors: exact where cos is near 1."""
    found = torch.gather(kept, -2, winners.unsqueeze(-1).expand(*winners.shape, kept.shape[-1]))
    distances: torch.Tensor = torch.linalg.vector_norm(queries - found, dim=-1)
    return distances


def _half_squares(vectors: torch.Tensor) -> torch.Tensor:
    """Half the squared norms `[..., P]`."""
    return vectors.square().sum(-1) * 0.5
