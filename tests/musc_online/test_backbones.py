"""Every backbone by name, and what it is to those who run it: batches, threads, stages, precision."""

import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import backbone_states
import numpy as np
import pytest
import torch
from backbone_support import assemble, inputs_for, shapes_of, tiny, tiny_clip

from musc_online import backbones, config, msm
from musc_online.backbones import checkpoint, library_cache, loading
from musc_online.errors import ConfigError, FrameError

__all__ = ["tiny_clip"]


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
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180
    )
    assert done.stdout.strip() == "[]"


def test_every_key_of_the_configuration_reaches_load(monkeypatch):
    keys = set(config.BackboneConfig.model_fields)
    assert keys == set(inspect.signature(backbones.load).parameters)
    asked = []
    monkeypatch.setattr(
        loading, "load_backbone", lambda name, **options: asked.append({"name": name} | options)
    )
    wanted = {
        "name": "dino_vitbase16",
        "weights": "dino",
        "image_size": 64,
        "stages": (1, 4),
        "device": "cpu",
        "precision": "bfloat16",
        "activation": "gelu",
    }
    backbones.load_configured(config.load({"backbone": wanted}).backbone)
    assert keys == set(wanted)
    assert asked == [wanted]


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
        (
            {"activation": "relu"},
            r"backbone\.activation: got 'relu'.*auto, quick_gelu, gelu$",
        ),
        ({"activation": "quick_gelu"}, r"got 'quick_gelu', but dinov2_vits14 has GELU.*set auto or gelu$"),
    ],
)
def test_a_wrong_option_is_found_before_weights_are_sought(options, message, monkeypatch):
    monkeypatch.setattr(loading, "resolve", lambda *_: pytest.fail("weights were sought"))
    with pytest.raises(ConfigError, match=message) as caught:
        backbones.load("dinov2_vits14", **options)
    assert "\n" not in str(caught.value)


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
    "wrong",
    [
        torch.zeros(3, 32, 32),
        torch.zeros(1, 3, 32, 48),
        torch.zeros(1, 1, 32, 32),
        np.zeros((1, 32, 32, 3)),
        np.zeros((0,)),
        [[0.0]],
        None,
    ],
)
def test_inputs_of_another_shape_are_refused(wrong):
    with pytest.raises(FrameError, match=r"expected prepared frames, a \[N, 3, 32, 32\] tensor or array"):
        tiny().extract(wrong)


def test_inputs_that_are_no_numbers_are_refused():
    with pytest.raises(FrameError, match=r"got dtype object, expected prepared frames in float32"):
        tiny().extract(np.full((1, 3, 32, 32), None))


@pytest.mark.parametrize("count", [0, 3])
def test_arrays_in_arrays_out(count):
    backbone = tiny()
    inputs = inputs_for(backbone, count)
    expected = backbone.extract(inputs)
    array = inputs.numpy().copy()
    array.flags.writeable = False
    turned = np.ascontiguousarray(array[:, :, ::-1])[:, :, ::-1]
    for given in (array, array.astype(np.float64), turned, np.asfortranarray(array)):
        got = backbone.extract(given)
        for ours, theirs in zip(got, expected, strict=True):
            assert isinstance(ours, np.ndarray)
            assert ours.dtype == np.float32
            assert ours.flags.writeable
            np.testing.assert_array_equal(ours, theirs.numpy())
    assert all(isinstance(ours, torch.Tensor) for ours in expected)


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
    state = checkpoint.to_open_clip(backbone_states.timm_state(tiny_clip, grid=3, hidden=512, clip=True))
    prints = {assemble(tiny_clip, 24, (0,), state, quick_gelu=quick).fingerprint for quick in (True, False)}
    assert len(prints) == 2


@pytest.mark.slow
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
        monkeypatch.setattr(loading, "native_bfloat16", lambda _device, native=native: native)
        assert loading.choose_precision("auto", cpu) == expected
    assert loading.choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("flags", "native"), [("fpu avx2 fma", False), ("fpu avx512_bf16", True), ("amx_bf16", True)]
)
def test_native_bfloat16_is_read_from_the_processors_flags(monkeypatch, flags, native):
    text = f"processor : 0\nmodel name : any bf16\nflags\t\t: {flags}\n"
    monkeypatch.setattr(loading.platform, "system", lambda: "Linux")
    monkeypatch.setattr(loading.Path, "exists", lambda _self: True)
    monkeypatch.setattr(loading.Path, "read_text", lambda _self, **_options: text)
    assert loading.native_bfloat16(torch.device("cpu")) is native
