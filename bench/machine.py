"""What a machine is and has, in the words of reports and measurements."""

import os
import platform
from contextlib import suppress
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


def below(pid: int) -> list[int]:
    """Processes that a process started, and those that they did; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parent = int(_after_name(stat)[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, ahead = [], [pid]
    while ahead:
        started = children.get(ahead.pop(), [])
        found += started
        ahead += started
    return found


def processor_s(pid: int) -> float:
    """Processor time that a process has had, seconds; 0 for one that has ended."""
    try:
        fields = _after_name(Path(f"/proc/{pid}/stat"))
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _after_name(stat: Path) -> list[str]:
    """Fields from the state on: a name may hold anything."""
    return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
