"""`timm:NAME`: any plain vision transformer of timm, against timm's own forward passes on made-up weights."""

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from musc_online import backbones, config, ring_setup
from musc_online.errors import ConfigError, WeightsError

SMALL = [
    "test_vit",
    "test_vit2",
    "test_vit3",
    "vit_tiny_patch16_224",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "deit_tiny_distilled_patch16_224",
    "eva02_tiny_patch14_224",
    "vit_base_patch16_siglip_224",
]
QUICK = SMALL[:3]


def saved(tmp_path, architecture, seed=0):
    """A model of timm's with made-up weights, and the file it was saved to."""
    torch.manual_seed(seed)
    model = timm.create_model(architecture, pretrained=False, num_classes=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    path = tmp_path / "made-up.safetensors"
    safetensors.torch.save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, path
    )
    return model, path


def own_tokens(model, inputs, stages):
    """timm's: block outputs without their prefix, and all tokens at the end, through the final norm."""
    norm = model.fc_norm if isinstance(model.norm, torch.nn.Identity) else model.norm
    with torch.no_grad():
        final = model.forward_features(inputs)
        taken = model.forward_intermediates(
            inputs, indices=list(stages), output_fmt="NLC", intermediates_only=True
        )
        final = norm(final) if norm is not model.norm else final
        return [norm(patches) for patches in taken], final


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n not in QUICK else ()) for n in SMALL]
)
def test_tokens_are_timms_own(tmp_path, name):
    model, path = saved(tmp_path, name)
    spec = backbones.spec(f"timm:{name}")
    last = spec.n_blocks - 1
    for stages in ((1, last), (last - 1, 0)):
        # Its own size, at which timm's position embedding is that of the file.
        size = model.patch_embed.img_size[0]
        backbone = backbones.load(f"timm:{name}", weights=str(path), image_size=size, stages=stages)
        inputs = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
        patch_tokens, class_token = backbone.extract(inputs)
        taken, final = own_tokens(model, inputs, sorted(stages))
        assert patch_tokens.shape == (2, 1, spec.check_size(size) ** 2, spec.n_channels)
        for stage, tokens in zip(stages, patch_tokens, strict=True):
            torch.testing.assert_close(tokens, taken[sorted(stages).index(stage)], atol=1e-4, rtol=1e-4)
        patches = final[:, model.num_prefix_tokens :]
        expected = final[:, 0] if model.cls_token is not None else patches.mean(dim=1)
        torch.testing.assert_close(class_token, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["test_vit", "eva02_tiny_patch14_224"])
def test_another_size_is_what_timm_makes_of_it(tmp_path, name):
    _, path = saved(tmp_path, name)
    spec = backbones.spec(f"timm:{name}")
    size = 5 * spec.patch_size
    overlay = {"file": str(path), "num_classes": 0}
    resized = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, img_size=size
    ).eval()
    backbone = backbones.load(f"timm:{name}", weights=str(path), image_size=size, stages=(0, 3))
    inputs = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    taken, _ = own_tokens(resized, inputs, (0, 3))
    torch.testing.assert_close(list(backbone.extract(inputs)[0]), taken, atol=1e-5, rtol=1e-5)


def test_a_spec_needs_no_weights_and_gives_the_rings_shape():
    spec = backbones.spec("timm:vit_small_patch14_reg4_dinov2.lvd142m")
    assert (spec.patch_size, spec.n_channels, spec.n_blocks, spec.tags) == (14, 384, 12, ("lvd142m",))
    wanted = config.load({"backbone": {"name": "timm:vit_tiny_patch16_224", "image_size": 64}})
    geometry = ring_setup.expected_geometry(wanted)
    assert (geometry.n_patches, geometry.n_channels) == (16, 192)


def test_frames_are_prepared_as_timm_says(tmp_path):
    _, path = saved(tmp_path, "test_vit")
    backbone = backbones.load("timm:test_vit", weights=str(path), image_size=32, stages=(1,))
    cfg = timm.get_pretrained_cfg("test_vit")
    frame = np.full((32, 32, 3), (255, 0, 128), np.uint8)
    expected = [
        (value / 255 - mean) / std for value, mean, std in zip((128, 0, 255), cfg.mean, cfg.std, strict=True)
    ]
    np.testing.assert_allclose(backbone.prepare(frame)[:, 0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swin_tiny_patch4_window7_224", "SwinTransformer is no plain vision transformer"),
        ("resnet18", "ResNet is no plain vision transformer"),
        ("cait_xxs24_224", "Cait is no plain vision transformer"),
        ("vit_smal_patch16_224", r"timm has no such model; nearest: .*vit_small_patch16_224"),
        (
            "vit_small_patch16_224.nobody",
            r"timm has no weights 'nobody' of vit_small_patch16_224; expected one of .*dino",
        ),
        ("vim_tiny", "Vision Mamba needs a selective scan"),
        ("", "timm has no such model"),
    ],
)
def test_what_is_no_plain_vision_transformer_is_refused(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        backbones.spec(f"timm:{name}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"backbone.name: got 'timm:{name}'")


def test_weights_of_another_network_are_refused(tmp_path):
    _, path = saved(tmp_path, "test_vit")
    with pytest.raises(WeightsError, match="of another network than timm:vit_tiny_patch16_224"):
        backbones.load("timm:vit_tiny_patch16_224", weights=str(path))


def test_weights_that_nobody_has_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"timm:vit_small_patch16_224\.dino: weights 'dino' not found"
    ) as caught:
        backbones.load("timm:vit_small_patch16_224.dino")
    assert "\n" not in str(caught.value)
