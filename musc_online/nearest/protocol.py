"""What a matcher does: each patch's nearest patch in another image, in both directions, for all degrees."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


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

    def match(
        self,
        features: Any,
        slots: Sequence[int] | npt.NDArray[np.intp],
        forward: npt.NDArray[np.float32],
        backward: npt.NDArray[np.float32],
    ) -> None:
        """Euclidean nearest-patch distances between one image and those in `slots`, written in place.

        Args:
            features: of the arrival, from `prepare`.
            slots: `[R]`, each filled by `put`.
            forward: `[R, S, D, P]` float32, C-contiguous: the arrival's patches to their nearest in slot j.
            backward: `[R, S, D, P]` float32, C-contiguous: slot j's patches to their nearest in the arrival.
        """
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held, scratch included."""
        ...

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """The kept arrays, `[capacity, ...]` each, for a snapshot; views, not copies."""
        ...

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Overwrite the kept arrays with those of `state()` of an equal store."""
        ...
