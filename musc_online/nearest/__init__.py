"""For two images: each patch's nearest patch in the other. Two matchers behind one protocol."""

from collections.abc import Sequence

from musc_online.nearest.choice import faster
from musc_online.nearest.protocol import PatchStore

__all__ = ["PatchStore", "create"]


def create(
    name: str = "auto",
    *,
    capacity: int,
    n_stages: int,
    n_patches: int,
    n_channels: int,
    degrees: Sequence[int],
    dtype: str = "float16",
    device: str = "cpu",
) -> PatchStore:
    """A store of `capacity` images' patch features.

    Args:
        name: `faiss`, `gemm`, or `auto`: the faster of the two here, measured; the store's `name` tells
            which. On a device other than the CPU `auto` is `gemm`.
        dtype: how `gemm` keeps values: `float16` in less than two bytes, norms included (the ring), or
            `float32` more finely (a batch). On the CPU these are unit vectors in 15 and 16 bits a channel.
        device: `cpu` or a torch device name such as `cuda`.

    Raises:
        ConfigError: `faiss` asked for and not installed.
        ValueError: an unknown name, or `n_patches` not a square.
    """
    if name not in ("auto", "faiss", "gemm"):
        raise ValueError(f"matcher: got {name!r}, expected 'auto', 'faiss' or 'gemm'")
    if name == "auto":
        name = faster(n_patches, n_channels, tuple(degrees)) if device == "cpu" else "gemm"
    if name == "faiss":
        from musc_online.nearest.faiss import FaissStore  # noqa: PLC0415 - an optional extra

        return FaissStore(
            capacity=capacity,
            n_stages=n_stages,
            n_patches=n_patches,
            n_channels=n_channels,
            degrees=degrees,
        )
    if device == "cpu":
        from musc_online.nearest.gemm.store import GemmStore  # noqa: PLC0415 - loads only what is used

        return GemmStore(
            capacity=capacity,
            n_stages=n_stages,
            n_patches=n_patches,
            n_channels=n_channels,
            degrees=degrees,
            dtype=dtype,
        )
    from musc_online.nearest.torch_gemm import TorchStore  # noqa: PLC0415 - loads only what is used

    return TorchStore(
        capacity=capacity,
        n_stages=n_stages,
        n_patches=n_patches,
        n_channels=n_channels,
        degrees=degrees,
        dtype=dtype,
        device=device,
    )
