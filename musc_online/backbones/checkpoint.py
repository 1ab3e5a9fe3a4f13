"""Tensors of a checkpoint, whatever its publisher's format and names; nothing in it is ever run."""

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from musc_online.backbones import torchscript, wheel
from musc_online.errors import WeightsError

State = dict[str, torch.Tensor]
"""Tensors by dotted name."""

_NESTED = ("state_dict", "model_state_dict", "model", "teacher")
# What a checkpoint calls the part that holds the network, beside heads, a student or a text tower.
_PARTS = ("module.", "_orig_mod.", "model.", "teacher.", "backbone.", "visual.", "vit.", "dinov2.")
# Whichever name it goes by, the class token is where the network is.
_CLASS_TOKENS = (
    "cls_token",
    "class_embedding",
    "embeddings.cls_token",
    "vision_model.embeddings.class_embedding",
)

# transformers' names of DINO (a ViT) and DINOv2 (also the offline wheel's) -> timm's.
_TRANSFORMERS_RULES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)

# timm's CLIP image tower -> open_clip's.
_CLIP_RULES = (
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^patch_embed\.proj\.", "conv1."),
    (r"^norm_pre\.", "ln_pre."),
    (r"^norm\.", "ln_post."),
    (r"^blocks\.", "transformer.resblocks."),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".attn.in_proj_"),
    (r"\.attn\.proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)

# transformers' CLIP image tower -> open_clip's; `pre_layrnorm` is how it is spelt there.
_TRANSFORMERS_CLIP_RULES = (
    (r"^vision_model\.", ""),
    (r"^embeddings\.class_embedding$", "class_embedding"),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^embeddings\.patch_embedding\.", "conv1."),
    (r"^pre_layrnorm\.", "ln_pre."),
    (r"^post_layernorm\.", "ln_post."),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm(\d)\.", r".ln_\1."),
    (r"\.self_attn\.qkv\.", ".attn.in_proj_"),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)


def read(path: Path) -> State:
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


def _tensors(content: Any, path: Path) -> State:
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


def unwrapped(state: State) -> State:
    """The part that holds the image network, without what lies beside it and without its prefixes."""
    while not any(name in state for name in _CLASS_TOKENS):
        part = next((part for part in _PARTS if any(name.startswith(part) for name in state)), None)
        if part is None:
            return state
        state = {name.removeprefix(part): tensor for name, tensor in state.items() if name.startswith(part)}
    return state


def to_timm(state: State) -> State:
    """DINO's, DINOv2's, timm's or transformers' names to timm's VisionTransformer."""
    if "embeddings.cls_token" in state:
        prefix = "attention.attention."
        state = _joined(state, (f"{prefix}query", f"{prefix}key", f"{prefix}value"), "attn.qkv")
        state = _renamed(state, _TRANSFORMERS_RULES)
    # DINOv2's chunked training checkpoints put blocks in groups: blocks.1.4.norm1 is block 4.
    state = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name): tensor for name, tensor in state.items()}
    unused = ("mask_token", "head.", "embeddings.mask_token", "pooler.", "classifier.")
    return {name: tensor for name, tensor in state.items() if not name.startswith(unused)}


def to_open_clip(state: State) -> State:
    """OpenAI's, open_clip's, timm's or transformers' names to open_clip's VisionTransformer."""
    if "vision_model.embeddings.class_embedding" in state:
        return _from_transformers_clip(state)
    if "patch_embed.proj.weight" not in state:
        return state
    state = dict(state)
    head = state.pop("head.weight", None)
    if head is not None:
        state["proj"] = head.T
    state = _renamed(state, _CLIP_RULES)
    for name in ("class_embedding", "positional_embedding"):
        if name in state:
            state[name] = state[name].squeeze(0)
    if "class_embedding" in state:
        state["class_embedding"] = state["class_embedding"].reshape(-1)
    return state


def _renamed(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    result = {}
    for name, tensor in state.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        result[new] = tensor
    return result


def _from_transformers_clip(state: State) -> State:
    tower = {name: tensor for name, tensor in state.items() if name.startswith("vision_model.")}
    # A buffer that older versions of transformers saved: 0, 1, 2, ...
    tower.pop("vision_model.embeddings.position_ids", None)
    prefix = "self_attn."
    tower = _joined(tower, (f"{prefix}q_proj", f"{prefix}k_proj", f"{prefix}v_proj"), "self_attn.qkv")
    renamed = _renamed(tower, _TRANSFORMERS_CLIP_RULES)
    projection = state.get("visual_projection.weight")
    return renamed if projection is None else renamed | {"proj": projection.T}


def _joined(state: State, parts: tuple[str, str, str], joined: str) -> State:
    """With query, key and value, which were stored apart, in one tensor; what lacks one of them is left."""
    result = dict(state)
    for name in state:
        if f".{parts[0]}." not in name:
            continue
        apart = [name.replace(f".{parts[0]}.", f".{part}.") for part in parts]
        if all(other in state for other in apart):
            whole = torch.cat([result.pop(other) for other in apart])
            result[name.replace(f".{parts[0]}.", f".{joined}.")] = whole
    return result
