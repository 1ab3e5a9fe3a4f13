"""A detector before its first frame, killed, and back: what threshold page, wall and report say meanwhile."""

import pytest
from browser_support import fetched, one, seen, text_of, until
from page_support import Line, detecting, log_in, paging

STREAM = "first"


@pytest.fixture
def server(tmp_path):
    """A detector that has seen no frame yet, for one test to kill."""
    with detecting(tmp_path / "detector") as server:
        yield server


def verdict(browser):
    return text_of(browser, "#verdict")


def test_the_pages_of_a_line_say_what_there_is_from_no_frame_to_no_detector_and_back(
    server, tmp_path, browser
):
    with paging(tmp_path, server) as page:
        log_in(browser, page, "viewer", "/threshold")
        until(browser, lambda: "No stream is known yet" in text_of(browser, "main"), "the empty page")
        chip = one(browser, ".chip:nth-child(2)")
        assert chip.get_attribute("data-level") == ""  # nothing is known: not good
        with Line(server, STREAM) as line:
            shown = line.show()
            seen(browser, "#threshold-slider")  # comes with the first frame
        browser.get(f"{page.url}/wall?stream={STREAM}")
        seen(browser, f"#frame[data-key='{shown.key}']")

        server.kill()
        seen(browser, "body[data-detector=down].away")
        until(browser, lambda: "NO DETECTOR" in verdict(browser), "the word in the verdict's place")
        assert "No detector since" in text_of(browser, "#banner")
        browser.get(f"{page.url}/report?stream=")
        until(browser, lambda: fetched(browser, "/api/report")["stops"], "the stop")
        browser.get(f"{page.url}/report?stream=")
        until(browser, lambda: "no detector" in text_of(browser, "#report"), "what stood still")

        browser.get(f"{page.url}/wall?stream={STREAM}")
        until(browser, lambda: "NO DETECTOR" in verdict(browser), "the word in the verdict's place")
        server.start()
        seen(browser, "body[data-detector=up]:not(.away)")
        until(browser, lambda: "NO DETECTOR" not in verdict(browser), "the verdict again")
