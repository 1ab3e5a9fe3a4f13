"""The one backbone class: a network, how frames are prepared for it, where and how precisely it runs."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from musc_online.backbones.preprocess import Preprocess
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
        prepare: Preprocess,
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
        self._alike: dict[tuple[int, int], bool] = {}
        identity = f"{spec.name}|{weights_digest}|{image_size}|{','.join(map(str, stages))}"
        # Rounded tokens are compared with their like only. Float32 is unnamed: rings on disk are from before.
        identity += "" if precision == "float32" else f"|{precision}"
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]

    def prepare(self, frame: npt.NDArray[np.uint8]) -> torch.Tensor:
        """One `[H, W, 3]` uint8 BGR frame to the `[3, S, S]` float32 network input, on the CPU.

        Raises:
            FrameError: another type, dtype or shape, or an empty frame.
        """
        return self._prepare(frame)

    def resize(self, frame: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """A frame to another (height, width), as `prepare` resizes.

        Raises:
            FrameError: another type, dtype or shape, or an empty frame.
        """
        return self._prepare.resize(frame, shape)

    @property
    def uses_torch_threads(self) -> bool:
        """Whether it computes with the calling thread, and with those that torch gives that one to help."""
        return self.device.type == "cpu" and self.precision != "int8"

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
        if self._batches_alike(len(inputs)):
            return self._run(inputs)
        parts = [self._run(inputs[i : i + 1]) for i in range(len(inputs))]
        return torch.cat([tokens for tokens, _ in parts], dim=1), torch.cat([token for _, token in parts])

    def _run(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rounded = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.inference_mode(), rounded:
            taken, class_token = self.network(inputs, self.stages)
        # Copied outside, so that the caller gets ordinary tensors that may be written to.
        return torch.stack(taken).float(), class_token.clone().float()

    def _batches_alike(self, n_frames: int) -> bool:
        """Whether so many frames together give the very bytes that they give one by one.

        The service extracts together the frames that happen to wait, which a score must not show; but a
        library of matrix products may sum in another order for another number of rows. Tried once for each
        number of frames and of threads, on frames of noise; where it is not so, frames are extracted one by
        one. On an accelerator it is not asked.
        """
        if n_frames == 1 or self.device.type != "cpu":
            return True
        key = n_frames, torch.get_num_threads()
        if key not in self._alike:
            generator = torch.Generator().manual_seed(n_frames)
            noise = torch.randn(n_frames, 3, self.image_size, self.image_size, generator=generator)
            together = self._run(noise)
            alone = (self._run(noise[i : i + 1]) for i in range(n_frames))  # up to the first that differs
            self._alike[key] = all(
                torch.equal(together[0][:, i], tokens[:, 0]) and torch.equal(together[1][i], token[0])
                for i, (tokens, token) in enumerate(alone)
            )
        return self._alike[key]
