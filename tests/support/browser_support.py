"""A real headless Chromium for the tests of the page, and waiting for what it shows."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    JavascriptException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
BROWSER_S = 60.0
"""Ends a test that would wait for ever; nothing is judged by how long it takes."""
WIDE, NARROW = (1280, 900), (390, 844)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
Browser = webdriver.Chrome


@contextmanager
def browsing(*flags: str) -> Iterator[Browser]:
    """A browser of its own, with a profile that is deleted afterwards."""
    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.skip(f"no {program}: `make browser` installs Debian's chromium and chromium-driver")
    os.environ["SE_OFFLINE"] = os.environ["SE_AVOID_STATS"] = "true"  # no look-up of drivers on the network
    with tempfile.TemporaryDirectory(prefix="musc-browser-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}", "--window-size={},{}".format(*WIDE)):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        try:
            driver.set_page_load_timeout(BROWSER_S)
            driver.set_script_timeout(BROWSER_S)
            yield driver
        finally:
            driver.quit()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests: starting it takes seconds."""
    with browsing() as driver:
        yield driver


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser as if it had just been installed: one empty tab, no cookie, nothing stored."""
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.execute_cdp_cmd("Network.clearBrowserCache", {})
    chromium.set_window_size(*WIDE)
    complaints(chromium)  # of others
    try:
        yield chromium
    finally:
        chromium.execute_cdp_cmd(
            "Storage.clearDataForOrigin", {"origin": origin(chromium), "storageTypes": "all"}
        )
        others = chromium.window_handles[1:]
        for handle in others:
            chromium.switch_to.window(handle)
            chromium.close()
        chromium.switch_to.window(chromium.window_handles[0])
        chromium.get("about:blank")  # closes its connections


def origin(browser: Browser) -> str:
    """Scheme, host and port of what is shown; `*` where it has none."""
    said = str(browser.execute_script("return location.origin"))
    return "*" if said == "null" else said


def complaints(browser: Browser) -> list[str]:
    """What the console holds since last asked: errors of scripts, failed loads, what the policy refused."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def until(browser: Browser, condition: Callable[[], Any], what: str) -> Any:
    """Wait for what the page will show, and return it.

    Args:
        browser: to say in the end what it shows instead.
        condition: what is true in the end; elements that are not there yet, or any more, are waited for.
        what: is waited for, in words.
    """
    end = time.monotonic() + BROWSER_S
    while True:
        try:
            found = condition()
        except (NoSuchElementException, StaleElementReferenceException, JavascriptException):
            found = None
        if found:
            return found
        if time.monotonic() > end:
            shown = browser.find_element(By.TAG_NAME, "body").text[:600]
            pytest.fail(
                f"waited in vain for {what}; {browser.current_url} shows:\n{shown}\n{complaints(browser)}"
            )
        time.sleep(0.05)


def one(browser: Browser, selector: str) -> WebElement:
    """The first element of a CSS selector.

    Raises:
        NoSuchElementException: none is there; `until` waits for it.
    """
    return browser.find_element(By.CSS_SELECTOR, selector)


def seen(browser: Browser, selector: str) -> WebElement:
    """The first element of a CSS selector, once there is one."""
    found: WebElement = until(browser, lambda: one(browser, selector), selector)
    return found


def every(browser: Browser, selector: str) -> list[WebElement]:
    """All elements of a CSS selector, in the order of the page."""
    return browser.find_elements(By.CSS_SELECTOR, selector)


def text_of(browser: Browser, selector: str) -> str:
    """What a person reads there, or would if the page were scrolled to it."""
    return str(browser.execute_script("return document.querySelector(arguments[0]).textContent", selector))


def pixels(browser: Browser, selector: str) -> tuple[int, int, list[int]]:
    """Width, height and the R, G, B, A bytes of a canvas, row by row."""
    script = """
        const canvas = document.querySelector(arguments[0]);
        const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.width, canvas.height, Array.from(image.data)];
    """
    width, height, values = browser.execute_script(script, selector)
    return width, height, values


def fetched(browser: Browser, path: str) -> Any:
    """What the page's server answers to the one who is logged in, as JSON."""
    script = "const done = arguments[1]; fetch(arguments[0]).then((answer) => answer.json()).then(done)"
    return browser.execute_async_script(script, path)
