"""What a machine is and has, in the words of reports and measurements."""

import os
import platform
from importlib import metadata
from pathlib import Path


def processor() -> tuple[str, set[str]]:
    """The processor's name, and the names of its instruction sets where the system says them."""
    model, flags = platform.processor(), set[str]()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
        named = {key.strip(): value.strip() for key, _, value in reversed(fields)}
        model, flags = named.get("model name", model), set(named.get("flags", "").split())
    return model, flags


def cores() -> int:
    """How many of its cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed(name: str) -> str | None:
    """The version of a distribution, without importing it; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
