"""The threshold page in a real browser: what the slider counts, and what applying it does."""

import pytest
from browser_support import complaints, one, seen, text_of, until
from page_support import LEARNED, Line, log_in

STREAM = "threshold-browser"


@pytest.fixture(scope="module")
def line(plant):
    with Line(plant.server, STREAM) as line:
        line.learn()
        for defect in (
            "stain",
            "good",
            "scratch",
            "stain",
            "good",
            "scratch",
            "good",
            "stain",
            "good",
            "good",
        ):
            line.show(defect)
        yield line


def slide(browser, share):
    """Put the slider at a share of its length; the value that it takes, and what the page counts at once.

    The detector's own count takes its place a moment later.
    """
    script = """
        const slider = document.querySelector("#threshold-slider");
        const [low, high] = [Number(slider.min), Number(slider.max)];
        slider.value = String(low + arguments[0] * (high - low));
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        return [Number(slider.value), { ...document.querySelector("#flips").dataset }];
    """
    value, said = browser.execute_script(script, share)
    assert said["by"] == "page"
    return float(value), (int(said["toAnomalous"]), int(said["toNormal"]))


def counted(scores, value):
    """How many frames the threshold would make anomalous, and how many normal, by their last scores."""
    labels = [(score["pred_label"], score["raw_score"] >= value) for score in scores.values()]
    return labels.count((False, True)), labels.count((True, False))


def flips(browser):
    """What the detector counts."""
    said = one(browser, "#flips[data-by=detector]")
    return int(said.get_attribute("data-to-anomalous")), int(said.get_attribute("data-to-normal"))


def test_the_slider_counts_what_python_counts_and_applying_it_moves_the_next_verdict(plant, line, browser):
    scores = line.revised()
    assert len(scores) == LEARNED + 10
    log_in(browser, plant.page, "admin", f"/threshold?stream={STREAM}")
    seen(browser, "#flips[data-by=detector]")
    told = set()
    for share in (0.1, 0.35, 0.5, 0.8, 0.95):
        value, by_page = slide(browser, share)
        expected = counted(scores, value)
        assert by_page == expected
        assert until(browser, lambda: flips(browser), "the detector's count") == expected
        told.add(expected)
    assert len(told) > 2, "the values tell nothing apart"

    value, _ = slide(browser, 0.3)
    assert float(text_of(browser, "#threshold-value")) == pytest.approx(value, abs=5e-4)
    until(browser, lambda: flips(browser), "the detector's count")
    one(browser, "#apply").click()
    seen(browser, "dialog[open] [name=why]").send_keys("too many misses")
    one(browser, "dialog[open] button[type=submit]").click()
    word = line.heard("operator")
    assert (word["what"], word["who"]) == ("threshold", "admin")
    part = line.show()
    assert part.score["threshold"] == pytest.approx(value, abs=1e-6)
    assert part.score["pred_label"] is (part.score["raw_score"] >= value)
    until(browser, lambda: "too many misses" in text_of(browser, "main"), "the reason in the list of changes")
    assert complaints(browser) == []


def test_an_operator_may_look_and_not_apply(plant, line, browser):
    log_in(browser, plant.page, "operator", f"/threshold?stream={STREAM}")
    seen(browser, "#flips[data-by=detector]")
    assert not one(browser, "#apply").is_enabled()
