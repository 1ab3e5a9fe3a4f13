"""Pictures of every page of a drawn line that has run for a while, as the documentation shows them."""

import io
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from bench import demo_data
from bench.demo_data.defects import DEFECTS
from bench.page.browser import Chromium
from bench.page.line import STREAM, Line, running
from bench.page.measure import until
from bench.page.watch import Watch, key_of
from streamer.publish import Publisher

THEMES = ("light", "dark")
WIDTHS = {1280: 860, 390: 844}
"""A control desk's browser and a telephone: CSS pixels, width and height."""
_COLOURS = 192
_GOOD, _DEFECT_EVERY = 90, 9
_UP_S = 120.0
_STILL_S = 0.7


def take(folder: Path) -> Iterator[Path]:
    """Draw a line, show it to a detector, and save each page in each theme and width.

    Yields:
        The path of each picture, `PAGE-THEME-WIDTH.png`, as it is written; 8-bit palette.

    Raises:
        DataError: no browser.
        StreamerError: detector or page do not work.
    """
    with ExitStack() as held:
        line = held.enter_context(running({}, cooldown_s=1.0))
        browser = held.enter_context(Chromium())
        watch = held.enter_context(Watch(line.endpoints["scores"], STREAM))
        watch.wait_up(_UP_S)
        anomalous = _show_parts(line, watch)
        yield from _login(browser, line, folder)
        browser.driver.get(line.page.logins["admin"])
        _speak(browser, line, anomalous)
        for name, path in _pages(anomalous).items():
            browser.driver.get(line.page.url + path)
            yield from _shots(browser, folder, name)


def _show_parts(line: Line, watch: Watch) -> list[str]:
    """Send the drawn parts; the keys of those that were told as anomalous, in order."""
    kinds = sorted(DEFECTS)
    with Publisher(line.endpoints["frames"], STREAM, wait_s=_UP_S) as publisher:
        for index in range(_GOOD):
            bad = index > 40 and index % _DEFECT_EVERY == 0
            defect = kinds[index // _DEFECT_EVERY % len(kinds)] if bad else "good"
            frame, _ = demo_data.draw(0, index, defect, size=320)
            meta = {"part_id": str(8000 + index), "product_id": "flange 12"}
            publisher.send(frame, f"part-{8000 + index}", meta, timeout_s=_UP_S)
    until(lambda: len(watch.heard.came) == _GOOD, "not all parts are scored")
    return sorted(watch.heard.anomalous)


def _login(browser: Chromium, line: Line, folder: Path) -> Iterator[Path]:
    browser.driver.get(f"{line.page.url}/login")
    yield from _shots(browser, folder, "login")


def _speak(browser: Chromium, line: Line, anomalous: list[str]) -> None:
    """What an operator says in a shift: so that the pages show it."""
    said: list[tuple[str, dict[str, Any]]] = []
    reviews = [("defect", "scratch", "deep"), ("defect", "stain", ""), ("good", None, "oil, wiped off")]
    for key, (decision, kind, note) in zip(anomalous, reviews, strict=False):
        review = {"stream": STREAM, "key": key, "decision": decision, "note": note}
        said.append(("/api/review", review | ({"kind": kind} if kind else {})))
    if len(anomalous) > 3:
        said.append(("/api/operate", {"stream": STREAM, "kind": "false_alarm", "key": anomalous[3]}))
    browser.driver.get(f"{line.page.url}/live?stream={quote(STREAM)}")
    for path, body in said:
        problem = browser.driver.execute_async_script(_POST, path, body)
        if problem:
            raise RuntimeError(f"{path}: {problem}")  # the bench's own fault


_POST = """
const [path, body, done] = arguments;
const spoken = import("/static/common.js").then(({ post }) => post(path, body));
spoken.then(() => done(null), (problem) => done(String(problem)));
"""


def _pages(anomalous: list[str]) -> dict[str, str]:
    stream = quote(STREAM)
    key = quote(anomalous[-1] if anomalous else key_of(f"part-{8000 + _GOOD - 1}"))
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
    end = time.monotonic() + _UP_S
    last, since = b"", time.monotonic()
    while time.monotonic() - since < _STILL_S and time.monotonic() < end:
        now = browser.picture()
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.1)


def save(shot: bytes, path: Path) -> None:
    """Write a PNG of few colours: a third of the bytes, and nobody sees the difference."""
    with Image.open(io.BytesIO(shot)) as picture:
        small = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
