"""Pictures of every page of a drawn line that has run for a while, as the documentation shows them."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from bench import demo_data
from bench.demo_data.defects import DEFECTS
from bench.page.browser import Chromium
from bench.page.line import STREAM, Line, running
from bench.page.measure import until
from bench.page.watch import Watch, key_of
from streamer.errors import StreamerError
from streamer.publish import Publisher

THEMES = ("light", "dark")
WIDTHS = {1280: 860, 390: 844}
"""A control desk's browser and a telephone: CSS pixels, width and height."""
_COLOURS = 192
_PARTS, _DEFECT_EVERY, _FIRST_DEFECT = 90, 9, 41
_AGAIN, _STAINED = 3, 36
"""So often the same part comes with the same stain, as if a lens were dirty: an event."""
_BETWEEN_S = 2.0
_UP_S = 120.0
_STILL_S, _MOST_S = 0.4, 8.0
"""The clock in the head moves once a second: no page is still for longer."""


def take(folder: Path) -> Iterator[Path]:
    """Draw a line, show it to a detector, and save each page in each theme and width.

    Yields:
        The path of each picture, `PAGE-THEME-WIDTH.png`, as it is written; 8-bit palette.

    Raises:
        DataError: no browser.
        StreamerError: detector or page do not work, or a page complains.
    """
    with ExitStack() as held:
        line = held.enter_context(running({}, cooldown_s=1.0))
        browser = held.enter_context(Chromium())
        watch = held.enter_context(Watch(line.endpoints["scores"], STREAM))
        watch.wait_up(_UP_S)
        parts = held.enter_context(_Parts(line))
        for number in range(_PARTS):
            bad = number >= _FIRST_DEFECT and number % _DEFECT_EVERY == 0
            parts.send(sorted(DEFECTS)[number // _DEFECT_EVERY % len(DEFECTS)] if bad else "good")
        for _ in range(_AGAIN):
            parts.send("stain", again=_STAINED)
        until(lambda: len(watch.heard.came) == _PARTS + _AGAIN, "not all parts are scored")
        anomalous = sorted(watch.heard.anomalous)
        browser.driver.get(f"{line.page.url}/login")
        yield from _shots(browser, folder, "login")
        browser.driver.get(line.page.logins["admin"])
        _speak(browser, line, anomalous)
        for name, path in _pages(anomalous).items():
            browser.driver.get(line.page.url + path)
            _prepare(browser, parts, name)
            yield from _shots(browser, folder, name)
            complaints = browser.complaints()
            if complaints:
                raise StreamerError(f"{path}: {complaints[0]}")


class _Parts(threading.Thread):
    """Sends drawn parts: on request, and once `start`ed a good one every few seconds; a context manager."""

    def __init__(self, line: Line) -> None:
        super().__init__(name="parts", daemon=True)
        self._publisher = Publisher(line.endpoints["frames"], STREAM, wait_s=_UP_S)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._number = 0

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        self._publisher.close()

    def send(self, defect: str = "good", again: int | None = None) -> None:
        """Draw and send the next part; `again`: drawn as that one was, with noise of its own."""
        with self._lock:
            number = self._number
            self._number += 1
            frame, _ = demo_data.draw(0, number if again is None else again, defect, size=320)
            if again is not None:
                noise = np.random.default_rng(number).normal(0, 1.5, frame.shape)
                frame = (frame + noise).clip(0, 255).astype(np.uint8)
            meta = {"part_id": str(8000 + number), "product_id": "flange 12"}
            self._publisher.send(frame, f"part-{8000 + number}", meta, timeout_s=_UP_S)

    def run(self) -> None:
        """Go on, so that the camera is not silent on the pictures."""
        while not self._stopping.wait(_BETWEEN_S):
            self.send()

    def rest(self) -> None:
        """Send no more by itself."""
        self._stopping.set()
        if self.is_alive():
            self.join()


def _prepare(browser: Chromium, parts: _Parts, name: str) -> None:
    """Bring a page to what is worth a picture."""
    until(lambda: browser.text("main") != "", f"{name} stays empty")
    if name == "live":
        parts.start()
    if name == "wall":
        parts.rest()  # else the next good part would take the place of the bad one
    if name in {"live", "wall"}:
        until(lambda: browser.text("#verdict") != "", "no verdict is shown")
        parts.send("stain")
        until(lambda: "NOT OK" in browser.text("#verdict"), "the stain is not shown")
    if name == "threshold":
        browser.press("#threshold-slider", "arrow_left", 40)


def _speak(browser: Chromium, line: Line, anomalous: list[str]) -> None:
    """What an operator says in a shift: so that the pages show it."""
    said: list[tuple[str, dict[str, Any]]] = []
    reviews = [("defect", "scratch", "deep"), ("defect", "stain", ""), ("good", None, "oil, wiped off")]
    for key, (decision, kind, note) in zip(anomalous, reviews, strict=False):
        review = {"stream": STREAM, "key": key, "decision": decision, "note": note}
        said.append(("/api/review", review | ({"kind": kind} if kind else {})))
    said += [
        ("/api/operate", {"stream": STREAM, "kind": "false_alarm", "key": key}) for key in anomalous[3:4]
    ]
    browser.driver.get(f"{line.page.url}/live?stream={quote(STREAM)}")
    for path, body in said:
        problem = browser.driver.execute_async_script(_POST, path, body)
        if problem:
            raise StreamerError(f"{path}: {problem}")


_POST = """
const [path, body, done] = arguments;
const spoken = import("/static/common.js").then(({ post }) => post(path, body));
spoken.then(() => done(null), (problem) => done(String(problem)));
"""


def _pages(anomalous: list[str]) -> dict[str, str]:
    stream = quote(STREAM)
    key = quote(anomalous[0] if anomalous else key_of(f"part-{8000 + _PARTS - 1}"))
    return {
        "live": f"/live?stream={stream}",
        "gallery": f"/gallery?stream={stream}",
        "part": f"/part?stream={stream}&key={key}",
        "threshold": f"/threshold?stream={stream}",
        "events": f"/events?stream={stream}",
        "report": f"/report?stream={stream}",
        "health": "/health",
        "wall": f"/wall?stream={stream}",
    }


def _shots(browser: Chromium, folder: Path, name: str) -> Iterator[Path]:
    for width, height in WIDTHS.items():
        browser.resize(width, height)
        for theme in THEMES:
            browser.theme(theme)
            _wait_still(browser)
            path = folder / f"{name}-{theme}-{width}.png"
            save(browser.picture(whole=width < 1000), path)
            yield path


def _wait_still(browser: Chromium) -> None:
    """Until the page has looked the same for a moment: pictures and fonts are there, canvases drawn."""
    end = time.monotonic() + _MOST_S
    last, since = b"", time.monotonic()
    while time.monotonic() - since < _STILL_S and time.monotonic() < end:
        now = browser.picture()
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.1)


def save(shot: bytes, path: Path) -> None:
    """Write a PNG of few colours: a third of the bytes, and nobody sees the difference."""
    with Image.open(io.BytesIO(shot)) as picture:
        small = picture.convert("RGB").quantize(_COLOURS, Image.Quantize.FASTOCTREE)
        small.save(path, optimize=True)
