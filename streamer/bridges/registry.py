"""Which bridges there are, and what each brings: its section of the configuration and its sink."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from streamer.bridges.common import Common, Section
from streamer.bridges.sink import Sink
from streamer.errors import StreamerError
from streamer.extras import extra_of_bridge, not_installed

Need = Literal["maps", "pictures"]

KNOWN: Mapping[str, str] = {
    "mqtt": "streamer.bridges.mqtt",
    "webhook": "streamer.bridges.webhook",
    "files": "streamer.bridges.files",
    "opcua": "streamer.bridges.opcua",
}
"""Modules by the name on the command line; each has a `BRIDGE`."""


def _nothing(_section: Any) -> frozenset[Need]:
    return frozenset()


@dataclass(frozen=True)
class Bridge:
    """What a module registers as `BRIDGE`.

    Attributes:
        section: its own keys, under the bridge's name in the configuration.
        make: the sink, from that section and what all bridges have in common. Raises StreamerError where the
            user can mend it; nothing is connected yet.
        needs: of a section whether items must have `maps` or `pictures`, beside what `tell` says.
    """

    section: type[Section]
    make: Callable[[Any, Common], Sink]
    needs: Callable[[Any], frozenset[Need]] = _nothing


def section_name(name: str) -> str:
    """The key of a bridge's section: of a module of one's own, its last name."""
    return name if name in KNOWN else name.rpartition(".")[2]


def load(name: str) -> Bridge:
    """A bridge by its name, or by that of an importable module with a `BRIDGE`.

    Raises:
        StreamerError: there is none, or what it needs is not installed.
    """
    module = KNOWN.get(name, name)
    names = ", ".join(KNOWN)
    try:
        found = getattr(importlib.import_module(module), "BRIDGE", None)
    except ModuleNotFoundError as error:
        if name not in KNOWN and error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise StreamerError(
                f"NAME: got '{name}', expected one of {names}, or a Python module with a BRIDGE"
            ) from None
        # A module of one's own may need what no extra of ours brings.
        line = not_installed(str(error.name), extra_of_bridge(name) if name in KNOWN else None)
        raise StreamerError(f"{name}: {line}") from None
    except (ValueError, TypeError):  # "", ".x"
        found = None
    if not isinstance(found, Bridge):
        raise StreamerError(
            f"NAME: got '{name}', expected one of {names}, or a Python module whose BRIDGE is a "
            "streamer.bridges.registry.Bridge"
        )
    return found
