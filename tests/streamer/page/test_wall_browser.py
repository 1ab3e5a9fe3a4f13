"""The wall in a real browser: what it shows, nothing to press; `test_detector_gone.py` kills its detector."""

from browser_support import complaints, every, one, seen, text_of, until
from page_support import Line, log_in

STREAM = "wall"


def words(browser):
    return text_of(browser, "#verdict").replace("✓", "").replace("✕", "").strip()


def test_the_wall_follows_the_line_and_has_nothing_to_press(plant, browser):
    with Line(plant.server, STREAM) as line:
        line.learn()
        log_in(browser, plant.page, "viewer", f"/wall?stream={STREAM}")
        seen(browser, "body[data-socket=open]")
        bad = line.show("stain")
        seen(browser, f"#frame[data-key='{bad.key}']")
        until(browser, lambda: words(browser) == "NOT OK", "the verdict on a defect")
        good = line.show()
        seen(browser, f"#heat[data-drawn='{good.key}']")  # nothing is held: nobody is there to let go
        until(browser, lambda: words(browser) == "OK", "the verdict on a good part")
        strip = [item.get_attribute("data-key") for item in every(browser, "#last20 li:not([hidden])")]
        assert strip[-2:] == [bad.key, good.key]
        assert every(browser, "button, a, input, select, textarea, [tabindex]") == []
        tall = browser.execute_script("return innerHeight")
        assert one(browser, "#verdict").size["height"] > 0.19 * tall
        assert not browser.execute_script("return document.documentElement.scrollHeight > innerHeight")
        assert complaints(browser) == []
