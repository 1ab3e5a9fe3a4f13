"""Gallery, part, events, report and health in a real browser, on a real detector and its page."""

import csv
import io
import random
import time

import pytest
from browser_support import complaints, every, fetched, one, seen, text_of, until
from page_support import CLEAR, Line, log_in
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from streamer_support import PATIENCE_S

from bench import demo_data
from streamer.publish import Publisher

HOUR_MS = 3_600_000
STREAM = "pages-browser"
MARKUP = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def line(plant):
    with Line(plant.server, STREAM) as line:
        line.learn()
        yield line


@pytest.fixture(scope="module")
def parts(line):
    """A good part, two defects, and a good part whose id is markup."""
    return [line.show(), line.show("stain"), line.show("scratch"), line.show(frame_id=MARKUP)]


def opened(browser, plant, role, path):
    log_in(browser, plant.page, role, path)
    until(browser, lambda: not every(browser, "[aria-busy=true]"), "what was asked for")


def cards(browser):
    return [card.get_attribute("data-key") for card in every(browser, "#cards .card")]


def press(browser, *keys):
    ActionChains(browser).send_keys(*keys).perform()


def fill(browser, selector, text):
    field = one(browser, selector)
    field.clear()
    field.send_keys(text)


def gallery(browser, plant, role="operator", more=""):
    opened(browser, plant, role, f"/gallery?stream={STREAM}{more}")
    seen(browser, "#cards .card")


def today():
    """The stream and a day around now, as a report is asked for."""
    now = 1000 * time.time()
    return f"stream={STREAM}&from={now - 12 * HOUR_MS:.0f}&to={now + HOUR_MS:.0f}"


def test_the_gallery_shows_the_newest_first_filters_and_keeps_what_is_asked_in_the_address(
    plant, parts, browser
):
    gallery(browser, plant)
    until(browser, lambda: cards(browser)[:4] == [part.key for part in reversed(parts)], "the newest four")
    fill(browser, "#search", parts[1].score["meta"]["part_id"])
    until(browser, lambda: cards(browser) == [parts[1].key], "the part that was searched for")
    assert "q=P11" in browser.current_url
    browser.refresh()
    until(browser, lambda: cards(browser) == [parts[1].key], "the same after the page was loaded again")

    fill(browser, "#search", "no such part")
    until(browser, lambda: "No frame matches" in text_of(browser, "main"), "what to do where nothing matches")

    gallery(browser, plant, more="&sort=score")
    found = fetched(browser, f"/api/scores?stream={STREAM}&sort=score")["frames"]
    assert cards(browser) == [frame["key"] for frame in found]
    assert [frame["raw"] for frame in found] == sorted((frame["raw"] for frame in found), reverse=True)
    assert complaints(browser) == []


def test_a_frame_id_that_is_markup_is_shown_as_text_everywhere(plant, parts, browser):
    gallery(browser, plant, "viewer", "&q=onerror")
    assert cards(browser) == [parts[3].key]
    press(browser, "j", Keys.ENTER)
    until(browser, lambda: browser.title.startswith("part"), "the part page")
    assert MARKUP in text_of(browser, "main")
    assert every(browser, "img") == []
    assert "img" not in browser.title


def test_the_gallery_is_reviewed_by_keys_alone_and_the_store_keeps_it(plant, parts, browser):
    gallery(browser, plant)
    until(browser, lambda: cards(browser)[:4] == [part.key for part in reversed(parts)], "the newest four")
    press(browser, "j")  # the first
    press(browser, "j")
    assert (
        browser.switch_to.active_element.find_element("xpath", "..").get_attribute("data-key") == parts[2].key
    )
    press(browser, "d")
    kept = until(browser, lambda: reviewed(browser, parts[2]), "the review of the scratch")
    assert (kept["decision"], kept["who"]) == ("defect", "operator")
    seen(browser, f".card[data-key='{parts[2].key}'] .reviewed.defect")

    press(browser, "k")
    press(browser, "x")
    press(browser, "j")
    press(browser, "j")
    press(browser, "x")
    until(browser, lambda: text_of(browser, ".selection") == "2 selected", "two selected")
    press(browser, "u")
    until(browser, lambda: len(every(browser, ".card .reviewed.unsure")) == 2, "two reviewed at once")
    until(browser, lambda: text_of(browser, ".selection") == "", "the selection to go")
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    assert all(card.is_selected() for card in every(browser, "#cards .pick input"))


