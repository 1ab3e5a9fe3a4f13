"""Every address of the page, when it is drawn, and a stream in which all of it has something to show."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from browser_support import Browser, every, until
from page_support import Line, Part, Plant
from streamer_support import PATIENCE_S

DRAWN = {
    "live": "#alarms li[data-key]",
    "gallery": ".card[data-key]",
    "part": "#words li",
    "threshold": "#threshold-slider",
    "events": "main [data-key]",
    "report": "main svg, main canvas, main table",
    "health": "main table tbody tr",
    "wall": "#verdict",
    "login": "form input",
}
"""By page, what is there once its data are."""


@dataclass(frozen=True)
class Told:
    """A stream of which every page has something to show.

    Attributes:
        stream: its name.
        parts: all its frames in order, the anomalous last.
        scratched: its scratched part.
    """

    stream: str
    parts: list[Part]
    scratched: Part


class Repeating(Line):
    """A line on which the same part comes again: a defect that repeats."""

    def repeat(self, part: Part, frame_id: Any, **meta: Any) -> None:
        """Send a part once more, as another frame with noise of its own; do not wait."""
        number = self._count("sent")
        noise = np.random.default_rng(number).normal(0, 1.5, part.frame.shape)
        frame = (part.frame + noise).clip(0, 255).astype(np.uint8)
        self._publisher.send(frame, frame_id, {"part_id": f"P{number}", **meta}, timeout_s=PATIENCE_S)


def tell(plant: Plant, stream: str, *, words: str = "anna", prefix: str = "", **meta: Any) -> Told:
    """Show a detector good parts, a scratch, and three times the same stain, and say things of them.

    Args:
        plant: detector and page.
        stream: a name no other test has.
        words: what an operator is called, calls a defect, and writes.
        prefix: of every frame's id.
        meta: of every frame.
    """
    with Repeating(plant.server, stream) as line:
        parts = [line.show(frame_id=f"{prefix}{number}", **meta) for number in range(12)]
        scratched = line.show("scratch", f"{prefix}scratch", **meta)
        stained = line.show("stain", f"{prefix}stain-0", **meta)
        for number in (1, 2):
            line.repeat(stained, f"{prefix}stain-{number}", **meta)
        event = line.heard("event")
        assert event["event"] == "repeat"
        plant.ask("reject", stream=stream, group=event["group"], name=words, who=words)
        plant.ask(
            "confirm", stream=stream, frame_id=scratched.frame_id, verdict="defect", name=words, who=words
        )
        line.repeat(stained, f"{prefix}stain-3", **meta)
        line.heard("score")
    return Told(stream, [*parts, scratched, stained], scratched)


def addresses(told: Told) -> dict[str, str]:
    """Path and query of every page but the login; the part is the scratched one."""
    stream = {"stream": told.stream}
    paths = {
        **dict.fromkeys(("live", "gallery", "threshold", "events", "report", "wall"), stream),
        "part": stream | {"key": told.scratched.key},
        "health": {},
    }
    return {page: f"/{page}?{urlencode(query)}" for page, query in paths.items()}


def visit(browser: Browser, plant: Plant, page: str, path: str) -> None:
    """Open a page and wait until its data are drawn."""
    browser.get(plant.page.url + path)
    until(browser, lambda: every(browser, DRAWN[page]), f"{DRAWN[page]} of {path}")
