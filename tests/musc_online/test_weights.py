"""Weights from every published format: the same backbone."""

import backbone_states
import pytest
import safetensors.torch
import torch
from weights_support import (
    clip,
    clip_state,
    clip_to_timm,
    clip_to_transformers,
    dino,
    dino_files,
    nothing_cached,
    openai_marks,
    save_torchscript,
    state,
    to_transformers,
    towers,
)

from musc_online import backbones
from musc_online.errors import WeightsError

__all__ = ["clip", "clip_state", "dino", "nothing_cached", "state"]


def same(backbone, other):
    inputs = torch.randn(
        1, 3, backbone.image_size, backbone.image_size, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(backbone.extract(inputs), other.extract(inputs), atol=0, rtol=0)


def test_every_dino_format_gives_the_same_backbone(dino, state, tmp_path):
    files = dino_files(state, tmp_path)
    loaded = [backbones.load("tiny_dino", weights=str(file), stages=[0, 5]) for file in files]
    assert len(loaded) == 13
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
    save_torchscript(towers(half) | openai_marks(), tmp_path / "archive.pt")
    torch.save(towers(half) | openai_marks(), tmp_path / "half.pt")
    torch.save({"state_dict": {f"module.{n}": t for n, t in towers(wide).items()}}, tmp_path / "wrapped.pt")
    safetensors.torch.save_file(towers(wide), tmp_path / "open_clip_model.safetensors")
    safetensors.torch.save_file(clip_to_timm(wide), tmp_path / "model.safetensors")
    transformers = clip_to_transformers(wide)
    safetensors.torch.save_file(transformers, tmp_path / "transformers.safetensors")
    vision = {name: tensor for name, tensor in transformers.items() if name.startswith("vis")}
    safetensors.torch.save_file(vision, tmp_path / "vision_with_projection.safetensors")
    files = sorted(tmp_path.iterdir())
    loaded = [backbones.load("tiny", weights=str(file), activation="quick_gelu") for file in files]
    assert len(loaded) == 7
    assert len({backbone.fingerprint for backbone in loaded}) == 1
    for backbone in loaded:
        same(backbone, loaded[0])


def test_a_transformers_checkpoint_that_lacks_a_key_says_so(clip, clip_state, dino, state, tmp_path):
    """Query, key and value are stored apart there: one of them alone cannot be joined."""
    wanting = clip_to_transformers(clip_state)
    del wanting["vision_model.encoder.layers.1.self_attn.k_proj.weight"]
    safetensors.torch.save_file(wanting, tmp_path / "clip.safetensors")
    with pytest.raises(WeightsError, match=r"1 tensors missing \(first: .*blocks\.1\.attn\.in_proj_weight"):
        backbones.load("tiny", weights=str(tmp_path / "clip.safetensors"), activation="gelu")
    wanting = to_transformers(state)
    del wanting["encoder.layer.2.attention.attention.value.bias"]
    safetensors.torch.save_file(wanting, tmp_path / "dino.safetensors")
    with pytest.raises(WeightsError, match=r"1 tensors missing \(first: blocks\.2\.attn\.qkv\.bias"):
        backbones.load("tiny_dino", weights=str(tmp_path / "dino.safetensors"))