def reviewed(browser, part):
    found = fetched(browser, f"/api/scores?stream={STREAM}&q={part.score['meta']['part_id']}")["frames"]
    return next(frame["review"] for frame in found if frame["key"] == part.key)


def test_the_export_is_what_is_filtered(plant, parts, browser):
    gallery(browser, plant, more="&verdict=anomalous")
    shown = cards(browser)
    path = one(browser, "#export").get_attribute("href")
    script = "const done = arguments[1]; fetch(arguments[0]).then((answer) => answer.text()).then(done)"
    rows = list(csv.DictReader(io.StringIO(browser.execute_async_script(script, path))))
    found = fetched(browser, f"/api/scores?stream={STREAM}&verdict=anomalous")["frames"]
    assert shown == [frame["key"] for frame in found]
    assert [row["frame_id"] for row in rows] == [str(frame["frame_id"]) for frame in found]


def test_a_viewer_sees_why_nothing_can_be_done(plant, parts, browser):
    gallery(browser, plant, "viewer")
    until(browser, lambda: "needs the role operator" in text_of(browser, ".why"), "the reason")
    assert not one(browser, "#review-defect").is_enabled()
    press(browser, "j", "d")
    until(browser, lambda: "needs the role operator" in text_of(browser, "#toasts"), "the reason for the key")


def test_the_part_page_tells_all_words_and_takes_a_review_with_its_kind(plant, parts, browser):
    part = parts[1]
    opened(browser, plant, "operator", f"/part?stream={STREAM}&key={part.key.replace(':', '%3A')}")
    seen(browser, f"main[data-key='{part.key}']")
    assert "NOT OK" in text_of(browser, "#verdict")
    words = [item.text for item in every(browser, "#words li")]
    assert any("provisional" in text and f"{part.score['raw_score']:.3f}" in text for text in words)
    until(browser, lambda: len(every(browser, ".figures .picture.drawn")) == 3, "frame, map and outline")

    fill(browser, "#kind", "stain")
    fill(browser, "#note", "left edge")
    one(browser, "#review-defect").click()
    until(browser, lambda: "left edge" in text_of(browser, "#words"), "the note among the words")
    frame = fetched(browser, f"/api/frame?stream={STREAM}&key={part.key.replace(':', '%3A')}")
    assert frame["review"]["kind"] == "stain"
    report = fetched(browser, f"/api/report?{today()}")
    assert {"kind": "stain", "n": 1} in report["kinds"]


def test_a_part_that_is_pinned_says_so(plant, line, parts, browser):
    part = parts[0]
    opened(browser, plant, "operator", f"/part?stream={STREAM}&key={part.key.replace(':', '%3A')}")
    seen(browser, f"main[data-key='{part.key}']")
    press(browser, "p")
    word = line.heard("operator")
    assert (word["what"], word["frame_id"]) == ("pin", part.frame_id)
    until(browser, lambda: "pinned as good by operator" in text_of(browser, "#words"), "the word")


def test_a_frame_that_is_not_there_says_what_to_do(plant, parts, browser):
    opened(browser, plant, "viewer", f"/part?stream={STREAM}&key=s%3Anobody")
    until(browser, lambda: "not kept" in text_of(browser, "main"), "that it is not kept")
    assert one(browser, ".empty a").get_attribute("href").endswith("/gallery")


def test_the_report_has_the_figures_of_the_store(plant, parts, browser):
    when = today()
    opened(browser, plant, "viewer", f"/report?{when}")
    seen(browser, ".tiles .tile")
    report = fetched(browser, f"/api/report?{when}")
    assert report["inspected"] >= 14
    tiles = {tile.find_element("css selector", ".what").text: tile for tile in every(browser, ".tile")}
    shown = {name: tile.find_element("css selector", "strong").text for name, tile in tiles.items()}
    assert shown["inspected"] == str(report["inspected"])
    assert shown["✕ NOT OK"] == str(report["anomalous"])
    assert shown["reviewed"] == str(report["reviewed"])
    until(browser, lambda: every(browser, ".thumbnail"), "the worst frames")
    assert complaints(browser) == []


