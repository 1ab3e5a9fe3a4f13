"""A picture of a page of ours, by whatever Chromium there is; for who has no browser open."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from streamer.commands import undisturbed
from streamer.errors import StreamerError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_START_S = 30.0
_PATIENCE_S = 30.0


def browser() -> str | None:
    """The program that draws pages here, None where there is none."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def take(program: str, url: str, path: Path, *, shown: str, size: tuple[int, int] = (1280, 900)) -> None:
    """Draw a page into a PNG file.

    Args:
        program: of `browser`.
        url: of the page; may log in by a token that it holds.
        path: of the file.
        shown: a CSS selector of what is there once the page is drawn.
        size: width and height of the picture, pixels.

    Raises:
        StreamerError: the browser does not start, or what is `shown` does not come.
    """
    with tempfile.TemporaryDirectory(prefix="musc-browser-", ignore_cleanup_errors=True) as profile:
        try:
            with _running(program, Path(profile)) as address:
                picture = _drawn(address, url, shown, size)
        except (OSError, ValueError, KeyError) as error:
            raise StreamerError(f"{program}: drew no page ({error})") from None
    path.write_bytes(picture)


@contextmanager
def _running(program: str, profile: Path) -> Iterator[str]:
    """A browser, and the address of its DevTools protocol."""
    # As root, e.g. in a container, Chromium has no sandbox; it shows nothing but our own page.
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    sandbox = ["--no-sandbox"] if as_root else []
    command = [program, *_FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
    process: subprocess.Popen[bytes] | None = None
    try:
        with undisturbed():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield _address(process, profile / "DevToolsActivePort")
    finally:
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], told: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        lines = told.read_text(encoding="utf-8").split() if told.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise StreamerError("the browser did not start; no picture of the page was taken")


def _drawn(address: str, url: str, shown: str, size: tuple[int, int]) -> bytes:
    """The page as PNG, once it shows what it has to."""
    from websockets.sync.client import connect  # noqa: PLC0415  (only where there is a page)

    with connect(address, max_size=2**26, proxy=None) as socket:
        numbers = count(1)

        def tell(method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
            number = next(numbers)
            asked = {"id": number, "method": method, "params": params}
            socket.send(json.dumps(asked if session is None else {**asked, "sessionId": session}))
            while (answer := json.loads(socket.recv(_PATIENCE_S))).get("id") != number:
                pass
            result: dict[str, Any] = answer["result"]
            return result

        page = tell("Target.getTargets")["targetInfos"][0]["targetId"]
        session = tell("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        pixels = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        tell("Emulation.setDeviceMetricsOverride", session, **pixels)
        tell("Page.navigate", session, url=url)
        looks = f"document.querySelector({json.dumps(shown)}) !== null"
        deadline = time.monotonic() + _PATIENCE_S
        while tell("Runtime.evaluate", session, expression=looks)["result"].get("value") is not True:
            if time.monotonic() > deadline:
                raise ValueError(f"{shown} did not come within {_PATIENCE_S:g} s")
            time.sleep(0.1)
        return base64.b64decode(tell("Page.captureScreenshot", session, format="png")["data"])
