"""The one backbone class: a network, how frames are prepared for it, where and how precisely it runs."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from musc_online.backbones.registry import BackboneSpec, Tokens
from musc_online.errors import FrameError


class Network(Protocol):
    """What a family builds: a module that gives the tokens of chosen blocks."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move to a device."""
        ...

    def __call__(
        self, inputs: torch.Tensor, stages: Sequence[int]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Patch tokens `[N, P, C]` per stage and class tokens `[N, D]`."""
        ...


class VitBackbone:
    """See `registry.Backbone`, which this implements."""

    def __init__(
        self,
        spec: BackboneSpec,
        network: Network,
        prepare: Callable[[npt.NDArray[np.uint8]], torch.Tensor],
        *,
        image_size: int,
        stages: tuple[int, ...],
        device: torch.device,
        precision: str,
        weights: str,
        weights_digest: str,
    ) -> None:
        self.name = spec.name
        self.weights = weights
        self.image_size = image_size
        self.stages = stages
        self.patch_size = spec.patch_size
        self.grid = spec.check_size(image_size)
        self.n_patches = self.grid**2
        self.n_channels = spec.n_channels
        self.class_dim = spec.class_dim
        self.device = device
        self.precision = precision
        self.network = network
        network.to(device)
        self._prepare = prepare
        identity = f"{spec.name}|{weights_digest}|{image_size}|{','.join(map(str, stages))}"
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]

    def prepare(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        """One `[H, W, 3]` uint8 BGR frame to the `[3, S, S]` float32 network input, on the CPU.

        Raises:
            FrameError: another type, dtype or shape, or an empty frame.
        """
        return self._prepare(frame)

    def extract(self, inputs: Tokens) -> tuple[Tokens, Tokens]:
        """Prepared frames `[N, 3, S, S]` to patch tokens `[stages, N, P, C]` and class tokens `[N, D]`.

        Float32 whatever the precision; for tensors they are tensors on `device`, for arrays arrays.

        Raises:
            FrameError: inputs of another type or shape.
        """
        size = self.image_size
        known = isinstance(inputs, torch.Tensor | np.ndarray)
        if not known or inputs.ndim != 4 or tuple(inputs.shape[1:]) != (3, size, size):
            shown = list(inputs.shape) if known else type(inputs).__name__
            raise FrameError(
                f"inputs: got {shown}, expected prepared frames, a [N, 3, {size}, {size}] tensor or array"
            )
        if isinstance(inputs, torch.Tensor):
            return self._tokens(inputs)
        if inputs.dtype.kind not in "fiu":
            raise FrameError(f"inputs: got dtype {inputs.dtype}, expected prepared frames in float32")
        # Copied, since torch can hold no array that is read-only or runs backwards.
        copied = torch.from_numpy(np.array(inputs, dtype=np.float32, order="C"))
        patch_tokens, class_token = self._tokens(copied)
        return patch_tokens.cpu().numpy(), class_token.cpu().numpy()

    def _tokens(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(inputs) == 0:
            tokens = torch.empty(len(self.stages), 0, self.n_patches, self.n_channels, device=self.device)
            return tokens, torch.empty(0, self.class_dim, device=self.device)
        inputs = inputs.to(self.device, torch.float32)
        rounded = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.inference_mode(), rounded:
            taken, class_token = self.network(inputs, self.stages)
        # Copied outside, so that the caller gets ordinary tensors that may be written to.
        return torch.stack(taken).float(), class_token.clone().float()
