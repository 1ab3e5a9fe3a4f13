"""Every backbone by name: shapes, token identity, the network against NumPy loops, precision, threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import timm
import torch

from musc_online import backbones, msm
from musc_online.backbones import keys, library_cache, loading, position, precision, specs
from musc_online.backbones.vit import VitBackbone
from musc_online.backbones.weights import Weights
from musc_online.errors import ConfigError, FrameError, WeightsError
from tests import backbone_states, naive_vit

TINY = backbone_states.TINY_DINO


def assemble(spec, image_size, stages, state, *, quick_gelu=False, chosen="float32"):
    """A backbone from tensors in memory, as `load` puts it together from a file."""
    found = Weights(state, "made up", quick_gelu)
    network, prepare = loading.build(spec, image_size, found)
    return VitBackbone(
        spec,
        network,
        prepare,
        image_size=image_size,
        stages=stages,
        device=torch.device("cpu"),
        precision=chosen,
        weights=found.source,
        weights_digest=found.digest,
    )


def shapes_of(spec, image_size):
    """Names and shapes of the network's tensors, from the model library itself."""
    with torch.device("meta"):
        if spec.family == "clip":
            model = open_clip.create_model(
                spec.architecture, force_image_size=image_size, device="meta"
            ).visual
        else:
            model = timm.create_model(spec.architecture, img_size=image_size, num_classes=0)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def tiny(image_size=32, stages=(1, 5), seed=0, **options):
    state = backbone_states.timm_state(TINY, grid=2, hidden=192, seed=seed)
    return assemble(TINY, image_size, stages, state, **options)


