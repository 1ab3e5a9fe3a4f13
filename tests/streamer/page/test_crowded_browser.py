"""More than the pages are usually shown: many cameras, long names, tall pictures, hundreds of alarms."""

import pytest
from browser_support import NARROW, WIDE, complaints, every, fetched, one, seen, text_of, until
from page_support import Line, log_in, paging
from store_support import jpeg
from web_support import DAY_NS, HOUR, fill, message, page_on, score

LONG = "x" * 256
SECOND = 10**9
N_ALARMS = 230
"""More than are told at once."""


def tall():
    """A frame forty times as high as wide, with a region near its lower end, and its picture."""
    marked = score("tall", DAY_NS, 0.7, stream="tall", label=True, regions=[[0, 1800, 50, 200, 0.7]])
    shown = message(
        "picture",
        "tall",
        frame_id="tall",
        capture_ns=DAY_NS,
        shape=[2000, 50],
        size=[400, 10],
        encoding="jpeg",
    )
    shown.payload = jpeg(size=(10, 400))
    return [marked, shown]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page whose detector is gone; all there is lies in its store."""
    folder = tmp_path_factory.mktemp("crowded")
    cameras = [score(f"c{n}", DAY_NS + n, 0.3, stream=f"camera-{n:02d}") for n in range(20)]
    alarms = [
        score(f"a{n}", DAY_NS + 11 * n * SECOND, 0.7, stream="many", label=True) for n in range(N_ALARMS)
    ]
    others = [
        score(LONG, DAY_NS, 0.7, stream="long", label=True, meta={"part_id": LONG, "product_id": LONG}),
        *tall(),
    ]

    def acknowledged(store):
        for number in range(2, N_ALARMS + 1):  # all of "many" but the oldest
            store.acknowledge(number, "anna")

    fill(folder, [*alarms, *cameras, *others], acknowledged)
    with page_on(folder, alarms={"cooldown_s": 0}) as page:
        yield page


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_many_cameras_and_long_names_leave_everything_on_the_screen(page, browser, size):
    log_in(browser, page, "viewer")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        for path, there in {
            "/live?stream=long": f"#frame[data-key='s:{LONG}']",
            "/live": "#streams a[data-stream=camera-19]",
            f"/part?stream=long&key=s:{LONG}": "#words li",
            "/gallery?stream=long": ".card",
        }.items():
            browser.get(page.url + path)
            seen(browser, there)
            reach = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
            assert reach[0] <= reach[1], path
            if path.startswith("/live"):
                until(browser, lambda: every(browser, "#last20 li:not([hidden])"), "the last frames")
                right = browser.execute_script(
                    "return document.querySelector('#last20').getBoundingClientRect().right"
                )
                assert right <= size[0], path
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_tall_picture_is_whole_in_its_card_and_no_higher_than_others_may_be(page, browser):
    log_in(browser, page, "viewer", "/gallery?stream=tall")
    seen(browser, ".card .picture.drawn")
    shown = browser.execute_script("""
        const box = document.querySelector(".card .picture");
        return [box, box.querySelector("canvas")].map((one) => one.getBoundingClientRect().height);
    """)
    assert shown[0] == pytest.approx(shown[1], abs=1)
    assert shown[1] < 300


def test_an_open_alarm_is_in_the_list_however_many_came_after_it(page, browser):
    log_in(browser, page, "viewer", "/live?stream=many")
    oldest = seen(browser, "#alarms li.open[data-key='s:a0']")
    assert one(browser, "#alarms li") == oldest
    assert "1 open" in browser.title
    assert len(fetched(browser, "/api/alarms?stream=many")["alarms"]) < N_ALARMS


def test_a_wall_never_shows_an_old_verdict_as_the_lines(page, browser):
    log_in(browser, page, "viewer")
    browser.get(page.url + "/wall?stream=many")
    browser.execute_script("""
        window.shown = new Set();
        const look = () => {
          const said = document.querySelector("#verdict")?.textContent;
          if (said) window.shown.add(said);
          requestAnimationFrame(look);
        };
        look();
    """)
    until(browser, lambda: "NO DETECTOR" in text_of(browser, "#verdict"), "the word in the verdict's place")
    seen(browser, "#frame[data-key='s:a229']")
    assert not [said for said in browser.execute_script("return [...window.shown]") if "NOT OK" in said]


def test_a_report_of_nothing_does_not_say_that_frames_came(page, browser):
    log_in(
        browser,
        page,
        "viewer",
        f"/report?from={(DAY_NS - 9 * HOUR) // 10**6}&to={(DAY_NS - 8 * HOUR) // 10**6}",
    )
    until(browser, lambda: "Nothing was inspected" in text_of(browser, "#report"), "the empty report")
    assert "frames came all the time" not in text_of(browser, "#report")
    assert complaints(browser) == []


def test_an_alarm_that_was_raised_while_the_page_was_gone_is_told_aloud_when_it_is_back(
    plant, tmp_path, browser
):
    with paging(tmp_path, plant.server) as page, Line(plant.server, "missed-alarm") as line:
        line.learn()
        log_in(browser, page, "viewer", "/live?stream=missed-alarm")
        seen(browser, "body[data-socket=open] #last20 li[data-key]")
        assert text_of(browser, ".told") == ""
        page.kill()
        seen(browser, "#banner[data-kind=reconnecting]")
        bad = line.show("stain")
        page.start()
        seen(browser, f"#alarms li.open[data-key='{bad.key}']")
        told = "return document.querySelector('.told').textContent"
        until(browser, lambda: "missed-alarm: NOT OK" in browser.execute_script(told), "the alarm aloud")
