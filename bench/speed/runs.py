"""Which services are measured: the published setting, and configs/line.yaml at 224 and 448 px."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from musc_online.errors import ConfigError

_LINE = Path(__file__).parents[2] / "configs" / "line.yaml"
_AS_MEASURED = ("backbone", "method", "tiles", "ring", "revise", "threshold", "warmup")
"""Sections of a line's configuration that decide what a frame costs; ports and paths are the run's own."""


@dataclass(frozen=True)
class Run:
    """A service with `settings` over the defaults, fed with frames of `image_size` pixels a side."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    image_size: int = 224
    precision: str = "float32"

    def configuration(self, ring: int) -> dict[str, Any]:
        """What the server is started with; its ring holds `ring` references."""
        any_port = "tcp://127.0.0.1:*"
        backbone = {"precision": self.precision, **self.settings.get("backbone", {})}
        return {
            **self.settings,
            "backbone": backbone,
            "ring": {**self.settings.get("ring", {}), "capacity": ring},
            "revise": {**self.settings.get("revise", {}), "window": ring},
            "metrics": {"endpoint": "127.0.0.1:0"},
            "transport": {
                "frames": any_port,
                "scores": any_port,
                "control": any_port,
                "when_full": "block",
                "queue": 8,
            },
        }


USUAL = (
    Run("full ring"),
    Run("4 subsets, 1 a frame", {"ring": {"subsets": 4, "score_against": 1}}),
)
"""The published setting: all references, and a quarter of them."""


def lines() -> tuple[Run, ...]:
    """All references and configs/line.yaml, as they are and with the fastest backbone; and at 448 px.

    Raises:
        ConfigError: configs/line.yaml is not beside the package.
    """
    fastest = "auto" if find_spec("openvino") is None else "int8"
    line = _line()
    # A frame of 448 px: as one input of that size, and as four of 224.
    large = {**line, "backbone": {**line["backbone"], "image_size": 448}}
    tiles = {**line, "tiles": {"rows": 2, "cols": 2}}
    return (
        Run("full ring, auto", precision="auto"),
        Run("line.yaml", line),
        Run("line.yaml, auto", line, precision="auto"),
        *([Run("line.yaml, int8", line, precision="int8")] if fastest == "int8" else []),
        Run(f"line.yaml, 448 px, {fastest}", large, 448, fastest),
        Run(f"line.yaml, 2 x 2 tiles, {fastest}", tiles, 448, fastest),
    )


def line() -> Run:
    """configs/line.yaml as it is.

    Raises:
        ConfigError: it is not beside the package.
    """
    return Run("line.yaml", _line())


def _line() -> dict[str, Any]:
    try:
        sections = yaml.safe_load(_LINE.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{_LINE}: cannot be read ({error.strerror}); expected the project's own") from None
    return {name: sections[name] for name in _AS_MEASURED if name in sections}
