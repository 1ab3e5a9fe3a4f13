"""Which extra brings a module that is not there, and the line that says so."""

from collections.abc import Mapping

BROUGHT: Mapping[str, tuple[str, ...]] = {
    "detector": (
        "faiss", "huggingface_hub", "llvmlite", "numba", "open_clip", "PIL", "prometheus_client", "pydantic",
        "pydantic_core", "safetensors", "simplejpeg", "structlog", "timm", "torch", "torchvision", "yaml",
    ),
    "replay": ("jinja2", "matplotlib", "openpyxl", "sklearn"),
    "offline": ("onnx",),
    "openvino": ("openvino",),
    "page": ("fastapi", "itsdangerous", "starlette", "uvicorn", "websockets"),
    "camera": ("av",),
    "genicam": ("cffi",),
    "mqtt": ("aiomqtt", "paho"),
    "webhook": ("httpx", "standardwebhooks"),
    "opcua": ("asyncua", "cryptography"),
    "dev": ("imagezmq", "psutil", "selenium"),
}  # fmt: skip
"""Top-level modules by the extra that brings them. What several bring stands with the detector."""

_EXTRA = {module: extra for extra, modules in BROUGHT.items() for module in modules}


def extra_of(module: str) -> str | None:
    """The extra that brings a module, by its dotted or top-level name; None for one that no extra brings."""
    return _EXTRA.get(module.partition(".")[0])


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
