"""From the live page to a review and a new threshold without a pointer, and always seeing where one is."""

from urllib.parse import parse_qs, urlsplit

import pytest
from browser_support import complaints, every, one, text_of, until
from page_support import log_in
from page_visits import tell
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

STREAM = "by-keys"
MOST_TABS = 80
FOCUS = """
const at = document.activeElement;
const style = getComputedStyle(at);
const box = at.getBoundingClientRect();
return {
  matches: at.matches(arguments[0]), body: at === document.body,
  what: at.outerHTML.slice(0, 120),
  seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== "none",
  size: box.width * box.height,
};
"""


@pytest.fixture(scope="module")
def told(plant):
    return tell(plant, STREAM)


def press(browser, *keys):
    ActionChains(browser).send_keys(*keys).perform()


def tab_to(browser, selector):
    """Press Tab until an element has the focus; every stop on the way must be seen."""
    stops = []
    for _ in range(MOST_TABS):
        press(browser, Keys.TAB)
        at = browser.execute_script(FOCUS, selector)
        if at["body"]:  # past the last: round again
            continue
        stops.append(at["what"])
        assert at["seen"], f"no outline around {at['what']}"
        assert at["size"] > 0, f"the focus is on nothing: {at['what']}"
        if at["matches"]:
            return
    pytest.fail(f"{selector} is not reached by Tab; {len(stops)} stops: {stops}")


def is_at(browser, path):
    return urlsplit(browser.current_url).path == path


def test_from_live_to_gallery_part_review_and_threshold(browser, plant, told):
    log_in(browser, plant.page, "admin", f"/live?stream={STREAM}")
    until(browser, lambda: "OK" in text_of(browser, "#verdict"), "a verdict")
    tab_to(browser, "nav a[href^='/gallery']")
    press(browser, Keys.ENTER)

    until(browser, lambda: is_at(browser, "/gallery") and every(browser, ".card[data-key]"), "cards")
    press(browser, "j")
    first = until(browser, lambda: focused_key(browser), "a card with the focus")
    press(browser, "j")
    second = until(browser, lambda: (now := focused_key(browser)) != first and now, "the next card")
    press(browser, "k")
    until(browser, lambda: focused_key(browser) == first, "the card before")
    press(browser, "j", Keys.ENTER)

    until(browser, lambda: is_at(browser, "/part") and every(browser, "#words li"), "the part")
    assert parse_qs(urlsplit(browser.current_url).query) == {"stream": [STREAM], "key": [second]}
    tab_to(browser, "#review-defect")
    press(browser, Keys.ENTER)
    confirm_dialogue(browser, lambda: reviewed(browser, second) == "defect")

    tab_to_start(browser)
    tab_to(browser, "nav a[href^='/threshold']")
    press(browser, Keys.ENTER)
    until(browser, lambda: is_at(browser, "/threshold") and every(browser, "#threshold-slider"), "the slider")
    tab_to(browser, "#threshold-slider")
    before = text_of(browser, "#threshold-value")
    press(browser, *[Keys.ARROW_LEFT] * 20)
    until(browser, lambda: text_of(browser, "#threshold-value") != before, "another limit")
    until(browser, lambda: one(browser, "#flips").get_attribute("data-to-anomalous"), "what would flip")
    tab_to(browser, "#apply")
    limit = plant.ask("status")["streams"][STREAM]["threshold"]
    press(browser, Keys.ENTER)
    confirm_dialogue(browser, lambda: plant.ask("status")["streams"][STREAM]["threshold"] != limit)
    assert complaints(browser) == []


def focused_key(browser):
    return browser.execute_script("return document.activeElement?.closest('[data-key]')?.dataset.key ?? null")


def tab_to_start(browser):
    """Leave whatever has the focus, as a person does who comes back to the top of a page."""
    browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")


def reviewed(browser, key):
    frame = browser.execute_async_script(
        """const [stream, key, done] = arguments;
        const query = new URLSearchParams({ stream, key });
        fetch(`/api/frame?${query}`).then((answer) => answer.json()).then(done);""",
        STREAM,
        key,
    )
    return (frame["review"] or {}).get("decision")


def confirm_dialogue(browser, done):
    """Answer a dialogue by keys where one is asked: text in each field, Enter in the last."""

    def step():
        if done():
            return True
        if every(browser, "dialog[open]"):
            inside = browser.execute_script(
                "return document.querySelector('dialog[open]').contains(document.activeElement)"
            )
            assert inside, "the focus is behind the dialogue"
            empty = browser.execute_script(
                """const at = document.activeElement;
                return at.matches("input[type=text], textarea") && at.value === "";"""
            )
            if empty:
                press(browser, "a reason")
            if browser.execute_script("return document.activeElement.matches('[type=submit]')"):
                press(browser, Keys.ENTER)
            else:
                press(browser, Keys.TAB)
        return False

    until(browser, step, "what was confirmed to be done")


def test_keys_can_be_listed_and_switched_off(browser, plant, told):
    log_in(browser, plant.page, "operator", f"/gallery?stream={STREAM}")
    until(browser, lambda: every(browser, ".card[data-key]"), "cards")
    press(browser, "?")
    until(browser, lambda: len(every(browser, "dialog[open] dt")) > 3, "the list of keys")
    until(
        browser,
        lambda: browser.execute_script("return document.activeElement.type") == "checkbox",
        "its switch",
    )
    press(browser, " ", Keys.ENTER)
    until(browser, lambda: not every(browser, "dialog[open]"), "the list to close")
    press(browser, "j", "?")
    assert focused_key(browser) is None
    assert not every(browser, "dialog[open]")
    tab_to(browser, ".card[data-key], .card[data-key] *")  # by Tab it is still reached


def test_escape_leads_back_to_where_the_focus_was(browser, plant, told):
    log_in(browser, plant.page, "operator", f"/live?stream={STREAM}")
    until(browser, lambda: "OK" in text_of(browser, "#verdict"), "a verdict")
    tab_to(browser, "header [aria-label=keys]")
    press(browser, Keys.ENTER)
    until(browser, lambda: every(browser, "dialog[open]"), "the list of keys")
    press(browser, Keys.ESCAPE)
    until(browser, lambda: not every(browser, "dialog[open]"), "the list to close")
    until(
        browser,
        lambda: browser.execute_script("return document.activeElement.getAttribute('aria-label')") == "keys",
        "the focus where it was",
    )
