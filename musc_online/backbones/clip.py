"""CLIP's image tower, OpenAI's and LAION's, through open_clip."""

from collections.abc import Sequence
from typing import Any

import open_clip
import torch
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
from torch import nn

from musc_online.backbones.building import fill, resample
from musc_online.backbones.registry import BackboneSpec
from musc_online.backbones.weights import Weights


class ClipNetwork(nn.Module):
    """Raw block outputs without the final norm; the class token is the projected, normalised feature."""

    def __init__(self, spec: BackboneSpec, image_size: int, weights: Weights) -> None:
        super().__init__()
        state = weights.state
        if "positional_embedding" in state:
            grid = spec.check_size(image_size)
            state = {**state, "positional_embedding": resample(state["positional_embedding"], grid)}
        with torch.device("meta"):
            self.visual: Any = _tower(spec, image_size, weights.quick_gelu)
        fill(self.visual, state, spec.name, weights.source)

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        blocks: nn.ModuleList = self.visual.transformer.resblocks
        return blocks

    def forward(self, inputs: torch.Tensor, stages: Sequence[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """`[N, 3, S, S]` to patch tokens `[N, P, C]` per stage, in the order of `stages`, and `[N, D]`."""
        last = len(self.blocks) - 1
        if last not in stages and last > 0:
            by_stage, feature = self._cut(inputs, sorted({*stages, last - 1}))
        else:
            output = self.visual.forward_intermediates(
                inputs, indices=sorted(stages), normalize_intermediates=False, output_fmt="NLC"
            )
            by_stage = dict(zip(sorted(stages), output["image_intermediates"], strict=True))
            feature = output["image_features"]
        return [by_stage[stage] for stage in stages], nn.functional.normalize(feature.float(), dim=-1)

    def _cut(self, inputs: torch.Tensor, wanted: list[int]) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
        """Tokens up to the last block but one, and the feature from the class token's row of the last.

        No patch token of the last block is wanted: they are but keys and values to the class token.
        """
        output = self.visual.forward_intermediates(
            inputs,
            indices=wanted,
            stop_early=True,
            normalize_intermediates=False,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        by_stage = dict(zip(wanted, output["image_intermediates"], strict=True))
        prefix = output["image_intermediates_prefix"][-1]
        block: Any = self.blocks[-1]
        normed = block.ln_1(torch.cat([prefix, by_stage[wanted[-1]]], dim=1))
        row = prefix + block.attention(normed[:, :1], normed, normed)
        row = row + block.mlp(block.ln_2(row))
        return by_stage, self.visual.ln_post(row)[:, 0] @ self.visual.proj


def _tower(spec: BackboneSpec, image_size: int, quick_gelu: bool) -> nn.Module:
    config = open_clip.get_model_config(spec.architecture)
    vision = config["vision_cfg"]
    width = vision["width"]
    tower: nn.Module = VisionTransformer(
        image_size=image_size,
        patch_size=vision["patch_size"],
        width=width,
        layers=vision["layers"],
        heads=width // vision.get("head_width", 64),
        mlp_ratio=vision.get("mlp_ratio", 4.0),
        output_dim=config["embed_dim"],
        act_layer=QuickGELU if quick_gelu else nn.GELU,
        norm_layer=LayerNorm,
    )
    return tower
