"""Weights from every published format: the same backbone, with the activation it was trained with."""

import backbone_states
import pytest
import safetensors.torch
import torch
from weights_support import (
    clip,
    clip_state,
    clip_to_timm,
    dino,
    dino_files,
    nothing_cached,
    save_torchscript,
    state,
    towers,
)

from musc_online import backbones

__all__ = ["clip", "clip_state", "dino", "nothing_cached", "state"]


def same(backbone, other):
    inputs = torch.randn(
        1, 3, backbone.image_size, backbone.image_size, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(backbone.extract(inputs), other.extract(inputs), atol=0, rtol=0)


def test_every_dino_format_gives_the_same_backbone(dino, state, tmp_path):
    files = dino_files(state, tmp_path)
    loaded = [backbones.load("tiny_dino", weights=str(file), stages=[0, 5]) for file in files]
    assert len(loaded) == 7
    assert len({backbone.fingerprint for backbone in loaded}) == 1
    for backbone, file in zip(loaded, files, strict=True):
        assert backbone.weights == str(file)
        same(backbone, loaded[0])


def test_dinov2_by_its_authors_names_and_as_the_real_architecture(tmp_path):
    spec = backbones.spec("dinov2_vits14")
    state = backbone_states.timm_state(spec, grid=37, hidden=1536, layer_scale=True)
    torch.save(state | {"mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2_vits14_pretrain.pth")
    backbone = backbones.load(
        "dinov2_vits14", weights=str(tmp_path / "dinov2_vits14_pretrain.pth"), image_size=28, stages=[11]
    )
    patch_tokens, class_token = backbone.extract(torch.zeros(1, 3, 28, 28))
    assert patch_tokens.shape == (1, 1, 4, 384)
    assert torch.isfinite(class_token).all()


def test_every_clip_format_gives_the_same_backbone(clip, clip_state, tmp_path):
    half = {name: tensor.half() for name, tensor in clip_state.items()}
    wide = {name: tensor.float() for name, tensor in half.items()}
    save_torchscript(towers(half), tmp_path / "archive.pt")
    torch.save(towers(half) | {"input_resolution": torch.tensor(24)}, tmp_path / "half.pt")
    torch.save({"state_dict": {f"module.{n}": t for n, t in towers(wide).items()}}, tmp_path / "wrapped.pt")
    safetensors.torch.save_file(towers(wide), tmp_path / "open_clip_model.safetensors")
    safetensors.torch.save_file(clip_to_timm(wide), tmp_path / "model.safetensors")
    files = sorted(tmp_path.iterdir())
    loaded = [backbones.load("tiny", weights=str(file)) for file in files]
    assert len(loaded) == 5
    assert len({backbone.fingerprint for backbone in loaded}) == 1
    for backbone in loaded:
        same(backbone, loaded[0])


def activation_of(backbone):
    return type(backbone.network.blocks[0].mlp.gelu).__name__


@pytest.mark.parametrize(
    ("folder", "prefix", "halve", "expected"),
    [
        ("plain", "", True, "QuickGELU"),  # exact in half precision, as only OpenAI's were published
        ("plain", "", False, "GELU"),
        ("vit.openai", "", False, "QuickGELU"),
        ("vit.laion400m_e32", "", True, "GELU"),
        ("vit-quickgelu", "", False, "GELU"),  # only the file's own name speaks, not its folder's
        ("plain", "openai:", False, "QuickGELU"),
        ("plain", "laion400m_e32:", True, "GELU"),
        ("plain", "openai-gelu:", True, "GELU"),
    ],
)
def test_openai_weights_get_quick_gelu(clip, clip_state, tmp_path, folder, prefix, halve, expected):
    if halve:
        clip_state = {name: tensor.half().float() for name, tensor in clip_state.items()}
    path = tmp_path / folder / "weights.safetensors"
    path.parent.mkdir()
    safetensors.torch.save_file(towers(clip_state), path)
    assert activation_of(backbones.load("tiny", weights=f"{prefix}{path}")) == expected


@pytest.mark.parametrize(("tag", "expected"), [("openai", "QuickGELU"), ("laion400m_e32", "GELU")])
def test_a_tag_is_found_in_the_cache_with_its_activation(clip, clip_state, nothing_cached, tag, expected):
    name = {"openai": "tiny.pt", "laion400m_e32": "tiny-e32.pt"}[tag]
    target = nothing_cached / "torch" / "hub" / "checkpoints" / name
    target.parent.mkdir(parents=True)
    torch.save(towers(clip_state), target)
    backbone = backbones.load("tiny", weights=tag)
    assert activation_of(backbone) == expected
    assert backbone.weights == f"{tag}:{target}"
