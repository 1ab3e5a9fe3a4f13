"""Where a backbone's weights come from.

What `backbone.weights` may say:

- `auto`: the name's first tag in the libraries' caches, then (dinov2_vits14) the wheel, then a download;
- a tag (`openai`, `laion400m_e31`, `laion400m_e32`; `dino`; `lvd142m`): the caches, then a download;
- `offline`: the wheel only (dinov2_vits14);
- a path: a checkpoint as OpenAI, open_clip, timm, DINO's or DINOv2's authors or transformers publish it;
- `TAG:PATH`: a path, and which tag's activation its CLIP weights were trained with.

`openai-gelu` is OpenAI's weights run with plain GELU: not how they were trained, but what the authors' code
does whenever the image size is not the pretrained one, and so what their CLIP figures at 518 were made with.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from musc_online.backbones import checkpoint, keys, library_cache, wheel
from musc_online.backbones.registry import BackboneSpec
from musc_online.errors import WeightsError

WHEEL_BACKBONE = "dinov2_vits14"
_PLAIN_GELU = "openai-gelu"
# Only OpenAI's state dicts carry these beside the towers.
_OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")


@dataclass(frozen=True)
class Weights:
    """A backbone's tensors, float32, under the network's own names, and where they came from.

    `quick_gelu`: CLIP only, the activation is x * sigmoid(1.702 x) rather than GELU.
    """

    state: dict[str, torch.Tensor]
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


def resolve(spec: BackboneSpec, weights: str) -> Weights:
    """Find and read the weights that `backbone.weights` asks for; see the module's text.

    Raises:
        WeightsError: missing (says which file, where it was looked for, what to do), damaged or foreign.
    """
    tag, _, rest = weights.partition(":")
    if rest and tag in _tags(spec):
        return _from_file(spec, Path(rest).expanduser(), tag)
    if weights in ("auto", "offline") or weights in _tags(spec):
        return _from_library(spec, weights)
    path = Path(weights).expanduser()
    if not path.exists() and len(path.parts) == 1 and not path.suffix:
        wheel_word = ("offline",) if spec.name == WHEEL_BACKBONE else ()
        allowed = ", ".join(("auto", *_tags(spec), *wheel_word))
        raise WeightsError(
            f"backbone.weights: got {weights!r}, expected {allowed} or the path of a checkpoint "
            f"of {spec.name}"
        )
    return _from_file(spec, path, None)


def _tags(spec: BackboneSpec) -> tuple[str, ...]:
    return (*spec.tags, _PLAIN_GELU) if "openai" in spec.tags else spec.tags


def _from_library(spec: BackboneSpec, weights: str) -> Weights:
    if weights == "offline":
        return _from_wheel(spec)
    tag = spec.tags[0] if weights == "auto" else weights
    source = library_cache.published(spec, "openai" if tag == _PLAIN_GELU else tag)
    path = library_cache.cached(source)
    if path is not None:
        return _from_file(spec, path, tag)
    # Before a download, so that a machine without a network does not wait for one to fail.
    wheel_fits = weights == "auto" and spec.name == WHEEL_BACKBONE
    if wheel_fits and wheel.find():
        return _from_wheel(spec)
    try:
        path = library_cache.download(source)
    except WeightsError as error:
        looked = source.describe() + (f", the wheel {wheel.DISTRIBUTION}" if wheel_fits else "")
        remedy = f", or {wheel.REMEDY}" if wheel_fits else ""
        raise WeightsError(
            f"{spec.name}: weights {tag!r} not found: looked for {looked}; download failed ({error}); "
            f"set backbone.weights to the path of a checkpoint{remedy}"
        ) from None
    return _from_file(spec, path, tag)


def _from_wheel(spec: BackboneSpec) -> Weights:
    if spec.name != WHEEL_BACKBONE:
        raise WeightsError(
            f"backbone.weights: got 'offline', but the wheel {wheel.DISTRIBUTION} holds {WHEEL_BACKBONE} "
            f"only, not {spec.name}; expected {', '.join(('auto', *_tags(spec)))} or the path of a checkpoint"
        )
    path = wheel.find()
    if path is None:
        raise WeightsError(
            f"backbone.weights: 'offline' needs {wheel.MEMBER} of the wheel {wheel.DISTRIBUTION}, which is "
            f"not installed; {wheel.REMEDY}"
        )
    return _from_file(spec, path, "offline")


def _from_file(spec: BackboneSpec, path: Path, tag: str | None) -> Weights:
    raw = checkpoint.read(path)
    quick_gelu = spec.family == "clip" and _quick_gelu(spec, path, tag, raw)
    rename = keys.to_open_clip if spec.family == "clip" else keys.to_timm
    state = {
        name: tensor.to(torch.float32).contiguous() for name, tensor in rename(keys.unwrapped(raw)).items()
    }
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {name} holds values that are not finite; fetch the file again")
    return Weights(state, f"{tag}:{path}" if tag else str(path), quick_gelu)


def _quick_gelu(spec: BackboneSpec, path: Path, tag: str | None, raw: keys.State) -> bool:
    """The activation a CLIP checkpoint was trained with; the weights themselves do not say."""
    if tag is None:
        tag = next((known for known in reversed(_tags(spec)) if _named_after(path, known)), None)
    if tag is not None:
        return tag != _PLAIN_GELU and library_cache.published(spec, tag).quick_gelu
    if "quickgelu" in path.name or any(mark in raw for mark in _OPENAI_MARKS):
        return True
    # OpenAI's were published in half precision, LAION's were not; what was half stays exact when widened.
    kernels = [tensor for tensor in raw.values() if tensor.ndim >= 2]
    return bool(kernels) and all(torch.equal(tensor, tensor.half().to(tensor.dtype)) for tensor in kernels)


def _named_after(path: Path, tag: str) -> bool:
    """Whether the file's name holds the tag, or a folder is a hub's copy of the tag's repository."""
    return tag in path.name or any(part.endswith(f".{tag}") for part in path.parts)
