"""Checkpoints that are damaged, foreign or hostile: one clear line each, and nothing of theirs is run."""

import pickle
import zipfile
from pathlib import Path

import backbone_states
import pytest
import safetensors.torch
import torch
from backbone_states import shared_state
from backbone_support import shapes_of
from weights_support import dino, dino_files, nothing_cached, save_torchscript, state

from musc_online import backbones
from musc_online.backbones import checkpoint, torchscript, weights
from musc_online.errors import WeightsError

__all__ = ["dino", "nothing_cached", "state"]


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
            lambda state: state["blocks.1.mlp.fc1.weight"][3, 5].fill_(torch.nan),
            r"blocks\.1\.mlp\.fc1\.weight holds values that are not finite",
        ),
        (
            lambda state: state["norm.weight"][7].fill_(-torch.inf),
            r"norm\.weight holds values that are not finite",
        ),
        (
            lambda state: state["norm.weight"][0].fill_(torch.inf),
            r"norm\.weight holds values that are not finite",
        ),
        (
            lambda state: state.update(pos_embed=torch.zeros(1, 9, 64)),
            r"model\.safetensors: position embedding: got shape \[9, 64\], expected .* one class token",
        ),
    ],
)
def test_foreign_and_spoilt_weights_say_how(dino, state, tmp_path, change, message):
    change(state)
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match=message) as caught:
        backbones.load("tiny_dino", weights=str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


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


def test_the_digest_is_of_values_not_of_layout():
    tensor = torch.arange(6.0).reshape(2, 3)
    digests = {
        weights.Weights({"a": t}, "x").digest for t in (tensor, tensor.T.contiguous().T, tensor.clone())
    }
    assert len(digests) == 1
    assert weights.Weights({"a": tensor + 1}, "x").digest not in digests
    assert weights.Weights({"b": tensor}, "x").digest not in digests


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html>\n<html><head><title>Sign in</title>", r"is a web page .*download the file itself"),
        (b"\xef\xbb\xbf\r\n  <HTML>\n", r"is a web page"),
        (
            b"<?xml version='1.0'?><Error><Code>PublicAccessNotPermitted</Code>",
            r"is a web page \(HTML or XML\)",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 346342912\n",
            r"is a git-LFS pointer, .*git lfs pull",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx"])
def test_what_stands_in_a_checkpoints_place_is_named(dino, tmp_path, content, message, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        backbones.load("tiny_dino", weights=str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_the_system_does_not_give_is_not_called_damaged(dino, state, tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    torch.save(state, path)

    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WeightsError, match=r"model\.pth: cannot be read \(Permission denied\)"):
        backbones.load("tiny_dino", weights=str(path))


@pytest.mark.parametrize("given", ["ViT-L-14", "ViT-L-14-336"])
def test_a_checkpoint_of_another_pretraining_grid_is_refused(given, tmp_path):
    """The two differ in nothing but the grid of their position embedding: 16 x 16 and 24 x 24."""
    other = {"ViT-L-14": "ViT-L-14-336", "ViT-L-14-336": "ViT-L-14"}[given]
    shapes = shapes_of(backbones.spec(other), backbones.spec(other).default_size)
    path = tmp_path / "clip.pt"
    torch.save({f"visual.{name}": tensor for name, tensor in shared_state(shapes).items()}, path)
    sides = {"ViT-L-14": "16 x 16", "ViT-L-14-336": "24 x 24"}
    with pytest.raises(WeightsError) as caught:
        backbones.load(given, weights=str(path), activation="gelu", stages=[0], image_size=28)
    message = str(caught.value)
    assert message.startswith(f"{path}: pretrained on a grid of {sides[other]} patches")
    assert f"expected {given}'s {sides[given]}; set backbone.name to {other} (" in message
    assert "\n" not in message


def test_dino_may_be_trained_at_any_size(dino, tmp_path):
    files = []
    for grid in (2, 3):
        files.append(tmp_path / f"{grid}.pth")
        torch.save(backbone_states.timm_state(dino, grid=grid, hidden=192), files[-1])
    sizes = {backbones.load("tiny_dino", weights=str(file), image_size=64).n_patches for file in files}
    assert sizes == {16}
