"""What the tests of weights share: empty caches, small networks, and files as their publishers write them."""

import warnings

import backbone_states
import huggingface_hub
import open_clip
import pytest
import safetensors.torch
import torch
from torch import nn

from musc_online import backbones
from musc_online.backbones import keys

TINY = backbone_states.TINY_DINO


@pytest.fixture(autouse=True)
def nothing_cached(monkeypatch, tmp_path_factory):
    """No network, and empty caches: what a test finds is what it put there."""
    empty = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(empty / "torch"))
    monkeypatch.setenv("HOME", str(empty))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(empty / "hub"))
    return empty


@pytest.fixture
def dino(monkeypatch):
    return backbone_states.register(monkeypatch, TINY)


@pytest.fixture
def state():
    return backbone_states.timm_state(TINY, grid=2, hidden=192)


def tiny_clip_spec(tags=()):
    return backbones.BackboneSpec("tiny", "clip", "tiny", 8, 128, 24, 4, 24, tags)


@pytest.fixture
def clip(monkeypatch):
    """A small CLIP under two published tags: one that OpenAI's checkpoints have, one of LAION's."""
    config = {"embed_dim": 24, "vision_cfg": {"image_size": 24, "layers": 4, "width": 128, "patch_size": 8}}
    known = open_clip.get_model_config
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config if name == "tiny" else known(name))
    registry = {
        "openai": {"url": "https://example.invalid/tiny.pt", "quick_gelu": True},
        "laion400m_e32": {"url": "https://example.invalid/tiny-e32.pt"},
    }
    look_up = open_clip.get_pretrained_cfg
    monkeypatch.setattr(
        open_clip,
        "get_pretrained_cfg",
        lambda name, tag: registry.get(tag, {}) if name == "tiny" else look_up(name, tag),
    )
    return backbone_states.register(monkeypatch, tiny_clip_spec(tuple(registry)))


@pytest.fixture
def clip_state(clip):
    state = keys.to_open_clip(backbone_states.timm_state(clip, grid=3, hidden=512, clip=True))
    return {name: tensor.contiguous() for name, tensor in state.items()}


class Holder(nn.Module):
    """A module that only holds tensors, so that TorchScript can write them under any dotted name."""

    def forward(self, x):
        return x


def module_of(state):
    """Nested modules whose state dict is `state`."""
    root = Holder()
    for name, tensor in state.items():
        *path, last = name.split(".")
        here = root
        for part in path:
            if part not in dict(here.named_children()):
                here.add_module(part, nn.ModuleList() if part == "resblocks" else Holder())
            here = here.get_submodule(part)
        here.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    return root


def save_torchscript(state, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; OpenAI's files are still written in it
        torch.jit.save(torch.jit.script(module_of(state)), str(path))


def towers(state):
    """A whole CLIP checkpoint: the image tower under `visual.`, and a text tower that nobody here needs."""
    text = {"token_embedding.weight": torch.zeros(4, 8), "transformer.resblocks.0.ln_1.weight": torch.ones(8)}
    return (
        {f"visual.{name}": tensor for name, tensor in state.items()}
        | text
        | {"logit_scale": torch.tensor(4.6)}
    )


def dino_files(state, folder):
    """One checkpoint a format, as its publisher would write it."""
    training = {"module.backbone." + name: tensor for name, tensor in state.items()}
    chunked = {name.replace("blocks.", "blocks.0."): tensor for name, tensor in state.items()}
    contents = {
        "authors.pth": state | {"mask_token": torch.zeros(1, 64)},
        "chunked.pth": chunked,
        "training.pth": {"epoch": 3, "teacher": training, "student": {"module.other": torch.zeros(1)}},
        "nested.pt": {"model": state},
    }
    for name, content in contents.items():
        torch.save(content, folder / name)
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state | {"head.weight": torch.zeros(5, 64)}, folder / "model.safetensors")
    safetensors.torch.save_file(to_transformers(state), folder / "transformers.safetensors")
    return sorted(folder.iterdir())


def to_transformers(state):
    rules = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "blocks": "encoder.layer",
        "attn.proj": "attention.output.dense",
    }
    renamed = {"embeddings.mask_token": torch.zeros(1, 64)}
    for name, tensor in state.items():
        new = "layernorm" + name[4:] if name.startswith("norm.") else name
        for old, replacement in rules.items():
            new = new.replace(old, replacement)
        if "attn.qkv" in new:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[new.replace("attn.qkv", f"attention.attention.{part}")] = piece.clone()
        else:
            renamed[new] = tensor
    return renamed


def clip_to_timm(state):
    rules = {
        "class_embedding": "cls_token",
        "positional_embedding": "pos_embed",
        "conv1": "patch_embed.proj",
        "ln_pre": "norm_pre",
        "ln_post": "norm",
        "transformer.resblocks": "blocks",
        "ln_": "norm",
        "attn.in_proj_": "attn.qkv.",
        "attn.out_proj": "attn.proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    renamed = {}
    for name, tensor in state.items():
        if name == "proj":
            renamed["head.weight"] = tensor.T.contiguous()
            continue
        new = name
        for old, replacement in rules.items():
            new = new.replace(old, replacement)
        extra = {"cls_token": (1, 1, -1), "pos_embed": (1, *tensor.shape)}
        renamed[new] = tensor.reshape(extra[new]) if new in extra else tensor
    return renamed
