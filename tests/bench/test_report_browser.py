"""The HTML report in a real browser: what is drawn, at a desk and on a telephone, by day and by night."""

import json

import pytest
from browser_support import NARROW, WIDE, complaints, every, one, text_of
from report_support import AT, document, stream

from bench import report
from bench.replay import outcome as outcomes
from bench.replay.settings import Options

NAME = "<img src=x onerror=alert(1)>" + "a_very_long_name_without_a_space" * 6 + ".png"

_CONTRASTS = """
    const light = (text) => {
      const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = getComputedStyle(at).backgroundColor;
        if (!/, 0\\)$|transparent/.test(colour)) return colour;
      }
      return "rgb(255, 255, 255)";
    };
    return [...document.querySelectorAll("body *")]
      .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
      .map((one) => {
        const [a, b] = [getComputedStyle(one).color, ground(one)].map(light);
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 80)];
      }).sort((a, b) => a[0] - b[0])[0];
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Where the report of a stream lies, of frames of every kind."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "images").mkdir()
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    names = [NAME, *(f"test/{n}.png" for n in range(1, 20))]
    frames = [(name, *kinds[n % 4][:1], 0.1 + n / 20, kinds[n % 4][1]) for n, name in enumerate(names)]
    outcome = stream(folder / "images", frames)
    options = Options("mvtec", "data", overlays=3)
    files = report.write_category(folder / "part", outcome, options)
    entry = json.loads(json.dumps(outcome.entry() | {"files": files}))
    said = document(entry) | {"mean": outcomes.mean([entry])}
    return report.write(folder, said, options, AT).as_uri()


@pytest.fixture(autouse=True)
def _as_it_was(browser):
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_the_report_fits_the_screen_and_all_its_pictures_are_drawn(browser, page, size):
    shown = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == NARROW}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shown)
    browser.get(page)
    assert browser.execute_script("return innerWidth") == size[0]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    widths = browser.execute_script("return [...document.images].map((one) => one.naturalWidth)")
    assert len(widths) > 10
    assert all(widths)
    assert "onerror=alert(1)" in text_of(browser, "body")
    assert complaints(browser) == [], "nothing is refused by the page's own policy, and no name runs"
    # What is wider than the screen scrolls in itself, and can be reached by keyboard.
    for scroller in every(browser, ".scroll, .plot, .panels"):
        assert scroller.get_attribute("tabindex") == "0"
        assert browser.execute_script("return arguments[0].clientWidth", scroller) <= size[0]


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_all_text_can_be_read_by_day_and_by_night(browser, page, colours):
    wanted = {"features": [{"name": "prefers-color-scheme", "value": colours}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    browser.get(page)
    contrast, where = browser.execute_script(_CONTRASTS)
    assert contrast >= 4.5, where
    ground = one(browser, "html").value_of_css_property("background-color")
    assert ("255, 255, 255" in ground) == (colours == "light")


def test_the_legend_marks_the_threshold_where_its_number_stands(browser, page):
    browser.get(page)
    bar, mark, words = (one(browser, f".legend {part}").rect for part in (".bar", ".bar i", ".above span"))
    assert bar["x"] < mark["x"] < bar["x"] + bar["width"]
    assert abs(mark["x"] + mark["width"] / 2 - words["x"] - words["width"] / 2) <= 2
