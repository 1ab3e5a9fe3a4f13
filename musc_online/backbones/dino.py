"""DINO and DINOv2: timm's vision transformers, wired as their authors use them."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import nn

from musc_online.backbones.building import fill, resample
from musc_online.backbones.registry import BackboneSpec
from musc_online.backbones.weights import Weights

# What both authors' code adds to the grid before it divides by the pretrained grid.
POSITION_OFFSET = 0.1


class DinoNetwork(nn.Module):
    """Block outputs through the model's final norm; the class token after the same norm."""

    def __init__(self, spec: BackboneSpec, image_size: int, weights: Weights) -> None:
        super().__init__()
        state = weights.state
        if "pos_embed" in state:
            grid = spec.check_size(image_size)
            resampled = resample(state["pos_embed"].squeeze(0), grid, POSITION_OFFSET)
            state = {**state, "pos_embed": resampled[None]}
        with torch.device("meta"):
            self.vit: Any = timm.create_model(
                spec.architecture, pretrained=False, img_size=image_size, num_classes=0
            )
        fill(self.vit, state, spec.name, weights.source)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        blocks: nn.ModuleList = self.vit.blocks
        return blocks

    def forward(self, inputs: torch.Tensor, stages: Sequence[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """`[N, 3, S, S]` to patch tokens `[N, P, C]` per stage, in the order of `stages`, and `[N, C]`."""
        final, taken = self.vit.forward_intermediates(
            inputs, indices=sorted(stages), norm=True, output_fmt="NLC", return_prefix_tokens=False
        )
        by_stage = dict(zip(sorted(stages), taken, strict=True))
        return [by_stage[stage] for stage in stages], final[:, 0]
