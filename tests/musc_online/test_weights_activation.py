"""Which activation CLIP is run with: as asked for, or as the tag or the file proves; never a guess."""

import pytest
import safetensors.torch
import torch
from backbone_states import shared_state
from backbone_support import shapes_of
from weights_support import (
    clip,
    clip_state,
    clip_to_timm,
    clip_to_transformers,
    nothing_cached,
    openai_marks,
    save_torchscript,
    towers,
)

from musc_online import backbones
from musc_online.errors import WeightsError

__all__ = ["clip", "clip_state", "nothing_cached"]

ASKS = r"nothing proves which activation .* set backbone\.activation to quick_gelu .* or gelu"


def activation_of(backbone):
    return type(backbone.network.blocks[0].mlp.gelu).__name__


def halved(state):
    """As OpenAI publishes: kernels in half precision, norms and embeddings not."""
    return {
        name: tensor.half() if tensor.ndim >= 2 and "embedding" not in name else tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize("precise", [True, False])
@pytest.mark.parametrize("form", ["open_clip", "timm", "transformers", "tower"])
def test_a_number_format_proves_nothing(clip, clip_state, tmp_path, precise, form):
    """LAION's weights saved in half precision, OpenAI's state dict without its extra keys: both ask."""
    state = {name: tensor if precise else tensor.half() for name, tensor in clip_state.items()}
    convert = {"open_clip": towers, "timm": clip_to_timm, "transformers": clip_to_transformers, "tower": dict}
    path = tmp_path / "openai.laion400m_e32.safetensors"
    safetensors.torch.save_file(convert[form](state), path)
    with pytest.raises(WeightsError, match=ASKS) as caught:
        backbones.load("tiny", weights=str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    for wanted, expected in (("gelu", "GELU"), ("quick_gelu", "QuickGELU")):
        assert activation_of(backbones.load("tiny", weights=str(path), activation=wanted)) == expected


def test_mixed_precision_without_openais_keys_proves_nothing(clip, clip_state, tmp_path):
    torch.save(towers(halved(clip_state)), tmp_path / "tiny.pt")
    with pytest.raises(WeightsError, match=ASKS):
        backbones.load("tiny", weights=str(tmp_path / "tiny.pt"))


@pytest.mark.parametrize("write", [save_torchscript, torch.save])
def test_openais_own_files_prove_it(clip, clip_state, tmp_path, write):
    write(towers(halved(clip_state)) | openai_marks(), tmp_path / "tiny.pt")
    assert activation_of(backbones.load("tiny", weights=str(tmp_path / "tiny.pt"))) == "QuickGELU"
    plain = backbones.load("tiny", weights=str(tmp_path / "tiny.pt"), activation="gelu")
    assert activation_of(plain) == "GELU"


def test_torchscript_of_another_maker_proves_nothing(clip, clip_state, tmp_path):
    save_torchscript(towers(clip_state), tmp_path / "traced.pt")
    with pytest.raises(WeightsError, match=ASKS):
        backbones.load("tiny", weights=str(tmp_path / "traced.pt"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_tiny.openai/model.safetensors", "QuickGELU"),
        ("models--timm--vit_tiny.openai/snapshots/0/model.safetensors", "QuickGELU"),
        ("models--timm--vit_tiny.laion400m_e32/snapshots/0/model.safetensors", "GELU"),
        ("tiny-laion400m_e32-0123abcd.pt", "GELU"),
        # A name that nobody publishes under, or that says nothing.
        ("laion400m_e32.pt", None),
        ("not.openai/model.safetensors", None),
        ("tiny.pt", None),
    ],
)
def test_the_publishers_own_name_proves_it(clip, clip_state, tmp_path, name, expected):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(towers(clip_state), path)
    if expected is None:
        with pytest.raises(WeightsError, match=ASKS):
            backbones.load("tiny", weights=str(path))
    else:
        assert activation_of(backbones.load("tiny", weights=str(path))) == expected


@pytest.mark.parametrize(
    ("tag", "asked", "expected"),
    [
        ("openai", "auto", "QuickGELU"),
        ("openai", "gelu", "GELU"),
        ("laion400m_e32", "auto", "GELU"),
        ("laion400m_e32", "quick_gelu", "QuickGELU"),
    ],
)
@pytest.mark.parametrize("halve", [True, False])
def test_a_tag_before_the_path_proves_it(clip, clip_state, tmp_path, tag, asked, expected, halve):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(towers(halved(clip_state) if halve else clip_state), path)
    backbone = backbones.load("tiny", weights=f"{tag}:{path}", activation=asked)
    assert activation_of(backbone) == expected
    assert backbone.weights == f"{tag}:{path}"


@pytest.mark.parametrize(
    ("tag", "asked", "expected"),
    [("openai", "auto", "QuickGELU"), ("openai", "gelu", "GELU"), ("laion400m_e32", "auto", "GELU")],
)
def test_a_tag_is_found_in_the_cache_with_its_activation(
    clip, clip_state, nothing_cached, tag, asked, expected
):
    name = {"openai": "tiny.pt", "laion400m_e32": "tiny-laion400m_e32-0123abcd.pt"}[tag]
    target = nothing_cached / "torch" / "hub" / "checkpoints" / name
    target.parent.mkdir(parents=True)
    torch.save(towers(clip_state), target)
    backbone = backbones.load("tiny", weights=tag, activation=asked)
    assert activation_of(backbone) == expected
    assert backbone.weights == f"{tag}:{target}"


def test_laions_vit_b_32_is_run_as_the_authors_run_it(tmp_path):
    """With GELU at every size by tag; its published file says `quickgelu`, so that a path alone asks."""
    path = tmp_path / "vit_b_32-quickgelu-laion400m_e32-46683a32.pt"
    torch.save(towers(shared_state(shapes_of(backbones.spec("ViT-B-32"), 224))), path)
    for size in (224, 256):
        backbone = backbones.load("ViT-B-32", weights=f"laion400m_e32:{path}", image_size=size)
        assert activation_of(backbone) == "GELU"
    with pytest.raises(WeightsError, match=ASKS):
        backbones.load("ViT-B-32", weights=str(path))


def test_the_activation_is_part_of_the_fingerprint(clip, clip_state, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(towers(clip_state), path)
    loaded = {
        asked: backbones.load("tiny", weights=f"openai:{path}", activation=asked).fingerprint
        for asked in ("auto", "quick_gelu", "gelu")
    }
    assert loaded["auto"] == loaded["quick_gelu"] != loaded["gelu"]