def inputs_for(backbone, count, seed=1):
    size = backbone.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tiny_clip(monkeypatch):
    """A CLIP small enough for loops: 3 blocks of width 128, 2 heads, registered with open_clip."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 24, "layers": 3, "width": 128, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 1, "layers": 1},
    }
    known = open_clip.get_model_config
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: config if name == "tiny" else known(name))
    return specs.BackboneSpec("tiny", "clip", "tiny", 8, 128, 24, 3, 24, ())


# --- names ---------------------------------------------------------------------------------------------


def test_every_name_of_the_design_is_known():
    assert set(backbones.names()) == {
        *("ViT-B-32", "ViT-B-16", "ViT-B-16-plus-240", "ViT-L-14", "ViT-L-14-336"),
        *("dino_vitbase8", "dino_vitbase16", "dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14"),
    }


@pytest.mark.parametrize("name", backbones.names())
def test_the_light_table_agrees_with_the_model_libraries(name):
    spec = backbones.spec(name)
    shapes = shapes_of(spec, spec.default_size)
    kernel, width = (
        ("conv1.weight", "class_embedding")
        if spec.family == "clip"
        else ("patch_embed.proj.weight", "cls_token")
    )
    assert shapes[kernel] == (spec.n_channels, 3, spec.patch_size, spec.patch_size)
    assert shapes[width][-1] == spec.n_channels
    blocks = {key.split("blocks.")[1].split(".")[0] for key in shapes if "blocks." in key}
    assert len(blocks) == spec.n_blocks
    assert spec.class_dim == (shapes["proj"][1] if spec.family == "clip" else spec.n_channels)
    assert spec.default_size % spec.patch_size == 0
    for tag in spec.tags:
        source = library_cache.published(spec, tag)
        assert source.url
        assert tag in source.repository or not source.repository


def test_a_tag_is_never_sought_where_another_is_published():
    spec = backbones.spec("ViT-B-16-plus-240")
    assert "e31" in library_cache.published(spec, "laion400m_e31").repository
    assert "e31" not in library_cache.published(spec, "laion400m_e32").describe()


def test_spec_needs_no_torch():
    code = (
        "import sys; from musc_online import backbones; backbones.spec('ViT-L-14-336');"
        "print([m for m in ('torch', 'timm', 'open_clip', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_unknown_name_lists_the_known():
    with pytest.raises(
        ConfigError, match=r"backbone\.name: got 'resnet50', expected one of ViT-B-32, .*dinov2_vitl14"
    ):
        backbones.load("resnet50")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 225}, r"backbone\.image_size: got 225.*patch size 14, nearest: 224 or 238"),
        ({"image_size": 13}, r"nearest: 14$"),
        ({"image_size": 224.0}, r"got 224\.0, expected a multiple"),
        ({"image_size": 0}, r"got 0"),
        ({"image_size": -14}, r"got -14"),
        ({"stages": [2, 12]}, r"backbone\.stages: got 12.*0 to 11"),
        ({"stages": [-1]}, r"got -1"),
        ({"stages": []}, r"got \[\]"),
        ({"stages": [3, 3]}, r"got \[3, 3\], expected distinct"),
        ({"device": "gpu"}, r"backbone\.device: got 'gpu'"),
        ({"device": "meta"}, r"backbone\.device: got 'meta'"),
        ({"device": "cuda:99"}, r"CUDA devices were found"),
        ({"precision": "float16"}, r"backbone\.precision: got 'float16'"),
    ],
)
def test_a_wrong_option_is_found_before_weights_are_sought(options, message, monkeypatch):
    monkeypatch.setattr(loading, "resolve", lambda *_: pytest.fail("weights were sought"))
    with pytest.raises(ConfigError, match=message) as caught:
        backbones.load("dinov2_vits14", **options)
    assert "\n" not in str(caught.value)


# --- tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", backbones.names())
def test_shapes_and_token_identity_of_every_architecture(name):
    spec = backbones.spec(name)
    size, pretrained = 2 * spec.patch_size, 3 * spec.patch_size
    state = backbone_states.shared_state(shapes_of(spec, pretrained))
    stages = (spec.n_blocks - 1, 1)
    backbone = assemble(spec, size, stages, state)
    assert (backbone.grid, backbone.n_patches, backbone.n_channels) == (2, 4, spec.n_channels)
    caught = {}
    for stage in stages:
        backbone.network.blocks[stage].register_forward_hook(
            lambda _module, _inputs, output, stage=stage: caught.update({stage: output.detach().clone()})
        )
    frames = [np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8) for i in range(2)]
    patch_tokens, class_token = backbone.extract(torch.stack([backbone.prepare(frame) for frame in frames]))
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
    backbone = assemble(tiny_clip, 8 * grid, (0, 2), keys.to_open_clip(state), quick_gelu=quick)
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


# --- position embeddings -------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "grid"), [(5, 3), (3, 5), (4, 9)])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_position_embedding_against_plain_loops(side, grid, offset):
    embedding = torch.randn(1 + side * side, 2, generator=torch.Generator().manual_seed(side))
    resampled = position.resample(embedding, grid, offset).numpy()
    patches = embedding[1:].numpy().astype(np.float64).reshape(side, side, 2)
    expected = naive_vit.bicubic(patches, grid, (grid + offset) / side)
    np.testing.assert_allclose(resampled[1:], expected.reshape(-1, 2), atol=1e-5)
    np.testing.assert_array_equal(resampled[0], embedding[0].numpy())


def test_position_embedding_of_the_right_size_is_left_alone():
    embedding = torch.randn(10, 4)
    assert position.resample(embedding, 3, 0.1) is embedding


@pytest.mark.parametrize("grid", [*range(1, 80), 96, 128])
def test_the_published_scale_factor_gives_the_grid_asked_for(grid):
    for side in (14, 28, 37):
        assert position.resample(torch.zeros(1 + side * side, 1), grid, 0.1).shape == (1 + grid * grid, 1)


def test_position_embedding_without_a_square_grid_is_refused():
    with pytest.raises(WeightsError, match="got 9 tokens"):
        position.resample(torch.zeros(9, 4), 2)


# --- running -------------------------------------------------------------------------------------------


def test_a_batch_gives_what_single_frames_give():
    backbone = tiny(stages=(0, 3, 5))
    inputs = inputs_for(backbone, 5)
    together = backbone.extract(inputs)
    alone = [backbone.extract(one[None]) for one in inputs]
    torch.testing.assert_close(
        together[0], torch.cat([tokens for tokens, _ in alone], dim=1), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(together[1], torch.cat([token for _, token in alone]), atol=1e-5, rtol=1e-5)


def test_what_comes_back_is_the_callers_to_write_to():
    backbone = tiny()
    inputs = inputs_for(backbone, 1)
    first = [tensor.clone() for tensor in backbone.extract(inputs)]
    for tensor in backbone.extract(inputs):
        tensor.zero_()
    torch.testing.assert_close(list(backbone.extract(inputs)), first, atol=0, rtol=0)


def test_an_empty_batch_gives_empty_tokens():
    backbone = tiny()
    patch_tokens, class_token = backbone.extract(torch.empty(0, 3, 32, 32))
    assert patch_tokens.shape == (2, 0, 4, 64)
    assert class_token.shape == (0, 64)


def test_many_threads_get_what_one_gets():
    backbone = tiny(chosen="float32")
    batches = [inputs_for(backbone, 2, seed) for seed in range(12)]
    expected = [backbone.extract(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for got, want in zip(pool.map(backbone.extract, batches), expected, strict=True):
            torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)
    assert not any(tokens.requires_grad for pair in expected for tokens in pair)


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, 32, 32), torch.zeros(1, 3, 32, 48), torch.zeros(1, 1, 32, 32), None]
)
def test_inputs_of_another_shape_are_refused(wrong):
    with pytest.raises(FrameError, match=r"expected a \[N, 3, 32, 32\] tensor"):
        tiny().extract(wrong)


def test_stages_come_in_the_order_asked_for():
    forwards, backwards = tiny(stages=(1, 4)), tiny(stages=(4, 1))
    inputs = inputs_for(forwards, 1)
    torch.testing.assert_close(
        forwards.extract(inputs)[0], backwards.extract(inputs)[0].flip(0), atol=0, rtol=0
    )


def test_the_fingerprint_tells_apart_what_gives_other_tokens():
    first = tiny().fingerprint
    assert first == tiny().fingerprint
    others = {tiny(seed=1).fingerprint, tiny(image_size=48).fingerprint, tiny(stages=(5, 1)).fingerprint}
    assert len(others | {first}) == 4
    int(first, 16)


def test_activation_is_part_of_the_fingerprint(tiny_clip):
    state = keys.to_open_clip(backbone_states.timm_state(tiny_clip, grid=3, hidden=512, clip=True))
    prints = {assemble(tiny_clip, 24, (0,), state, quick_gelu=quick).fingerprint for quick in (True, False)}
    assert len(prints) == 2


def test_bfloat16_moves_the_mutual_scores_little_and_is_not_float32():
    exact = tiny(image_size=96, stages=(2, 5))
    rough = tiny(image_size=96, stages=(2, 5), chosen="bfloat16")
    inputs = inputs_for(exact, 10)
    inputs = inputs[:1] + 0.4 * inputs  # images of one product: alike, each a little different
    inputs[3, :, 16:32, 16:32] += 3.0
    tokens = [backbone.extract(inputs)[0] for backbone in (exact, rough)]
    assert tokens[1].dtype == torch.float32
    assert not torch.equal(*tokens)
    scores = [np.asarray(msm.mutual_scores(token.numpy(), (1, 3))) for token in tokens]
    assert np.abs(scores[0] - scores[1]).max() < 0.01
    assert scores[0].max(axis=1).argmax() == scores[1].max(axis=1).argmax() == 3


def test_auto_precision_follows_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(precision, "native_bfloat16", lambda _device, native=native: native)
        assert precision.choose_precision("auto", cpu) == expected
    assert precision.choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("flags", "native"), [("fpu avx2 fma", False), ("fpu avx512_bf16", True), ("amx_bf16", True)]
)
def test_native_bfloat16_is_read_from_the_processors_flags(monkeypatch, flags, native):
    text = f"processor : 0\nmodel name : any bf16\nflags\t\t: {flags}\n"
    monkeypatch.setattr(precision.platform, "system", lambda: "Linux")
    monkeypatch.setattr(precision.Path, "exists", lambda _self: True)
    monkeypatch.setattr(precision.Path, "read_text", lambda _self, **_options: text)
    assert precision.native_bfloat16(torch.device("cpu")) is native
