"""Tokens of every architecture: shapes, the network against NumPy loops, position embeddings of any grid."""

from dataclasses import replace

import backbone_states
import naive_vit
import numpy as np
import open_clip
import pytest
import torch
from backbone_support import TINY, assemble, inputs_for, shapes_of, tiny_clip

from musc_online import backbones
from musc_online.backbones import building, checkpoint
from musc_online.errors import WeightsError

__all__ = ["tiny_clip"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if backbones.spec(name).n_channels > 1000 else ())
        for name in backbones.names()
    ],
)
def test_shapes_and_token_identity_of_every_architecture(name):
    spec = backbones.spec(name)
    size, pretrained = 2 * spec.patch_size, 3 * spec.patch_size
    state = backbone_states.shared_state(shapes_of(spec, pretrained))
    stages = (spec.n_blocks - 1, 1)
    backbone = assemble(spec, size, stages, state)
    assert (backbone.grid, backbone.n_patches, backbone.n_channels) == (2, 4, spec.n_channels)
    caught = {stage: [] for stage in stages}
    for stage in stages:
        backbone.network.blocks[stage].register_forward_hook(
            lambda _module, _inputs, output, stage=stage: caught[stage].append(output.detach().clone())
        )
    frames = [np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8) for i in range(2)]
    patch_tokens, class_token = backbone.extract(torch.stack([backbone.prepare(frame) for frame in frames]))
    # Together or one by one, whichever gives the same bytes: the last two rows are those of the frames.
    caught = {stage: torch.cat(outputs)[-2:] for stage, outputs in caught.items()}
    assert patch_tokens.shape == (2, 2, 4, spec.n_channels)
    assert class_token.shape == (2, spec.class_dim)
    assert patch_tokens.dtype == class_token.dtype == torch.float32
    for index, stage in enumerate(stages):
        block = caught[stage]
        if spec.family != "clip":
            block = torch.nn.functional.layer_norm(
                block, (spec.n_channels,), state["norm.weight"], state["norm.bias"], eps=1e-6
            )
        torch.testing.assert_close(patch_tokens[index], block[:, 1:], atol=1e-5, rtol=1e-5)
        if stage == spec.n_blocks - 1 and spec.family != "clip":
            torch.testing.assert_close(class_token, block[:, 0], atol=1e-5, rtol=1e-5)
    if spec.family == "clip":
        final = torch.nn.functional.layer_norm(
            caught[spec.n_blocks - 1][:, 0],
            (spec.n_channels,),
            state["ln_post.weight"],
            state["ln_post.bias"],
        )
        feature = torch.nn.functional.normalize(final @ state["proj"], dim=-1)
        torch.testing.assert_close(class_token, feature, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [2, 3])
def test_dino_against_plain_loops(grid):
    state = backbone_states.timm_state(TINY, grid=2, hidden=192)
    backbone = assemble(TINY, 16 * grid, (5, 0), state)
    plain = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    if grid != 2:
        pretrained = plain["pos_embed"][0, 1:].reshape(2, 2, 64)
        patches = naive_vit.bicubic(pretrained, grid, (grid + 0.1) / 2).reshape(-1, 64)
        plain["pos_embed"] = np.concatenate([plain["pos_embed"][0, :1], patches])
    inputs = inputs_for(backbone, 1)
    blocks = naive_vit.tokens(inputs[0].numpy(), plain, patch=16, n_heads=2, n_blocks=6, eps=1e-6)
    normed = [naive_vit.layer_norm(block, plain["norm.weight"], plain["norm.bias"], 1e-6) for block in blocks]
    patch_tokens, class_token = backbone.extract(inputs)
    np.testing.assert_allclose(patch_tokens[0, 0].numpy(), normed[5][1:], atol=2e-5)
    np.testing.assert_allclose(patch_tokens[1, 0].numpy(), normed[0][1:], atol=2e-5)
    np.testing.assert_allclose(class_token[0].numpy(), normed[5][0], atol=2e-5)


