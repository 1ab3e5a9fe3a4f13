"""A detector and a page's process for the bench, on free ports, gone afterwards with all they wrote."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.process import ANY_PORT, PageProcess, ServerProcess

STREAM = "line-1"


@dataclass(frozen=True)
class Line:
    """What runs: the detector, and the page that shows it."""

    server: ServerProcess
    page: PageProcess

    @property
    def endpoints(self) -> dict[str, str]:
        """Of the detector."""
        return self.server.endpoints


@contextmanager
def running(sections: Mapping[str, Any], *, cooldown_s: float) -> Iterator[Line]:
    """A detector and its page.

    Args:
        sections: of the detector's configuration, over what both need.
        cooldown_s: so long after an alarm another one of a stream joins it.

    Raises:
        ServerError: one of them does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="musc-page-") as name:
        folder = Path(name)
        with ServerProcess(folder, _detector(folder, sections)) as server:
            settings = {
                "detector": {name: server.endpoints[name] for name in ("scores", "control")},
                "listen": {"address": "127.0.0.1:0"},
                "store": {"path": str(folder / "page")},
                "alarms": {"cooldown_s": cooldown_s},
            }
            with PageProcess(folder, settings) as page:
                yield Line(server, page)


def _detector(folder: Path, sections: Mapping[str, Any]) -> dict[str, Any]:
    """As `configs/line.yaml`, with what the page shows."""
    values: dict[str, Any] = {
        "backbone": {"stages": [5, 8], "precision": "auto"},
        "method": {"degrees": [1], "image_score": {"worst": 0.01}},
        "rscin": {"neighbour_counts": [1]},
        "ring": {"capacity": 200, "nearest": 28, "admit": "quarantine", "quarantine": 50},
        "revise": {"every": 20, "window": 200},
        "transport": {
            **dict.fromkeys(("frames", "scores", "control"), ANY_PORT),
            "map_encoding": "grid",
            "when_full": "block",
            "heartbeat_s": 1.0,
        },
        "output": {"picture": {"of": "all"}},
        "history": {"path": str(folder / "history.sqlite")},
        "snapshot": {"path": str(folder / "rings")},
        "log": {"level": "warning"},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return values
