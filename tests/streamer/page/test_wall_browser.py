"""The wall in a real browser: what it shows, nothing to press, and what it says without a detector."""

from browser_support import complaints, every, one, seen, text_of, until
from page_support import Line, detecting, log_in, paging

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


def test_a_wall_without_a_detector_says_so_in_the_verdicts_place_until_it_is_back(tmp_path, browser):
    with detecting(tmp_path / "detector") as server, paging(tmp_path, server) as page:
        with Line(server, STREAM) as line:
            shown = line.show()
            log_in(browser, page, "viewer", f"/wall?stream={STREAM}")
            seen(browser, f"#frame[data-key='{shown.key}']")
        server.kill()
        seen(browser, "body[data-detector=down].away")
        until(browser, lambda: "NO DETECTOR" in words(browser), "the word in the verdict's place")
        assert "No detector since" in text_of(browser, "#banner")
        server.start()
        seen(browser, "body[data-detector=up]:not(.away)")
        until(browser, lambda: "NO DETECTOR" not in words(browser), "the verdict again")
