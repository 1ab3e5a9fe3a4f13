"""axe-core finds nothing serious on any page, in both themes, on a desk's and a telephone's screen."""

import sys
from pathlib import Path

import pytest
from browser_support import NARROW, WIDE, until
from page_support import log_in
from page_visits import DRAWN, addresses, tell, visit

AXE = Path(sys.prefix) / "axe/node_modules/axe-core/axe.min.js"
RUN = """
const done = arguments[0];
const grave = ["serious", "critical"];
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const tell = ({ id, nodes }) =>
  [id, nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)}: ${node.failureSummary}`)];
axe.run(document, { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] }).then(
  ({ violations }) => done(violations.filter(({ impact }) => grave.includes(impact)).map(tell)),
  (error) => done([["axe failed", [String(error)]]]),
);
"""
STATES = [(theme, size) for theme in ("light", "dark") for size in (WIDE, NARROW)]


@pytest.fixture(scope="module")
def told(plant):
    return tell(plant, "axe")


@pytest.fixture
def sized(browser):
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("page", DRAWN)
def test_axe_finds_nothing_serious(sized, plant, told, page):
    if not AXE.exists():
        pytest.skip(f"no {AXE}: `make browser` installs axe-core")
    if page != "login":
        log_in(sized, plant.page, "admin")
    visit(sized, plant, page, addresses(told).get(page, "/login"))
    # The driver's own way into the page: the policy stays as it is.
    sized.execute_script(AXE.read_text(encoding="utf-8"))
    for theme, (width, height) in STATES:
        sized.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        media = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},  # no colour half on its way
        ]
        sized.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        until(sized, lambda w=width: sized.execute_script("return innerWidth") == w, f"a width of {width}")
        found = sized.execute_async_script(RUN)
        assert not found, f"{page}, {theme}, {width}: {found}"
        if width < 1000:
            wide = sized.execute_script("return document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{page} is {wide} pixels wider than a screen of {width}"
