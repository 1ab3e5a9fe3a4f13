"""A camera that is waited for or lost, in a real browser: told in words before a frame is missed."""

import pytest
from browser_support import seen, text_of, until
from page_support import Line, log_in
from streamer_support import PATIENCE_S
from streamer_support import until as wait_until

from streamer.publish import Publisher

STREAM = "camera-words"


@pytest.fixture
def camera(plant):
    with Publisher(plant.server.endpoints["frames"], STREAM, wait_s=PATIENCE_S) as publisher:
        yield publisher
        wait_until(lambda: publisher.tell_source("ended"))


def tells(camera, state, **fields):
    wait_until(lambda: camera.tell_source(state, source="rtsp://cam-17/1", **fields))


def shown(browser, kind, *words):
    banner = f"[data-kind={kind}].shown"
    until(browser, lambda: all(word in text_of(browser, banner) for word in words), f"{kind}: {words}")


def test_a_camera_says_that_it_is_waited_for_and_lost_and_back(plant, camera, browser):
    log_in(browser, plant.page, "viewer", f"/live?stream={STREAM}")
    seen(browser, "body[data-socket=open]")
    tells(camera, "waiting", text="connection refused")
    shown(browser, "waiting", f"Waiting for the camera: {STREAM}", "connection refused")
    with Line(plant.server, STREAM) as line:
        line.show()
        tells(camera, "live")
        until(
            browser,
            lambda: not browser.find_elements("css selector", "[data-kind=waiting].shown"),
            "no banner",
        )
        tells(camera, "lost")
        shown(browser, "lost", f"Camera lost: {STREAM}", "rtsp://cam-17/1")
        browser.get(f"{plant.page.url}/health")
        row = f"tr[data-stream={STREAM}]"
        until(browser, lambda: "camera lost" in text_of(browser, row), "the health page to say so")
        tells(camera, "live")
        until(browser, lambda: "camera" not in text_of(browser, f"{row} .badge"), "the camera to be back")