def test_layer_scale_of_dinov2_is_applied():
    """timm's DINOv2 with the published depth cut to what loops can do: the blocks are the real ones."""
    spec = replace(backbones.spec("dinov2_vits14"), n_blocks=12)
    state = backbone_states.timm_state(spec, grid=2, hidden=1536, layer_scale=True)
    backbone = assemble(spec, 28, (0, 2), state)
    plain = {name: tensor.numpy() for name, tensor in state.items()}
    inputs = inputs_for(backbone, 1)
    blocks = naive_vit.tokens(inputs[0].numpy(), plain, patch=14, n_heads=6, n_blocks=3, eps=1e-6)
    patch_tokens, _ = backbone.extract(inputs)
    for index, stage in enumerate((0, 2)):
        normed = naive_vit.layer_norm(blocks[stage], plain["norm.weight"], plain["norm.bias"], 1e-6)
        np.testing.assert_allclose(patch_tokens[index, 0].numpy(), normed[1:], atol=2e-5)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("grid", [3, 2])
def test_clip_against_plain_loops(tiny_clip, grid, quick):
    state = backbone_states.timm_state(tiny_clip, grid=3, hidden=512, clip=True)
    backbone = assemble(tiny_clip, 8 * grid, (0, 2), checkpoint.to_open_clip(state), quick_gelu=quick)
    plain = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    if grid != 3:
        pretrained = plain["pos_embed"][0, 1:].reshape(3, 3, 128)
        patches = naive_vit.bicubic(pretrained, grid, grid / 3).reshape(-1, 128)
        plain["pos_embed"] = np.concatenate([plain["pos_embed"][0, :1], patches])
    inputs = inputs_for(backbone, 1)
    activation = naive_vit.quick_gelu if quick else naive_vit.gelu
    blocks = naive_vit.tokens(
        inputs[0].numpy(), plain, patch=8, n_heads=2, n_blocks=3, eps=1e-5, activation=activation
    )
    patch_tokens, class_token = backbone.extract(inputs)
    np.testing.assert_allclose(patch_tokens[0, 0].numpy(), blocks[0][1:], atol=3e-5)
    np.testing.assert_allclose(patch_tokens[1, 0].numpy(), blocks[2][1:], atol=3e-5)
    final = naive_vit.layer_norm(blocks[2][0], plain["norm.weight"], plain["norm.bias"], 1e-5)
    feature = plain["head.weight"] @ final
    np.testing.assert_allclose(class_token[0].numpy(), feature / np.linalg.norm(feature), atol=2e-5)


def test_clip_equals_open_clip_at_its_own_size():
    spec = backbones.spec("ViT-B-32")
    state = backbone_states.shared_state(shapes_of(spec, 224))
    backbone = assemble(spec, 224, (11,), state, quick_gelu=True)
    reference = open_clip.create_model("ViT-B-32-quickgelu", device="meta").visual
    reference.load_state_dict(state, assign=True)
    inputs = inputs_for(backbone, 1)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(reference.eval()(inputs), dim=-1)
    torch.testing.assert_close(backbone.extract(inputs)[1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("side", "grid"), [(5, 3), (3, 5), (4, 9)])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_position_embedding_against_plain_loops(side, grid, offset):
    embedding = torch.randn(1 + side * side, 2, generator=torch.Generator().manual_seed(side))
    resampled = building.resample(embedding, grid, offset).numpy()
    patches = embedding[1:].numpy().astype(np.float64).reshape(side, side, 2)
    expected = naive_vit.bicubic(patches, grid, (grid + offset) / side)
    np.testing.assert_allclose(resampled[1:], expected.reshape(-1, 2), atol=1e-5)
    np.testing.assert_array_equal(resampled[0], embedding[0].numpy())


def test_position_embedding_of_the_right_size_is_left_alone():
    embedding = torch.randn(10, 4)
    assert building.resample(embedding, 3, 0.1) is embedding


@pytest.mark.parametrize("grid", [*range(1, 80), 96, 128])
def test_the_published_scale_factor_gives_the_grid_asked_for(grid):
    for side in (14, 28, 37):
        assert building.resample(torch.zeros(1 + side * side, 1), grid, 0.1).shape == (1 + grid * grid, 1)


def test_position_embedding_without_a_square_grid_is_refused():
    with pytest.raises(WeightsError, match=r"got shape \[9, 4\], expected"):
        building.resample(torch.zeros(9, 4), 2)
