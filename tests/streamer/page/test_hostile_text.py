"""What others wrote is shown as text: ids, part ids, names, notes and streams that would be markup."""

import pytest
from browser_support import complaints, one, text_of, until
from page_support import log_in
from page_visits import addresses, tell, visit

RUNS = "window.pwned=1"
STREAM = f"<img src=x onerror={RUNS}>&a=b#c,d%3A?+"
"""Printable and without a slash: all that is asked of a stream's name."""
PREFIX = f"../..\"'><img src=x onerror={RUNS}></script><script>{RUNS}</script>\n${{1+1}}{{{{7*7}}}}%00#?&/"
PART_ID = f"<svg onload={RUNS}>"
WORDS = f"<b onmouseover={RUNS}>anna</b>"
WATCH = """
window.refused = [];
document.addEventListener("securitypolicyviolation", (event) => window.refused.push(event.blockedURI));
"""
"""An attempt that the policy stops is one too many: nothing of it may have become markup."""


@pytest.fixture(scope="module")
def hostile(plant):
    return tell(plant, STREAM, words=WORDS, prefix=PREFIX, part_id=PART_ID)


@pytest.fixture
def watched(browser):
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    yield browser
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def assert_all_text(browser):
    found = browser.execute_script("""
        const made = "img[src=x], svg[onload], b[onmouseover], script:not([src])";
        return [window.pwned ?? null, window.refused, document.querySelectorAll(made).length];
    """)
    assert found == [None, [], 0]
    assert complaints(browser) == []


def test_markup_in_names_is_text_on_every_page(watched, plant, hostile):
    log_in(watched, plant.page, "admin")
    shown = {
        "live": (PART_ID,),
        "gallery": (PART_ID,),
        "part": (PART_ID, WORDS, PREFIX),
        "threshold": (),
        "events": (WORDS,),
        "report": (),
        "health": (STREAM,),
        "wall": (PART_ID,),
    }
    for page, path in addresses(hostile).items():
        visit(watched, plant, page, path)
        for text in shown[page]:
            until(watched, lambda text=text: text in text_of(watched, "body"), f"{text!r} on {page}")
        assert_all_text(watched)


def test_markup_in_a_review_is_text(watched, plant, hostile):
    log_in(watched, plant.page, "operator")
    visit(watched, plant, "part", addresses(hostile)["part"])
    problem = watched.execute_async_script(
        """
        const [body, done] = arguments;
        const said = import("/static/common.js").then(({ post }) => post("/api/review", body));
        said.then(() => done(null), (error) => done(error.message));
        """,
        {"stream": STREAM, "key": hostile.scratched.key, "decision": "defect", "kind": WORDS, "note": PREFIX},
    )
    assert problem is None
    for page in ("part", "gallery", "report"):
        visit(watched, plant, page, addresses(hostile)[page])
        until(watched, lambda: WORDS in text_of(watched, "body"), f"the kind of defect on {page}")
        assert_all_text(watched)


def test_a_hostile_address_is_no_markup_and_no_path(watched, plant):
    log_in(watched, plant.page, "operator")
    for path in (
        f"/part?stream=<img src=x onerror={RUNS}>&key=s:<img src=x onerror={RUNS}>",
        "/part?stream=line&key=s:../../../../etc/passwd",
        f"/gallery?q=<img src=x onerror={RUNS}>&sort=<script>{RUNS}</script>",
        f"/login?next=javascript:{RUNS}",
    ):
        watched.get(plant.page.url + path)
        until(watched, lambda: one(watched, "main"), f"{path} to be drawn")
        found = watched.execute_script("return [window.pwned ?? null, window.refused]")
        assert found == [None, []]
        assert "root:" not in text_of(watched, "body")
