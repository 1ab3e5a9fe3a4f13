"""The live page in a real browser, from the frame that is pushed to what a person sees and says."""

import cv2
import numpy as np
import pytest
from browser_support import complaints, fetched, one, pixels, seen, text_of, until
from page_support import EVERY, IMAGE_SIZE, Line, log_in
from selenium.webdriver.common.keys import Keys

STREAM = "live-browser"
PATCH = 14 * 256 // IMAGE_SIZE
"""Side of a patch of the backbone in pixels of a drawn frame."""


@pytest.fixture(scope="module")
def line(plant):
    with Line(plant.server, STREAM) as line:
        line.learn()
        yield line


def watch(browser, plant, role):
    log_in(browser, plant.page, role, f"/live?stream={STREAM}")
    seen(browser, "body[data-socket=open]")


def shows(browser, part):
    """Wait until picture and map of a part are drawn."""
    seen(browser, f"#frame[data-key='{part.key}']")
    seen(browser, f"#heat[data-drawn='{part.key}']")


def drawn(browser):
    """The canvas as `[H, W, 3]` BGR."""
    width, height, values = pixels(browser, "#heat")
    return np.array(values, np.uint8).reshape(height, width, 4)[..., 2::-1].astype(float)


def heat_only(browser):
    """How much the map changes each pixel of the picture, `[H, W]`, and the picture without it.

    What is hot covers the picture; what is normal hardly does.
    """
    browser.find_element("id", "contour").click()
    one(browser, "#opacity").send_keys(Keys.END)
    until(browser, lambda: "100" in text_of(browser, "output[for=opacity]"), "the map at full strength")
    hot = drawn(browser)
    browser.find_element("id", "heat-on").click()
    until(browser, lambda: np.abs(drawn(browser) - hot).max() > 0, "the picture without its map")
    bare = drawn(browser)
    return np.abs(hot - bare).mean(axis=2), bare


def test_a_verdict_its_picture_and_its_map_are_shown_and_the_defect_is_where_it_is_hot(plant, line, browser):
    watch(browser, plant, "viewer")
    part = line.show("stain")
    assert part.score["pred_label"] is True
    shows(browser, part)
    assert "NOT OK" in text_of(browser, "#verdict")
    seen(browser, f"#last20 li.bad[data-key='{part.key}']")
    seen(browser, f"#alarms li[data-key='{part.key}']")

    # The picture comes after its score: it is there once what is drawn without the map is the frame.
    size = drawn(browser).shape[1::-1]
    frame = cv2.resize(part.frame, size, interpolation=cv2.INTER_AREA).astype(float)
    heat, _ = until(
        browser,
        lambda: seen if np.abs((seen := heat_only(browser))[1] - frame).mean() < 6 else again(browser),
        "the picture of the frame",
    )
    mask = cv2.resize(part.mask, size, interpolation=cv2.INTER_NEAREST).astype(bool)
    around = round(PATCH * size[0] / 256)
    near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * around + 1, 2 * around + 1))).astype(bool)
    assert heat[mask].mean() > 2 * heat[~near].mean()
    row, column = np.unravel_index(cv2.blur(heat, (9, 9)).argmax(), heat.shape)
    assert near[row, column], "the hottest pixel is not at the defect"
    assert complaints(browser) == []


ASKED_FOR = """
    const key = encodeURIComponent(arguments[0]);
    return performance.getEntriesByType("resource").map((one) => one.name)
        .filter((name) => name.includes("/api/picture") && name.includes(key));
"""


def test_pictures_come_with_their_messages_and_are_asked_for_where_they_did_not(plant, line, browser):
    watch(browser, plant, "viewer")
    asked = []
    for _ in range(4):
        part = line.show()
        whole = f"#heat[data-drawn='{part.key}'][data-layers='picture map']"
        seen(browser, whole)
        asked += browser.execute_script(ASKED_FOR, part.key)
    assert len(asked) < 4  # one that the page has just read of, before its message, may be asked for
    browser.refresh()
    seen(browser, whole)
    assert len(browser.execute_script(ASKED_FOR, part.key)) == 1
    assert complaints(browser) == []


def again(browser):
    """Back to the map over the picture, as it was before `heat_only`."""
    browser.find_element("id", "heat-on").click()
    browser.find_element("id", "contour").click()


def test_an_alarm_is_held_until_one_follows_the_line_again(plant, line, browser):
    watch(browser, plant, "viewer")
    part = line.show("scratch")
    shows(browser, part)
    later = line.show()
    seen(browser, f"#last20 li[data-key='{later.key}']")
    assert one(browser, "#frame").get_attribute("data-key") == part.key
    one(browser, "body").send_keys("l")
    shows(browser, later)
    assert text_of(browser, "#verdict").strip().removeprefix("✓").strip() == "OK"


def test_f_makes_a_false_alarm_known_good_and_its_alarm_is_struck_through(plant, line, browser):
    watch(browser, plant, "operator")
    part = line.show("stain")
    shows(browser, part)
    one(browser, "body").send_keys("f")
    word = line.heard("operator")
    assert (word["what"], word["frame_id"], word["who"]) == ("false_alarm", part.frame_id, "operator")
    assert (word["after"]["truth"], word["after"]["label"]) == ("good", False)
    line.learn(EVERY)  # the revision that comes with one of them says so of the frame
    struck = seen(browser, f"#alarms li.revised[data-key='{part.key}']")
    assert (
        "NOT OK"
        in until(browser, lambda: struck.find_element("css selector", "del, s"), "the first verdict").text
    )
    audit = fetched(browser, f"/api/audit?stream={STREAM}&limit=50")["audit"]
    told = [line for line in audit if line["what"] == "false_alarm" and line["key"] == part.key]
    assert [line["who"] for line in told] == ["operator"]
    assert fetched(browser, f"/api/frame?stream={STREAM}&key={part.key}")["first"]["label"] is True
    browser.get(f"{plant.page.url}/part?stream={STREAM}&key={part.key}")
    until(browser, lambda: "false alarm" in text_of(browser, "#words").lower(), "the word on the part's page")
