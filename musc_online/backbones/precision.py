"""What `device: auto` and `precision: auto` become on this machine."""

import platform
from pathlib import Path

import torch

from musc_online.errors import ConfigError

PRECISIONS = ("float32", "bfloat16", "auto")


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
        ConfigError: not one of `float32`, `bfloat16`, `auto`.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"backbone.precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        return "bfloat16" if native_bfloat16(device) else "float32"
    return precision


def native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are done in hardware; emulated, they are slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpuinfo = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not cpuinfo.exists():
        return False
    for line in cpuinfo.read_text(encoding="ascii", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(value.split())
    return False
