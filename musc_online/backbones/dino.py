"""DINO and DINOv2: timm's vision transformers, wired as their authors use them."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional

from musc_online.backbones.building import fill, resample
from musc_online.backbones.registry import BackboneSpec
from musc_online.backbones.weights import Weights

# What both authors' code adds to the grid before it divides by the pretrained grid.
POSITION_OFFSET = 0.1
_ROWS = 16
"""Tokens of a frame that the last block is run for where only its class token is wanted."""


class TimmVit(nn.Module):
    """A network around one of timm's vision transformers."""

    vit: Any

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        blocks: nn.ModuleList = self.vit.blocks
        return blocks


class DinoNetwork(TimmVit):
    """Block outputs through the model's final norm; the class token after the same norm."""

    def __init__(self, spec: BackboneSpec, image_size: int, weights: Weights) -> None:
        super().__init__()
        state = weights.state
        if "pos_embed" in state:
            grid = spec.check_size(image_size)
            resampled = resample(state["pos_embed"].squeeze(0), grid, POSITION_OFFSET)
            state = {**state, "pos_embed": resampled[None]}
        # No random numbers first, for half a second: `fill` gives every tensor its value.
        with torch.device("meta"):
            self.vit: Any = timm.create_model(
                spec.architecture,
                pretrained=False,
                img_size=image_size,
                num_classes=0,
                weight_init="skip",
            )
        fill(self.vit, state, spec.name, weights.source)

    def forward(self, inputs: torch.Tensor, stages: Sequence[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """`[N, 3, S, S]` to patch tokens `[N, P, C]` per stage, in the order of `stages`, and `[N, C]`."""
        return tokens(self.vit, self.vit.norm, inputs, stages)


def tokens(
    vit: Any, norm: nn.Module, inputs: torch.Tensor, stages: Sequence[int]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Patch and class tokens of one of timm's vision transformers that has a class token.

    Args:
        vit: timm's model.
        norm: its final norm, which all tokens go through.
        inputs: `[N, 3, S, S]`.
        stages: 0-based block indices.

    Returns:
        Patch tokens `[N, P, C]` per stage, in the order of `stages`, and class tokens `[N, C]`.
    """
    last = len(vit.blocks) - 1
    # Up to the block that is wanted last, or to the one before the last, whose class token is wanted always.
    cut = last not in stages and last > 0 and _can_cut(vit.blocks[last])
    end = last - 1 if cut else last
    wanted = sorted({*stages, end})
    taken = vit.forward_intermediates(
        inputs,
        indices=wanted,
        norm=False,
        output_fmt="NLC",
        return_prefix_tokens=True,
        stop_early=True,
        intermediates_only=True,
    )
    by_stage = dict(zip(wanted, taken, strict=True))
    patches, prefix = by_stage[end]
    first = _class_row(vit.blocks[last], torch.cat([prefix, patches], dim=1)) if cut else prefix[:, :1]
    return [norm(by_stage[stage][0]) for stage in stages], norm(first)[:, 0]


def _can_cut(block: nn.Module) -> bool:
    """Whether `_class_row` knows this block; of any other kind the whole block is run."""
    if type(block) is not Block:
        return False
    attention: Any = block.attn
    return type(attention) is Attention and getattr(attention, "gate", None) is None


def _class_row(block: Any, before: torch.Tensor) -> torch.Tensor:
    """The last block's output for the class token alone, `[N, 1, C]`.

    No patch token of it is wanted: they are but keys and values to the class token. A few go along all the
    same, since a single row is multiplied by other code, which sums in another order for other numbers of
    frames and of threads. With them it is to the byte what the whole block gives, on the processors tried.
    """
    first = before[:, :_ROWS]
    first = first + block.ls1(_attended(block.attn, block.norm1(before)))
    rows: torch.Tensor = first + block.ls2(block.mlp(block.norm2(first)))
    return rows[:, :1]


def _attended(attention: Any, normed: torch.Tensor) -> torch.Tensor:
    """timm's `Attention` with the first few tokens of a frame as queries."""
    n_frames, n_tokens, _ = normed.shape
    heads = attention.num_heads
    weight, bias = attention.qkv.weight, attention.qkv.bias
    width = len(weight) // 3
    few = normed[:, :_ROWS].contiguous()  # else torch adds the bias by itself, rounding once more
    query = functional.linear(few, weight[:width], None if bias is None else bias[:width])
    both = functional.linear(normed, weight[width:], None if bias is None else bias[width:])
    query = query.view(n_frames, query.shape[1], heads, -1).transpose(1, 2)
    key, value = both.view(n_frames, n_tokens, 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = functional.scaled_dot_product_attention(attention.q_norm(query), attention.k_norm(key), value)
    mixed = mixed.transpose(1, 2).flatten(2)
    # Not in every version of timm.
    mixed = attention.norm(mixed) if hasattr(attention, "norm") else mixed
    projected: torch.Tensor = attention.proj(mixed)
    return projected
