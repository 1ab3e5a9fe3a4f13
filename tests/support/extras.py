"""Which of the project's extras are installed: tests of what is missing are skipped, and say so."""

from functools import cache
from importlib import import_module

_MODULES = {
    "mqtt": ("aiomqtt", "paho.mqtt"),
    "webhook": ("httpx", "standardwebhooks"),
    "opcua": ("asyncua", "cryptography"),
}


@cache
def missing_for(bridge: str) -> str:
    """Why a bridge cannot be tried here, by its name; "" where it can."""
    for name in _MODULES.get(bridge, ()):
        try:
            import_module(name)
        except ModuleNotFoundError:
            return f"{name} is not installed: pip install -e '.[{bridge}]'"
    return ""


def bridge_of(words: str) -> str:
    """The bridge that a path or a page is about, if its extra is one of these; else ""."""
    return next((name for name in _MODULES if name in words), "")
