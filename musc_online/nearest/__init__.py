"""For two images: each patch's nearest patch in the other. Which matcher, and what each one does."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from musc_online.arrays import Geometry

__all__ = ["PatchStore", "create", "price", "resolve"]


class PatchStore(Protocol):
    """Patch features of up to `capacity` images, and the distances between an arrival and any of them.

    A ring owns one store. Slots are overwritten in place: nothing grows, no index shifts.
    """

    name: str
    """`faiss` or `gemm`: what `ring.matcher` calls it."""

    def prepare(self, patch_tokens: npt.NDArray[np.float32]) -> Any:
        """One image's `[S, P, C]` backbone tokens as the store's features (rounded as they are kept)."""
        ...

    def put(self, slot: int, features: Any) -> None:
        """Keep an image's features in `slot`, overwriting what was there."""
        ...

    def features(self, slot: int) -> Any:
        """The image in `slot` as `prepare` gave it, to be matched with others once more."""
        ...

    def match(
        self,
        features: Any,
        slots: Sequence[int] | npt.NDArray[np.intp],
        forward: npt.NDArray[np.float32],
        backward: npt.NDArray[np.float32],
    ) -> None:
        """Euclidean nearest-patch distances between one image and those in `slots`, written in place.

        Nearest of those within the geometry's `position`, and of those that are not ignored; an ignored
        patch's own distances are 0.

        Args:
            features: of the arrival, from `prepare`.
            slots: `[R]`, each filled by `put`.
            forward: `[R, S, D, P]` float32, C-contiguous: the arrival's patches to their nearest in slot j.
            backward: `[R, S, D, P]` float32, C-contiguous: slot j's patches to their nearest in the arrival.
        """
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held, scratch included: what `price` said before."""
        ...

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The kept arrays, `[capacity, ...]` each, for a snapshot.

        Views, not copies; of features elsewhere copies, and those that own their data are the caller's.
        """
        ...

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Overwrite the kept arrays with those of `state()` of an equal store.

        Raises:
            ValueError: of another store: a missing array, another shape or type; nothing has changed.
        """
        ...


def resolve(name: str, device: str = "cpu") -> str:
    """The matcher that `name` stands for: `gemm` or `faiss`.

    `auto` is a rule, not a measurement, so that the same stream meets the same matcher in every run: `gemm`,
    which was the faster at every degree and at every size that counts, but on a processor without the
    vector instructions it is written for (AVX2 or NEON) `faiss`, where that is installed.

    Raises:
        ValueError: an unknown name.
    """
    if name not in ("auto", "faiss", "gemm"):
        raise ValueError(f"matcher: got {name!r}, expected 'auto', 'faiss' or 'gemm'")
    if name != "auto":
        return name
    if device != "cpu":
        return "gemm"
    from musc_online.nearest.gemm.lanes import has_vectors  # noqa: PLC0415 - numba loads only where used

    return "gemm" if has_vectors() or find_spec("faiss") is None else "faiss"


def create(
    name: str,
    capacity: int,
    geometry: Geometry,
    *,
    device: str = "cpu",
    like: Geometry | None = None,
    ignored: npt.NDArray[np.bool_] | None = None,
) -> PatchStore:
    """A store of `capacity` images' patch features; its `name` tells which matcher it is.

    Args:
        name: `faiss`, `gemm` or `auto`, see `resolve`.
        geometry: of one image; its `position` bounds how far apart two patches that are compared may lie.
        device: `cpu` or a torch device name such as `cuda`.
        like: keep features as finely as a store of this geometry does, which sees more stages.
        ignored: `[S, P]`: patches of every image that nothing is compared with, and whose own distances are
            0. LNAMD sees them. None ignores none.

    Raises:
        ConfigError: `faiss` asked for and not installed.
        ValueError: an unknown name.
    """
    kind, options = _kind(resolve(name, device), device, like or geometry)
    store: PatchStore = kind(capacity, geometry, ignored=ignored, **options)
    return store


def price(
    name: str, capacity: int, geometry: Geometry, *, device: str = "cpu", like: Geometry | None = None
) -> int:
    """Bytes that `create` of the same arguments will hold, known without allocating them."""
    kind, options = _kind(resolve(name, device), device, like or geometry)
    return int(kind.price(capacity, geometry, **options))


def _kind(name: str, device: str, like: Geometry) -> tuple[Any, dict[str, Any]]:
    """The store's class, and what it takes beside capacity and geometry; each loads only what it needs."""
    if name == "faiss":
        from musc_online.nearest.faiss import FaissStore  # noqa: PLC0415 - an optional extra

        return FaissStore, {}
    if device == "cpu":
        from musc_online.nearest.gemm.store import GemmStore, is_fine  # noqa: PLC0415

        return GemmStore, {"fine": is_fine(like)}
    from musc_online.nearest.torch_gemm import TorchStore  # noqa: PLC0415

    return TorchStore, {"device": device}
