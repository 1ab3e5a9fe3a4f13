"""The published names end to end: a file as its publisher writes it, made-up numbers, the authors' tokens.

What their code computes is written out in `naive_vit`: which activation, which size, how the position
embedding is interpolated, what a block's tokens are. Equal tokens here are equal scores with real weights.
"""

import naive_vit
import numpy as np
import pytest
import torch
from backbone_states import timm_state
from weights_support import nothing_cached, openai_marks, save_torchscript, towers

from musc_online import backbones
from musc_online.backbones import checkpoint

__all__ = ["nothing_cached"]

TOLERANCE = 2e-5
STAGES = (2, 5, 8, 11)


def frame_of(size):
    return np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)


def prepared(frame, mean, std):
    """A frame that has the right size already: RGB, 0..1, standardised."""
    rgb = frame[:, :, ::-1].astype(np.float64) / 255
    return ((rgb - mean) / std).transpose(2, 0, 1)


def resized(state, grid, offset):
    """The state with its position embedding at another grid."""
    embedding = np.asarray(state["pos_embed"][0], dtype=np.float64)
    side = round((len(embedding) - 1) ** 0.5)
    if side == grid:
        return state
    patches = naive_vit.bicubic(embedding[1:].reshape(side, side, -1), grid, (grid + offset) / side)
    return state | {"pos_embed": np.concatenate([embedding[:1], patches.reshape(grid * grid, -1)])}


# Name, size, heads, side of the pretrained grid, tag, what is asked for, what the authors' code runs.
CLIP = [
    ("ViT-B-32", 224, 12, 7, "openai", "auto", naive_vit.quick_gelu),
    ("ViT-B-32", 256, 12, 7, "openai", "gelu", naive_vit.gelu),
    ("ViT-B-32", 256, 12, 7, "laion400m_e32", "auto", naive_vit.gelu),
    pytest.param("ViT-B-16", 256, 12, 14, "openai", "gelu", naive_vit.gelu, marks=pytest.mark.slow),
    ("ViT-B-16-plus-240", 240, 14, 15, "laion400m_e31", "auto", naive_vit.gelu),
]
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize(("name", "size", "heads", "side", "tag", "asked", "activation"), CLIP)
def test_clip(tmp_path, name, size, heads, side, tag, asked, activation):
    spec = backbones.spec(name)
    state = timm_state(spec, grid=side, hidden=4 * spec.n_channels, clip=True, shared=True)
    whole = towers(checkpoint.to_open_clip(state))
    path = tmp_path / "weights.pt"
    if tag == "openai":
        save_torchscript(whole | openai_marks(), path)
    else:
        torch.save(
            {"epoch": 32, "state_dict": {f"module.{key}": tensor for key, tensor in whole.items()}}, path
        )
    weights = str(path) if tag == "openai" else f"{tag}:{path}"
    backbone = backbones.load(name, weights, size, STAGES, activation=asked)
    frame = frame_of(size)
    blocks = naive_vit.tokens(
        prepared(frame, CLIP_MEAN, CLIP_STD),
        resized(state, size // spec.patch_size, 0.0),
        patch=spec.patch_size,
        n_heads=heads,
        n_blocks=12,
        eps=1e-5,
        activation=activation,
    )
    patch_tokens, class_token = backbone.extract(backbone.prepare(frame)[None])
    for tokens, stage in zip(patch_tokens[:, 0], STAGES, strict=True):
        np.testing.assert_allclose(tokens, blocks[stage][1:], rtol=0, atol=TOLERANCE)
    norm = [state[f"norm.{part}"].numpy().astype(np.float64) for part in ("weight", "bias")]
    feature = state["head.weight"].numpy().astype(np.float64) @ naive_vit.layer_norm(
        blocks[11][0], *norm, 1e-5
    )
    np.testing.assert_allclose(class_token[0], feature / np.linalg.norm(feature), rtol=0, atol=TOLERANCE)


# Name, size, heads, side of the pretrained grid, layer scale.
DINO = [
    ("dino_vitbase8", 64, 12, 28, False),
    ("dino_vitbase16", 256, 12, 14, False),
    ("dinov2_vits14", 224, 6, 37, True),
    ("dinov2_vitb14", 112, 12, 37, True),
]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(("name", "size", "heads", "side", "layer_scale"), DINO)
def test_dino_and_dinov2(tmp_path, name, size, heads, side, layer_scale):
    spec = backbones.spec(name)
    state = timm_state(spec, grid=side, hidden=4 * spec.n_channels, layer_scale=layer_scale, shared=True)
    path = tmp_path / f"{name}_pretrain.pth"
    torch.save(state | ({"mask_token": torch.zeros(1, spec.n_channels)} if layer_scale else {}), path)
    backbone = backbones.load(name, str(path), size, STAGES)
    frame = frame_of(size)
    blocks = naive_vit.tokens(
        prepared(frame, IMAGENET_MEAN, IMAGENET_STD),
        resized(state, size // spec.patch_size, 0.1),
        patch=spec.patch_size,
        n_heads=heads,
        n_blocks=12,
        eps=1e-6,
    )
    norm = [state[f"norm.{part}"].numpy().astype(np.float64) for part in ("weight", "bias")]
    patch_tokens, class_token = backbone.extract(backbone.prepare(frame)[None])
    for tokens, stage in zip(patch_tokens[:, 0], STAGES, strict=True):
        expected = naive_vit.layer_norm(blocks[stage][1:], *norm, 1e-6)
        np.testing.assert_allclose(tokens, expected, rtol=0, atol=TOLERANCE)
    expected = naive_vit.layer_norm(blocks[11][0], *norm, 1e-6)
    np.testing.assert_allclose(class_token[0], expected, rtol=0, atol=TOLERANCE)
