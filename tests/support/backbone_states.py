"""Made-up weights for the backbones' tests."""

import itertools
import math

import torch

from musc_online.backbones import registry
from musc_online.backbones.registry import BackboneSpec

TINY_DINO = BackboneSpec("tiny_dino", "dino", "test_vit", 16, 64, 64, 6, 32, ("made_up",))
TINY_HEADS, TINY_HIDDEN = 2, 192


def timm_state(spec, *, grid, hidden, layer_scale=False, clip=False, seed=0, shared=False):
    """Random tensors under timm's names, spread so that every part of the network matters.

    `shared`: the large ones look into one store a scale, each from another place on, so that a file that
    `torch.save` writes stays small (safetensors refuses shared memory).
    """
    generator = torch.Generator().manual_seed(seed)
    width, patch = spec.n_channels, spec.patch_size
    stores, places = {}, itertools.count(0, 64)

    def draw(*shape, scale=1.0, shift=0.0):
        size = math.prod(shape)
        if shared and size > 200_000:
            if scale not in stores:
                stores[scale] = torch.randn(3_500_000, generator=generator) * scale
            start = next(places)
            return stores[scale][start : start + size].view(shape)
        return torch.randn(*shape, generator=generator) * scale + shift

    def linear(name, rows, columns):
        return {
            f"{name}.weight": draw(rows, columns, scale=columns**-0.5),
            f"{name}.bias": draw(rows, scale=0.1),
        }

    def norm(name):
        return {f"{name}.weight": draw(width, scale=0.1, shift=1.0), f"{name}.bias": draw(width, scale=0.1)}

    state = {
        "cls_token": draw(1, 1, width),
        "pos_embed": draw(1, 1 + grid * grid, width),
        "patch_embed.proj.weight": draw(width, 3, patch, patch, scale=1 / math.sqrt(3 * patch * patch)),
        **norm("norm"),
    }
    state |= norm("norm_pre") | {"head.weight": draw(spec.class_dim, width)} if clip else {}
    state |= {} if clip else {"patch_embed.proj.bias": draw(width)}
    for index in range(spec.n_blocks):
        block = f"blocks.{index}"
        state |= norm(f"{block}.norm1") | linear(f"{block}.attn.qkv", 3 * width, width)
        state |= linear(f"{block}.attn.proj", width, width) | norm(f"{block}.norm2")
        state |= linear(f"{block}.mlp.fc1", hidden, width) | linear(f"{block}.mlp.fc2", width, hidden)
        if layer_scale:
            state |= {f"{block}.ls{i}.gamma": draw(width, scale=0.1, shift=0.5) for i in (1, 2)}
    return state


def shared_state(shapes, seed=0):
    """Tensors of the given shapes that all look into one small store, so that a big network costs little."""
    store = torch.randn(
        max(math.prod(shape) for shape in shapes.values()), generator=torch.Generator().manual_seed(seed)
    )
    store *= 0.02
    return {name: store[: math.prod(shape)].view(shape) for name, shape in shapes.items()}


def register(monkeypatch, spec):
    monkeypatch.setitem(registry.SPECS, spec.name, spec)
    return spec
