"""From a name to a backbone that runs, here and as precisely as asked for.

Importing this imports torch; the model libraries come when needed.
"""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from musc_online.backbones import openvino, preprocess
from musc_online.backbones.naming import spec
from musc_online.backbones.registry import BackboneSpec
from musc_online.backbones.vit import Network, VitBackbone
from musc_online.backbones.weights import Weights, resolve
from musc_online.errors import ConfigError

PRECISIONS = ("float32", "bfloat16", "int8", "auto")
# Native products of bfloat16, and of 8-bit integers added in 32 bits: x86 and ARM.
_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
_EIGHT_BIT = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")


def load_backbone(
    name: str,
    *,
    weights: str,
    image_size: int | None,
    stages: tuple[int, ...] | None,
    device: str,
    precision: str,
    activation: str,
) -> VitBackbone:
    """See `musc_online.backbones.load`; everything that can be wrong is checked before weights are read."""
    known = spec(name)
    size = known.default_size if image_size is None else image_size
    known.check_size(size)
    known.check_activation(activation)
    taken = known.check_stages(known.default_stages if stages is None else stages)
    place = choose_device(device)
    chosen = choose_precision(precision, place)
    found = resolve(known, weights, activation)
    network, prepare = build(known, size, found)
    digest = found.digest
    if chosen == "int8":
        network = rounded = quantised(network, prepare, taken, known.name)
        digest += rounded.recipe
    return VitBackbone(
        known,
        network,
        prepare,
        image_size=size,
        stages=taken,
        device=place,
        precision=chosen,
        weights=found.source,
        weights_digest=digest,
    )


def build(known: BackboneSpec, size: int, weights: Weights) -> tuple[Network, preprocess.Preprocess]:
    """The family's network with these weights, and its preparation of frames.

    open_clip and timm take seconds to import, so each family imports only its own.
    """
    network: Network
    if known.family == "clip":
        from musc_online.backbones.clip import ClipNetwork  # noqa: PLC0415

        network = ClipNetwork(known, size, weights)
        return network, preprocess.clip(size)
    if known.family == "timm":
        from musc_online.backbones import timm_vit  # noqa: PLC0415

        return timm_vit.TimmNetwork(known, size, weights), timm_vit.prepare(known, size)
    from musc_online.backbones.dino import DinoNetwork  # noqa: PLC0415

    network = DinoNetwork(known, size, weights)
    return network, preprocess.imagenet(size)


def quantised(
    network: Network, prepare: Callable[[Any], torch.Tensor], stages: tuple[int, ...], name: str
) -> openvino.Int8Network:
    """The network in 8-bit integers; see `musc_online.backbones.openvino`.

    Raises:
        ConfigError: OpenVINO is not installed, or cannot translate this network.
    """
    frames = torch.stack([prepare(frame) for frame in openvino.calibration_frames()])
    flags = processor_flags()
    return openvino.Int8Network(
        network,
        frames,
        stages,
        name=name,
        bfloat16=native_bfloat16(torch.device("cpu")),
        vnni=not flags.isdisjoint(_EIGHT_BIT),
    )


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; anything else is a torch device name.

    Raises:
        ConfigError: no such device, or not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"backbone.device: got {device!r}, expected auto, cpu, cuda or cuda:0") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"backbone.device: got {device!r}, but {torch.cuda.device_count()} CUDA devices were found; "
            "use cpu or auto"
        )
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigError(f"backbone.device: got {device!r}, expected auto, cpu, cuda or cuda:0")
    return chosen


def choose_precision(precision: str, device: torch.device) -> str:
    """`auto` is bfloat16 where the processor multiplies it natively, else float32.

    Raises:
        ConfigError: not one of `float32`, `bfloat16`, `int8`, `auto`; or `int8` on an accelerator or without
            OpenVINO.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"backbone.precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "int8":
        if device.type != "cpu":
            raise ConfigError(
                f"backbone.precision: got 'int8', which runs on the CPU only, but backbone.device is "
                f"{device}; set backbone.device to cpu, or the precision to auto, bfloat16 or float32"
            )
        openvino.require()
    if precision == "auto":
        return "bfloat16" if native_bfloat16(device) else "float32"
    return precision


def native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are done in hardware; emulated, they are slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return not processor_flags().isdisjoint(_BFLOAT16)


def processor_flags() -> frozenset[str]:
    """What the processor says it can do, in Linux' words; empty on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not cpuinfo.exists():
        return frozenset()
    for line in cpuinfo.read_text(encoding="ascii", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