def test_health_has_a_row_a_stream_that_lives(plant, line, parts, browser):
    opened(browser, plant, "viewer", "/health")
    row = f"#streams tr[data-stream='{STREAM}']"
    seen(browser, row)
    today = "td[data-label='✕ today']"
    before = int(text_of(browser, f"{row} {today}").split(" of ")[1])
    line.show()
    until(browser, lambda: int(text_of(browser, f"{row} {today}").split(" of ")[1]) > before, "one more")
    assert "answers" in text_of(browser, "main")


def test_events_say_that_there_are_none(plant, parts, browser):
    opened(browser, plant, "viewer", "/events?stream=nothing-here")
    until(
        browser, lambda: "Nothing of this kind was told yet" in text_of(browser, "#main"), "the empty state"
    )


def test_a_defect_that_comes_again_is_rejected_by_name_and_known_from_then_on(plant, browser):
    stream = "events-browser"
    stain, _ = demo_data.draw(0, CLEAR["stain"][0], "stain", 256)
    with (
        Line(plant.server, stream) as line,
        Publisher(plant.server.endpoints["frames"], stream, wait_s=PATIENCE_S) as publisher,
    ):
        line.learn()
        for number in range(3):
            line.show()  # a picture that comes over and over without others between is another event
            publisher.send(stain, f"again-{number}", timeout_s=PATIENCE_S)
        while (event := line.heard("event"))["event"] != "repeat":
            pass
        opened(browser, plant, "operator", f"/events?stream={stream}")
        card = f".event.open[data-group='{event['group']}']"
        until(browser, lambda: len(every(browser, f"{card} .thumbnail")) == event["n_frames"], "its frames")
        one(browser, f"{card} button.bad").click()
        seen(browser, "dialog[open] [name=name]").send_keys("stain mark")
        one(browser, "dialog[open] button[type=submit]").click()
        word = line.heard("operator")
        assert (word["what"], word["group"], word["who"]) == ("reject", event["group"], "operator")
        until(browser, lambda: "as stain mark by operator" in text_of(browser, "#events"), "the word")
        publisher.send(stain, "once-more", timeout_s=PATIENCE_S)
        while (score := line.heard("score"))["frame_id"] != "once-more":
            pass
        assert score["known_defect"] == "stain mark"
    assert complaints(browser) == []


def test_what_a_line_would_flip_is_counted_as_python_counts_it(plant, browser):
    drawn = random.Random(12)
    scores = [
        {
            "key": f"i:{number}",
            "raw": drawn.choice([None, round(drawn.uniform(0.1, 0.9), 3)]),
            "label": drawn.choice([True, False, None]),
            "final": False,
            "decision": drawn.choice([None, "good", "defect", "unsure"]),
        }
        for number in range(400)
    ]
    values = [0.0, 0.1, 0.25, scores[1]["raw"] or 0.5, 0.9, 1.0]
    log_in(browser, plant.page, "viewer", "/health")
    script = """
        const [scores, values, done] = arguments;
        import("/static/histogram.js").then(({ flips, bins }) => done(
          [values.map((value) => flips(scores, value)), bins(scores, { low: 0.1, high: 0.9 }, 8)]));
    """
    told, counts = browser.execute_async_script(script, scores, values)
    known = [score for score in scores if score["raw"] is not None]
    for value, found in zip(values, told, strict=True):
        up = [one["key"] for one in known if not one["label"] and one["raw"] >= value]
        down = [one["key"] for one in known if one["label"] and one["raw"] < value]
        assert sorted(one["key"] for one in found["toAnomalous"]) == sorted(up)
        assert sorted(one["key"] for one in found["toNormal"]) == sorted(down)
        for side in ("toAnomalous", "toNormal"):
            away = [abs(one["raw"] - value) for one in found[side]]
            assert away == sorted(away)
        defects = [one for one in known if one["decision"] == "defect"]
        good = [one for one in known if one["decision"] == "good"]
        caught, alarms = ([one["raw"] >= value for one in of].count(True) for of in (defects, good))
        assert (found["defects"], found["caught"]) == (len(defects), caught)
        assert (found["good"], found["alarms"]) == (len(good), alarms)
    assert sum(counts) == len(known)
