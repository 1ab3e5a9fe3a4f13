"""A headless Chromium as a plant's screen has one: started, measured from inside, ended with all it wrote."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from musc_online.errors import DataError
from streamer.commands import undisturbed
from streamer.errors import StreamerError
from streamer.extras import not_installed

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # as root, in a container
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--js-flags=--expose-gc",
    "--enable-precise-memory-info",
    # A page nobody looks at is slowed down by a browser; the screen on a wall is always looked at.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PAGE_S = 60
_MIB = 2**20


def find() -> tuple[Path, Path]:
    """Paths of browser and driver.

    Raises:
        DataError: one of them, or selenium, is not there; the line says what to install.
    """
    try:
        import selenium  # noqa: F401, PLC0415  (a developer's extra)
    except ImportError:
        raise DataError(not_installed("selenium")) from None
    browser = next((path for name in _NAMES if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    for what, path in (("chromium", browser), ("chromedriver", driver)):
        if path is None:
            raise DataError(f"{what}: not found on PATH; apt-get install chromium chromium-driver")
    return Path(str(browser)), Path(str(driver))


class Chromium:
    """A browser with a profile of its own; a context manager.

    Attributes:
        driver: selenium's.
    """

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self._size = (width, height)
        self.driver: Any = None
        self._profile = ""

    def __enter__(self) -> "Chromium":
        from selenium import webdriver  # noqa: PLC0415
        from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

        browser, driver = find()
        # selenium would look for a driver of its own on the network.
        os.environ.setdefault("SE_OFFLINE", "true")
        options = webdriver.ChromeOptions()
        options.binary_location = str(browser)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self._profile = tempfile.mkdtemp(prefix="musc-page-browser-")
        for switch in (*_SWITCHES, f"--user-data-dir={self._profile}",
                       f"--window-size={self._size[0]},{self._size[1]}"):  # fmt: skip
            options.add_argument(switch)
        try:
            with undisturbed():
                self.driver = webdriver.Chrome(options=options, service=Service(str(driver)))
        except BaseException:
            self.__exit__()
            raise
        self.driver.set_page_load_timeout(_PAGE_S)
        self.driver.set_script_timeout(_PAGE_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self.driver is not None:
            self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    def before_each_page(self, script: str) -> str:
        """Run a script in every page before its own; the id that `forget_script` takes."""
        said = self._cdp("Page.addScriptToEvaluateOnNewDocument", source=script)
        return str(said["identifier"])

    def forget_script(self, identifier: str) -> None:
        """Undo `before_each_page`."""
        self._cdp("Page.removeScriptToEvaluateOnNewDocument", identifier=identifier)

    def resize(self, width: int, height: int) -> None:
        """Set the viewport in CSS pixels, exactly: a window cannot be narrower than 500."""
        self._cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=False)  # fmt: skip

    def theme(self, name: str) -> None:
        """`light` or `dark`, as the system under a browser says it."""
        self._cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def evaluate(self, expression: str) -> Any:
        """What an expression of JavaScript comes to, as JSON has it; a promise is waited for.

        By the protocol and not by selenium's scripts: the tab keeps the answer of each of those in its heap.

        Raises:
            StreamerError: it throws.
        """
        said = self._cdp("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise StreamerError(f"page: {expression[:80]}: {said['exceptionDetails']['text']}")
        return said["result"].get("value")

    def text(self, selector: str) -> str:
        """Of the first element that fits, "" where there is none."""
        said: str = self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent.trim() ?? ''")
        return said

    def press(self, selector: str, key: str, times: int) -> None:
        """Press a key so often in the first element that fits; `key` as selenium's `Keys` names it."""
        from selenium.webdriver.common.keys import Keys  # noqa: PLC0415

        self.driver.find_element("css selector", selector).send_keys(getattr(Keys, key.upper()) * times)

    def forget_cache(self) -> None:
        """The next page is loaded as if for the first time."""
        self._cdp("Network.clearBrowserCache")

    def heap(self) -> dict[str, float]:
        """After a collection of garbage: `heap_mib` of JavaScript, and the tab's `nodes` and `listeners`."""
        self._cdp("HeapProfiler.collectGarbage")
        self._cdp("Performance.enable")
        said = {one["name"]: one["value"] for one in self._cdp("Performance.getMetrics")["metrics"]}
        return {
            "heap_mib": said["JSHeapUsedSize"] / _MIB,
            "nodes": said["Nodes"],
            "listeners": said["JSEventListeners"],
        }

    def first_load(self) -> dict[str, float]:
        """Of the page that is open: milliseconds to its first paint, and bytes over the network for it."""
        said: dict[str, float] = self.evaluate(_LOAD)
        return said

    def picture(self, *, whole: bool = False) -> bytes:
        """A screenshot, PNG; `whole`: the page to its end and not only what fits the screen."""
        if whole:
            import base64  # noqa: PLC0415

            shot = self._cdp("Page.captureScreenshot", captureBeyondViewport=True, format="png")
            return base64.b64decode(shot["data"])
        return bytes(self.driver.get_screenshot_as_png())

    def complaints(self) -> list[str]:
        """What the console holds since last asked: script errors, failed loads, refusals of the policy."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def _cdp(self, command: str, **values: Any) -> dict[str, Any]:
        said: dict[str, Any] = self.driver.execute_cdp_cmd(command, values)
        return said


_LOAD = """(() => {
const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
const own = all.filter((entry) => !/[/]api[/]/.test(entry.name));
const paint = performance.getEntriesByName("first-contentful-paint")[0];
const bytes = (entries) => entries.reduce((sum, entry) => sum + entry.transferSize, 0);
return {
  first_paint_ms: paint ? paint.startTime : null, files: own.length, bytes: bytes(own),
  with_data_bytes: bytes(all),
};
})()"""
