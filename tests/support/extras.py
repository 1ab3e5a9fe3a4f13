"""Which of the project's extras are installed: tests of what is missing are skipped, and say so."""

from functools import cache
from importlib import import_module

from streamer.extras import BROUGHT, not_installed

_BRIDGES = ("mqtt", "webhook", "opcua")


@cache
def missing_for(bridge: str) -> str:
    """Why a bridge cannot be tried here, by its name; "" where it can."""
    for name in BROUGHT.get(bridge, ()):
        try:
            import_module(name)
        except ModuleNotFoundError:
            return not_installed(name, bridge)
    return ""


def bridge_of(words: str) -> str:
    """The bridge that a path or a page is about, if its extra is one of these; else ""."""
    return next((name for name in _BRIDGES if name in words), "")
