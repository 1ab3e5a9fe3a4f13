"""Which extra brings a module that is not there, and the line that says so."""

import traceback
from collections.abc import Mapping

BROUGHT: Mapping[str, tuple[str, ...]] = {
    "detector": (
        "faiss", "huggingface_hub", "llvmlite", "numba", "open_clip", "PIL", "prometheus_client", "pydantic",
        "pydantic_core", "safetensors", "simplejpeg", "structlog", "timm", "torch", "torchvision", "yaml",
    ),
    "replay": ("jinja2", "markupsafe", "matplotlib", "openpyxl", "simpy", "sklearn"),
    "offline": ("onnx",),
    "openvino": ("openvino",),
    "page": ("fastapi", "itsdangerous", "starlette", "uvicorn", "websockets"),
    "camera": ("av",),
    "genicam": ("cffi",),
    "mqtt": ("aiomqtt", "paho"),
    "webhook": ("httpx", "standardwebhooks"),
    "opcua": ("asyncua", "cryptography"),
    "ray": ("ray",),
    "dev": ("imagezmq", "psutil", "selenium"),
}  # fmt: skip
"""Top-level modules by the extra that brings them. What several bring stands with the detector."""

_EXTRA = {module: extra for extra, modules in BROUGHT.items() for module in modules}
_PARTS = {
    "streamer.bridges.mqtt": "mqtt",
    "streamer.bridges.webhook": "webhook",
    "streamer.bridges.opcua": "opcua",
    "streamer.bridges": "bridge",
    "streamer.page": "page",
    "bench.metrics": "detector,replay",
    "bench.options": "detector,replay",
    "bench.replay": "detector,replay",
    "bench.report": "detector,replay",
    "bench.scale": "detector,replay",
    "bench.verdict": "detector,replay",
}
"""Packages of ours that need more than the module which is missed first, or it from another extra; a package
stands before those that it lies in."""


def extra_of(module: str) -> str | None:
    """The extra that brings a module, by its dotted or top-level name; None for one that no extra brings."""
    return _EXTRA.get(module.partition(".")[0])


def extra_of_bridge(name: str) -> str:
    """The extra for a bridge, by its name on the command line: one's own and that to files need no more."""
    return name if f"streamer.bridges.{name}" in _PARTS else "bridge"


def not_installed(module: str, extra: str | None = None) -> str:
    """What to say of a module that is not there, in one line.

    Args:
        module: its dotted or top-level name.
        extra: of a part that knows which it needs, one or several: `page`, `detector,replay`. None for
            `extra_of(module)`.
    """
    line = f"{module} is not installed"
    brings = extra or extra_of(module)
    return line if brings is None else f"{line}; pip install 'musc-online[{brings}]' brings it"


def missed(error: ModuleNotFoundError) -> str | None:
    """What to say of an import that failed, as `not_installed`; None where no extra brings the module.

    The part of ours that began the import decides which extra is named.
    """
    if error.name is None or extra_of(error.name) is None:
        return None
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    parts = (extra for name in names for part, extra in _PARTS.items() if f"{name}.".startswith(f"{part}."))
    return not_installed(error.name.partition(".")[0], next(parts, None))
