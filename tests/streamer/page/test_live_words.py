"""What an operator tells from the live page, with a real detector at the other end."""

import pytest
from browser_support import one, seen, text_of, until
from page_support import Line, log_in
from selenium.webdriver.common.keys import Keys

STREAM = "live-words"


@pytest.fixture(scope="module")
def line(plant):
    with Line(plant.server, STREAM) as line:
        line.learn()
        yield line


def watch(browser, plant, part):
    log_in(browser, plant.page, "operator", f"/live?stream={STREAM}")
    seen(browser, "body[data-socket=open][data-role=operator]")
    seen(browser, f"#heat[data-drawn='{part.key}']")
    until(browser, lambda: one(browser, "#act-p").is_enabled(), "what an operator may do")


def press(browser, key):
    one(browser, "body").send_keys(key)


def test_a_pin_can_be_taken_back(plant, line, browser):
    part = line.show()
    watch(browser, plant, part)
    press(browser, "p")
    told = line.heard("operator")
    assert (told["what"], told["frame_id"], told["after"]["pinned"]) == ("pin", part.frame_id, True)
    seen(browser, ".toast button").click()
    told = line.heard("operator")
    assert (told["what"], told["frame_id"], told["after"]["pinned"]) == ("unpin", part.frame_id, False)


def test_forget_is_asked_first_and_escape_tells_nothing(plant, line, browser):
    part = line.show()
    watch(browser, plant, part)
    press(browser, "x")
    seen(browser, "dialog[open]").send_keys(Keys.ESCAPE)
    until(browser, lambda: not browser.find_elements("css selector", "dialog"), "the question to go")
    press(browser, "x")
    seen(browser, "dialog[open] button.danger").click()
    # The first word that is heard is the one that was meant.
    told = line.heard("operator")
    assert (told["what"], told["frame_id"]) == ("forget", part.frame_id)


def test_a_defect_is_told_with_its_kind_and_letters_typed_there_are_no_keys(plant, line, browser):
    part = line.show()
    watch(browser, plant, part)
    press(browser, "d")
    field = seen(browser, "dialog[open] input[name=kind]")
    field.send_keys("pxf dent", Keys.ENTER)
    told = line.heard("operator")
    assert (told["what"], told["frame_id"], told["after"]["name"]) == ("confirm", part.frame_id, "pxf dent")
    assert told["after"]["truth"] == "defect"
    until(
        browser, lambda: "defect, says operator" in text_of(browser, ".tags"), "the review beside the verdict"
    )


def test_a_acknowledges_what_is_held_and_the_line_goes_on(plant, line, browser):
    watch(browser, plant, line.show())
    bad = line.show("scratch")
    seen(browser, f"#alarms li.open[data-key='{bad.key}']")
    seen(browser, f"#frame[data-key='{bad.key}']")
    later = line.show()
    seen(browser, f"#last20 li[data-key='{later.key}']")
    assert "✕" in browser.title
    press(browser, "a")
    acked = seen(browser, f"#alarms li.acked[data-key='{bad.key}']")
    assert "operator" in acked.text
    seen(browser, f"#frame[data-key='{later.key}']")


def test_single_letter_keys_can_be_switched_off(plant, line, browser):
    part = line.show()
    watch(browser, plant, part)
    press(browser, "?")
    seen(browser, "dialog[open] input[name=on]").click()
    seen(browser, "dialog[open] button.primary").click()
    until(browser, lambda: not browser.find_elements("css selector", "dialog"), "the list to go")
    press(browser, "x")
    press(browser, Keys.ARROW_LEFT)  # no letter: still there, and it comes after the x
    until(browser, lambda: one(browser, "#frame").get_attribute("data-key") != part.key, "the frame before")
    assert not browser.find_elements("css selector", "dialog")


def test_a_frame_chosen_in_the_strip_stays_while_others_come(plant, line, browser):
    first, second = line.show(), line.show()
    watch(browser, plant, second)
    one(browser, f"#last20 li[data-key='{first.key}'] button").click()
    seen(browser, f"#heat[data-drawn='{first.key}']")
    third = line.show()
    seen(browser, f"#last20 li[data-key='{third.key}']")
    assert one(browser, "#frame").get_attribute("data-key") == first.key
    one(browser, "#follow").click()
    seen(browser, f"#heat[data-drawn='{third.key}']")
