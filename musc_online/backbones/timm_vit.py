"""`timm:NAME`: any plain vision transformer of timm, under timm's own name and tag.

Plain: a sequence of equal blocks over one token a patch, with or without tokens before them (class,
registers, distillation), which are stripped. Position embeddings are interpolated as timm does it for its own
users.
"""

import difflib
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed
from torch import nn

from musc_online.backbones import dino, preprocess
from musc_online.backbones.building import fill
from musc_online.backbones.registry import TIMM_PREFIX, BackboneSpec
from musc_online.backbones.weights import Weights
from musc_online.errors import ConfigError, WeightsError

# Where timm keeps the transformers whose tokens are one sequence from the first block to the last.
_PLAIN = ("vision_transformer", "deit", "beit", "eva")


class TimmNetwork(dino.TimmVit):
    """Block outputs through the final norm; the class token after it, or the mean of the patches."""

    def __init__(self, spec: BackboneSpec, image_size: int, weights: Weights) -> None:
        super().__init__()
        # With memory, unlike the other families: rotary embeddings are in no checkpoint.
        self.vit: Any = timm.create_model(
            spec.architecture, pretrained=False, img_size=image_size, num_classes=0
        )
        module = sys.modules[type(self.vit).__module__]
        try:
            state = module.checkpoint_filter_fn(dict(weights.state), self.vit)
        except (RuntimeError, KeyError, IndexError, ValueError, AssertionError) as error:
            reason = " ".join(str(error).split())[:120]
            raise WeightsError(
                f"{weights.source}: the weights are of another network than {spec.name}: "
                f"{type(error).__name__}: {reason}"
            ) from None
        state = {
            name: tensor for name, tensor in state.items() if not name.startswith(("head.", "head_dist."))
        }
        fill(self.vit, state, spec.name, weights.source)

    def forward(self, inputs: torch.Tensor, stages: Sequence[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """`[N, 3, S, S]` to patch tokens `[N, P, C]` per stage, in the order of `stages`, and `[N, C]`."""
        norm = _final_norm(self.vit)
        if self.vit.cls_token is not None:
            return dino.tokens(self.vit, norm, inputs, stages)
        last = len(self.blocks) - 1
        wanted = sorted({*stages, last})
        taken = self.vit.forward_intermediates(
            inputs, indices=wanted, norm=False, output_fmt="NLC", intermediates_only=True
        )
        by_stage = {stage: norm(patches) for stage, patches in zip(wanted, taken, strict=True)}
        return [by_stage[stage] for stage in stages], by_stage[last].mean(dim=1)


def _final_norm(vit: Any) -> nn.Module:
    """Models whose own users average the tokens keep it under another name."""
    moved = isinstance(vit.norm, nn.Identity) and getattr(vit, "fc_norm", None) is not None
    norm: nn.Module = vit.fc_norm if moved else vit.norm
    return norm


@lru_cache
def spec(name: str) -> BackboneSpec:
    """What timm says of `timm:NAME`; no weights are read and no memory is taken for them.

    Raises:
        ConfigError: timm has no such model, or it is no plain vision transformer.
    """
    own = name.removeprefix(TIMM_PREFIX)
    architecture, _, tag = own.partition(".")
    if not timm.is_model(architecture):
        raise ConfigError(f"backbone.name: got {name!r}, {_unknown(architecture)}")
    if tag and tag not in _tags(architecture):
        raise ConfigError(
            f"backbone.name: got {name!r}, but timm has no weights {tag!r} of {architecture}; expected "
            f"one of {', '.join(_tags(architecture)) or 'none'}"
        )
    config = timm.get_pretrained_cfg(own)
    vit = _empty(name, architecture)
    patch = vit.patch_embed.patch_size[0]
    return BackboneSpec(
        name,
        "timm",
        architecture,
        patch,
        vit.embed_dim,
        vit.embed_dim,
        len(vit.blocks),
        max(config.input_size[-1] // patch, 1) * patch,
        (config.tag,) if config.tag else (),
    )


def prepare(spec: BackboneSpec, size: int) -> preprocess.Preprocess:
    """Frames as the model was trained on them: timm's mean, deviation and interpolation of its weights."""
    config = timm.get_pretrained_cfg(".".join((spec.architecture, *spec.tags)))
    return preprocess.named(size, config.interpolation, tuple(config.mean), tuple(config.std))


def _empty(name: str, architecture: str) -> Any:
    """The model without memory.

    Raises:
        ConfigError: it is no plain vision transformer.
    """
    with torch.device("meta"):
        model: Any = timm.create_model(architecture, pretrained=False, num_classes=0)
    embed: Any = getattr(model, "patch_embed", None)
    plain = (
        type(model).__module__ in {f"timm.models.{module}" for module in _PLAIN}
        and type(embed) is PatchEmbed
        and hasattr(model, "blocks")
        and len(set(embed.patch_size)) == 1
    )
    if not plain:
        raise ConfigError(
            f"backbone.name: got {name!r}, but {type(model).__name__} is no plain vision transformer "
            "(equal blocks over one token a patch); choose a ViT, DeiT, BEiT, EVA, DINO or DINOv2 of timm"
        )
    return model


def _unknown(architecture: str) -> str:
    if "mamba" in architecture or architecture.startswith(("vim_", "vssm", "vmamba")):
        return (
            "but Vision Mamba needs a selective scan that only CUDA kernels of its own have, and timm has "
            "none of it; choose a vision transformer of timm"
        )
    near = difflib.get_close_matches(architecture, timm.list_models("*vit*") + timm.list_models("*eva*"), 3)
    return "but timm has no such model; " + (
        f"nearest: {', '.join(near)}" if near else "see timm.list_models()"
    )


def _tags(architecture: str) -> list[str]:
    return [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
