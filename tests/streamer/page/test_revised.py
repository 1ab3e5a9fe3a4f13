"""A verdict that a revision turns is shown as turned: struck through, with when, and never gone."""

import re

from browser_support import complaints, every, one, text_of, until
from page_support import Line, log_in
from page_visits import Repeating

STREAM = "turned"
CLOCK = re.compile(r"\d\d:\d\d")


def test_an_alarm_that_is_revised_is_struck_through_and_stays(browser, plant):
    log_in(browser, plant.page, "operator", f"/live?stream={STREAM}")
    with Repeating(plant.server, STREAM) as line:
        line.learn(12)
        stain = line.show("stain", "stain-0")
        assert stain.score["pred_label"]
        alarm = f"#alarms li[data-cause=anomalous][data-key='{stain.key}']"
        found = until(browser, lambda: one(browser, alarm), "the alarm")
        assert "revised" not in found.get_attribute("class")
        assert not found.find_elements("css selector", "s, del")

        for number in (1, 2):
            line.repeat(stain, f"stain-{number}")
        group = line.heard("event")["group"]
        plant.ask("accept", stream=STREAM, group=group, who="anna")
    until(browser, lambda: "revised" in one(browser, alarm).get_attribute("class"), "the alarm to be revised")
    assert_struck(browser, alarm)

    # As well for who comes later, and when it was acknowledged meanwhile.
    browser.refresh()
    until(browser, lambda: one(browser, f"{alarm}.revised"), "the revised alarm")
    assert_struck(browser, alarm)

    browser.get(f"{plant.page.url}/part?stream={STREAM}&key={stain.key}")
    until(browser, lambda: every(browser, "#words li"), "what was said of the part")
    words = text_of(browser, "#words")
    assert f"{stain.score['raw_score']:.3f}" in words, "the first score"
    assert "NOT OK" in words, "the first verdict"
    assert "accept" in words
    browser.get(f"{plant.page.url}/gallery?stream={STREAM}")
    card = f".card[data-key='{stain.key}']"
    until(browser, lambda: one(browser, card), "its card")
    assert re.search(r"NOT OK.*OK", text_of(browser, card), re.DOTALL), "first and last verdict"
    assert complaints(browser) == []


def assert_struck(browser, alarm):
    assert every(browser, f"{alarm} s, {alarm} del"), "its first verdict is struck through"
    text = text_of(browser, alarm)
    assert re.search(r"\bOK\b", re.sub("NOT OK", "", text)), f"what it is now: {text}"
    assert CLOCK.search(text), f"when: {text}"


def test_a_good_part_that_a_new_limit_turns_is_shown_as_turned(browser, plant):
    stream = f"{STREAM}-down"
    log_in(browser, plant.page, "operator", f"/live?stream={stream}")
    with Line(plant.server, stream) as line:
        part = line.learn(12)[-1]
    item = f"#last20 li[data-key='{part.key}']"
    said = f"{item} [aria-label]"
    until(browser, lambda: one(browser, said).get_attribute("aria-label").startswith("OK"), "the part")
    plant.ask("threshold", stream=stream, rule="fixed", value=0.01, who="anna")
    until(browser, lambda: one(browser, f"{item}.revised"), "its new verdict")
    assert re.match(r"NOT OK.*first OK", one(browser, said).get_attribute("aria-label"))
