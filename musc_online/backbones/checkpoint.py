"""Tensors of a checkpoint file, whatever its publisher's format; nothing in it is ever run."""

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from musc_online.backbones import torchscript, wheel
from musc_online.errors import WeightsError

_NESTED = ("state_dict", "model_state_dict", "model", "teacher")


def read(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors, `torch.save` or TorchScript file, or of the wheel's ONNX file.

    The format is told by the content, not by the suffix.

    Raises:
        WeightsError: the file is missing, no checkpoint, damaged, or holds objects other than tensors.
    """
    if not path.is_file():
        kind = "is a directory, expected a checkpoint file" if path.is_dir() else "no such file"
        raise WeightsError(f"{path}: {kind}; give the path of a checkpoint as backbone.weights")
    try:
        _refuse_text(path)
        if _is_safetensors(path):
            return dict(load_file(path))
        if torchscript.is_archive(path):
            return torchscript.read(path)
        if path.suffix == ".onnx":
            return wheel.read(path)
        return _tensors(_load(path), path)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path}: holds pickled objects other than tensors, or is no checkpoint; refused, since loading "
            "it could run code: save its state dict alone, or as .safetensors"
        ) from None
    except OSError as error:
        reason = error.strerror or _first_sentence(error)
        raise WeightsError(f"{path}: cannot be read ({reason}); expected a checkpoint file") from None
    except (SafetensorError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: damaged checkpoint ({_first_sentence(error)})") from None


def _refuse_text(path: Path) -> None:
    """What stands in the place of a checkpoint when a download or a clone went wrong."""
    with path.open("rb") as file:
        start = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path}: is a git-LFS pointer, not the checkpoint it stands for; fetch it with git lfs pull"
        )
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        raise WeightsError(
            f"{path}: is a web page (HTML or XML) saved under a checkpoint's name; download the file itself, "
            "not the page that shows it"
        )


def _load(path: Path) -> Any:
    # The options of a training run lie in DINO's full checkpoints. A Namespace only holds names and values.
    torch.serialization.add_safe_globals([argparse.Namespace])
    with warnings.catch_warnings():
        # Of foreign files torch warns that it may not understand them; what it then raises says enough.
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    # Eight bytes of length, then a JSON object.
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _tensors(content: Any, path: Path) -> dict[str, torch.Tensor]:
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return _tensors(content[key], path)
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        if tensors:
            return tensors
    raise WeightsError(f"{path}: holds a {type(content).__name__} without tensors, expected a state dict")


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
