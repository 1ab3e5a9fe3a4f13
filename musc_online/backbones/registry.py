"""The backbones' names and sizes, and what each of them does. Imports neither torch nor a model library."""

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from musc_online.errors import ConfigError

if TYPE_CHECKING:
    import torch

Family = Literal["clip", "dino", "dinov2", "timm"]
TIMM_PREFIX = "timm:"
"""Before a name of timm's own."""
ACTIVATIONS = ("auto", "quick_gelu", "gelu")
Tokens = TypeVar("Tokens", "torch.Tensor", npt.NDArray[Any])
"""A torch tensor or a NumPy array: what goes in comes out."""


@dataclass(frozen=True)
class BackboneSpec:
    """What is known of a backbone before anything is loaded.

    `patch_size` is in pixels, `n_channels` the width C of a patch token, `class_dim` the width D of the
    class token `extract` returns, `n_blocks` how many stages there are to choose from (0-based), `tags` the
    published sets of weights (the first one is what `auto` takes), `default_size` the side S in pixels
    used when none is given.
    """

    name: str
    family: Family
    architecture: str
    patch_size: int
    n_channels: int
    class_dim: int
    n_blocks: int
    default_size: int
    tags: tuple[str, ...]

    @property
    def default_stages(self) -> tuple[int, ...]:
        """The last block of each quarter of the network, as published: 2, 5, 8, 11 of 12."""
        quarter = max(self.n_blocks // 4, 1)
        return tuple(range(quarter - 1, self.n_blocks, quarter))

    @property
    def pretrained_grid(self) -> int | None:
        """Side of the patch grid that CLIP's weights of this name have; None for DINO's and DINOv2's.

        Two CLIP names may differ in nothing else. Whoever trains DINO or DINOv2 chooses a size freely, and
        the published code interpolates from any.
        """
        return self.default_size // self.patch_size if self.family == "clip" else None

    def check_activation(self, activation: str) -> str:
        """`activation` unchanged.

        Raises:
            ConfigError: not one of `auto`, `quick_gelu`, `gelu`; or QuickGELU for a network without it.
        """
        if activation not in ACTIVATIONS:
            raise ConfigError(
                f"backbone.activation: got {activation!r}, expected one of {', '.join(ACTIVATIONS)}"
            )
        if activation == "quick_gelu" and self.family != "clip":
            raise ConfigError(
                f"backbone.activation: got 'quick_gelu', but {self.name} has GELU; only CLIP's backbones "
                "take it: set auto or gelu"
            )
        return activation

    def check_size(self, image_size: int) -> int:
        """Side of the patch grid at `image_size` pixels.

        Raises:
            ConfigError: no positive whole multiple of `patch_size`; names the nearest sizes that are.
        """
        patch = self.patch_size
        if isinstance(image_size, Integral) and image_size >= patch and image_size % patch == 0:
            return image_size // patch
        below = max(int(image_size) // patch, 1) * patch
        near = f"{below}" if image_size < patch else f"{below} or {below + patch}"
        raise ConfigError(
            f"backbone.image_size: got {image_size}, expected a multiple of {self.name}'s patch size "
            f"{patch}, nearest: {near}"
        )

    def check_stages(self, stages: tuple[int, ...]) -> tuple[int, ...]:
        """`stages` unchanged.

        Raises:
            ConfigError: none given, one twice, or one that is not a 0-based block index of this network.
        """
        wrong = [stage for stage in stages if not 0 <= stage < self.n_blocks]
        if wrong or not stages or len(set(stages)) != len(stages):
            shown = wrong[0] if wrong else list(stages)
            raise ConfigError(
                f"backbone.stages: got {shown}, expected distinct 0-based block indices of {self.name}, "
                f"0 to {self.n_blocks - 1}, e.g. {list(self.default_stages)}"
            )
        return stages


class Backbone(Protocol):
    """A frozen image network that gives patch tokens of chosen blocks (paper section 3.1).

    Its methods may be called from any thread, and from several at once.
    """

    name: str
    weights: str
    """Where the weights came from, for a person to read."""
    image_size: int
    """Side S in pixels of what `extract` takes; a multiple of `patch_size`."""
    stages: tuple[int, ...]
    """0-based block indices, in the order in which `extract` returns them."""
    patch_size: int
    grid: int
    """Side of the patch grid; `n_patches` is its square."""
    n_patches: int
    n_channels: int
    class_dim: int
    device: "torch.device"
    precision: str
    """`float32`, `bfloat16` or `int8`: what `auto` became."""
    fingerprint: str
    """Short hex of name, weights, image size, stages and precision: those of equal
    fingerprints give comparable tokens."""

    @property
    def uses_torch_threads(self) -> bool:
        """Whether it computes with the calling thread, and with those that torch gives that one to help."""
        ...

    def prepare(self, frame: npt.NDArray[np.uint8] | Any) -> "torch.Tensor":
        """One `[H, W, 3]` uint8 BGR frame to the `[3, S, S]` float32 network input, on the CPU.

        Raises:
            FrameError: another type, dtype or shape, or an empty frame.
        """
        ...

    def resize(self, frame: npt.NDArray[np.uint8] | Any, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """A frame to another (height, width), as `prepare` resizes: tiles are cut from it.

        Raises:
            FrameError: another type, dtype or shape, or an empty frame.
        """
        ...

    def extract(self, inputs: Tokens) -> tuple[Tokens, Tokens]:
        """Prepared frames `[N, 3, S, S]` to patch tokens `[stages, N, P, C]` and class tokens `[N, D]`.

        Float32 whatever the precision; for tensors they are tensors on `device`, for arrays arrays.

        Raises:
            FrameError: inputs of another type or shape.
        """
        ...


_LAION = ("laion400m_e31", "laion400m_e32")
_CLIP = ("openai", *_LAION)
_DINO_V2 = ("lvd142m",)

_SPECS = (
    BackboneSpec("ViT-B-32", "clip", "ViT-B-32", 32, 768, 512, 12, 224, _CLIP),
    BackboneSpec("ViT-B-16", "clip", "ViT-B-16", 16, 768, 512, 12, 224, _CLIP),
    BackboneSpec("ViT-B-16-plus-240", "clip", "ViT-B-16-plus-240", 16, 896, 640, 12, 240, _LAION),
    BackboneSpec("ViT-L-14", "clip", "ViT-L-14", 14, 1024, 768, 24, 224, _CLIP),
    BackboneSpec("ViT-L-14-336", "clip", "ViT-L-14-336", 14, 1024, 768, 24, 336, ("openai",)),
    BackboneSpec("dino_vitbase8", "dino", "vit_base_patch8_224", 8, 768, 768, 12, 224, ("dino",)),
    BackboneSpec("dino_vitbase16", "dino", "vit_base_patch16_224", 16, 768, 768, 12, 224, ("dino",)),
    BackboneSpec("dinov2_vits14", "dinov2", "vit_small_patch14_dinov2", 14, 384, 384, 12, 224, _DINO_V2),
    BackboneSpec("dinov2_vitb14", "dinov2", "vit_base_patch14_dinov2", 14, 768, 768, 12, 224, _DINO_V2),
    BackboneSpec(
        "dinov2_vitl14", "dinov2", "vit_large_patch14_dinov2", 14, 1024, 1024, 24, 224, ("lvd142m",)
    ),
)
SPECS = {spec.name: spec for spec in _SPECS}


def names() -> tuple[str, ...]:
    """The names `load` knows."""
    return tuple(SPECS)


def published_spec(name: str) -> BackboneSpec:
    """What is known of one of the published backbones; `naming.spec` knows timm's, too.

    Raises:
        ConfigError: an unknown name; lists the known ones.
    """
    if name not in SPECS:
        raise ConfigError(
            f"backbone.name: got {name!r}, expected one of {', '.join(SPECS)}, or {TIMM_PREFIX}NAME"
        )
    return SPECS[name]
