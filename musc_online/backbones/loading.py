"""From a name to a backbone that runs. Importing this imports torch; the model libraries come when needed."""

from collections.abc import Callable
from typing import Any

import torch

from musc_online.backbones import preprocess
from musc_online.backbones.precision import choose_device, choose_precision
from musc_online.backbones.registry import BackboneSpec, spec
from musc_online.backbones.vit import Network, VitBackbone
from musc_online.backbones.weights import Weights, resolve


def load_backbone(
    name: str,
    *,
    weights: str,
    image_size: int | None,
    stages: tuple[int, ...] | None,
    device: str,
    precision: str,
    activation: str,
) -> VitBackbone:
    """See `musc_online.backbones.load`; everything that can be wrong is checked before weights are read."""
    known = spec(name)
    size = known.default_size if image_size is None else image_size
    known.check_size(size)
    known.check_activation(activation)
    taken = known.check_stages(known.default_stages if stages is None else stages)
    place = choose_device(device)
    chosen = choose_precision(precision, place)
    found = resolve(known, weights, activation)
    network, prepare = build(known, size, found)
    return VitBackbone(
        known,
        network,
        prepare,
        image_size=size,
        stages=taken,
        device=place,
        precision=chosen,
        weights=found.source,
        weights_digest=found.digest,
    )


def build(known: BackboneSpec, size: int, weights: Weights) -> tuple[Network, Callable[[Any], torch.Tensor]]:
    """The family's network with these weights, and its preparation of frames.

    open_clip and timm take seconds to import, so each family imports only its own.
    """
    network: Network
    if known.family == "clip":
        from musc_online.backbones.clip import ClipNetwork  # noqa: PLC0415

        network = ClipNetwork(known, size, weights)
        return network, preprocess.clip(size)
    from musc_online.backbones.dino import DinoNetwork  # noqa: PLC0415

    network = DinoNetwork(known, size, weights)
    return network, preprocess.imagenet(size)
