"""What the tests of weights share: empty caches, small networks, and files as their publishers write them."""

import argparse
import warnings

import backbone_states
import huggingface_hub
import open_clip
import pytest
import safetensors.torch
import torch
from torch import nn

from musc_online import backbones
from musc_online.backbones import checkpoint

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
        "openai": {"url": "https://example.invalid/tiny.pt", "hf_hub": "timm/vit_tiny.openai/"},
        "laion400m_e32": {
            "url": "https://example.invalid/tiny-laion400m_e32-0123abcd.pt",
            "hf_hub": "timm/vit_tiny.laion400m_e32/",
        },
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
    state = checkpoint.to_open_clip(backbone_states.timm_state(clip, grid=3, hidden=512, clip=True))
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


def openai_marks():
    """What OpenAI's state dicts and archives alone carry beside the towers."""
    return {
        "input_resolution": torch.tensor(24),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }


def heads(*names):
    """Tensors of the kind that training leaves beside a backbone."""
    return {f"{name}.mlp.0.weight": torch.ones(3, 64) for name in names}


def dino_files(state, folder):
    """One checkpoint a format, as its publisher would write it."""
    training = {"module.backbone." + name: tensor for name, tensor in state.items()}
    beside = {"backbone." + name: tensor for name, tensor in state.items()}
    student = {f"module.{name}": tensor + 1 for name, tensor in beside.items()}
    whole_run = {
        f"teacher.{name}": tensor for name, tensor in (beside | heads("dino_head", "ibot_head")).items()
    }
    whole_run |= {f"student.{name}": tensor + 1 for name, tensor in beside.items()}
    whole_run |= {"dino_loss.center": torch.zeros(1, 8)}
    chunked = {name.replace("blocks.", "blocks.0."): tensor for name, tensor in state.items()}
    contents = {
        "authors.pth": state | {"mask_token": torch.zeros(1, 64)},
        "chunked.pth": chunked,
        "training.pth": {"epoch": 3, "teacher": training, "student": {"module.other": torch.zeros(1)}},
        "nested.pt": {"model": state},
        # DINO's full checkpoint, with the options of its run.
        "full_checkpoint.pth": {
            "student": student | heads("module.head"),
            "teacher": beside | heads("head"),
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
            "epoch": 3,
            "args": argparse.Namespace(arch="vit_base", lr=0.1),
            "dino_loss": {"center": torch.zeros(1, 8)},
        },
        # DINOv2's: what its evaluation saves, what its training saves, a backbone with a linear head.
        "teacher_checkpoint.pth": {"teacher": beside | heads("dino_head", "ibot_head")},
        "model_0000999.rank_0.pth": {"model": whole_run, "iteration": 999},
        "linear_head.pth": beside | {"linear_head.weight": torch.ones(5, 128)},
    }
    for name, content in contents.items():
        torch.save(content, folder / name)
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state | {"head.weight": torch.zeros(5, 64)}, folder / "model.safetensors")
    safetensors.torch.save_file(to_transformers(state), folder / "transformers.safetensors")
    vit = {f"vit.{name}": tensor for name, tensor in to_transformers_vit(state).items()}
    safetensors.torch.save_file(to_transformers_vit(state), folder / "transformers_vit.safetensors")
    safetensors.torch.save_file(
        vit | {"classifier.weight": torch.zeros(5, 64)}, folder / "transformers_classifier.safetensors"
    )
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


def to_transformers_vit(state):
    """As transformers names DINO, which it holds as a ViT."""
    renamed = {}
    for name, tensor in to_transformers(state).items():
        new = name.replace(".norm1.", ".layernorm_before.").replace(".norm2.", ".layernorm_after.")
        new = new.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")
        renamed[new] = tensor
    del renamed["embeddings.mask_token"]
    return renamed | {"pooler.dense.weight": torch.zeros(64, 64), "pooler.dense.bias": torch.zeros(64)}


def clip_to_transformers(state):
    """As transformers names CLIP, both towers."""
    rules = {
        "conv1.": "embeddings.patch_embedding.",
        "ln_pre.": "pre_layrnorm.",
        "ln_post.": "post_layernorm.",
        "transformer.resblocks.": "encoder.layers.",
        ".ln_": ".layer_norm",
        ".attn.out_proj.": ".self_attn.out_proj.",
        ".mlp.c_fc.": ".mlp.fc1.",
        ".mlp.c_proj.": ".mlp.fc2.",
    }
    special = {"class_embedding": "embeddings.class_embedding"}
    special |= {"positional_embedding": "embeddings.position_embedding.weight"}
    renamed = {
        "text_model.final_layer_norm.weight": torch.ones(8),
        "text_projection.weight": torch.zeros(8, 8),
        "logit_scale": torch.tensor(4.6),
        "vision_model.embeddings.position_ids": torch.arange(10)[None],
    }
    for name, tensor in state.items():
        if name == "proj":
            renamed["visual_projection.weight"] = tensor.T.contiguous()
        elif ".attn.in_proj_" in name:
            before, kind = name.split(".attn.in_proj_")
            before = before.replace("transformer.resblocks", "vision_model.encoder.layers")
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{before}.self_attn.{part}_proj.{kind}"] = piece.clone()
        else:
            new = special.get(name, name)
            for old, replacement in rules.items():
                new = new.replace(old, replacement)
            renamed[f"vision_model.{new}"] = tensor
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
