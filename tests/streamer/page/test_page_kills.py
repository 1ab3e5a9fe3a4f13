"""Page and detector killed for real while frames come: what was scored is kept, and what is down is said."""

import threading

import pytest
from browser_support import fetched, one, seen, text_of, until
from page_support import Line, Plant, detecting, log_in, paging
from streamer_support import Screen, identity_holds

pytestmark = pytest.mark.slow
STREAM = "killed"


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A detector and a page that no other test relies on."""
    folder = tmp_path_factory.mktemp("killed")
    with (
        detecting(folder, backbone={"image_size": 56}, transport={"heartbeat_s": 0.25}) as server,
        paging(folder, server) as page,
    ):
        yield Plant(server, page, folder / "page" / "page.sqlite")


def watch(browser, own):
    log_in(browser, own.page, "viewer", f"/live?stream={STREAM}")
    seen(browser, "body[data-socket=open][data-detector=up]")


def test_a_page_killed_under_load_costs_the_detector_nothing_and_fills_its_gap(own, browser):
    n_before, n_load = 6, 60
    with Line(own.server, STREAM) as line:
        line.learn(n_before)
        watch(browser, own)
        half, killed = threading.Event(), threading.Event()

        def load():
            for number in range(n_load):
                if number == n_load // 3:
                    half.set()
                if number == 2 * n_load // 3:  # some are surely sent while the page is gone
                    assert killed.wait(60)
                line.send("stain" if number % 10 == 0 else "good")

        sender = threading.Thread(target=load, daemon=True)
        sender.start()
        assert half.wait(60)
        own.page.kill()
        seen(browser, "#banner[data-kind=reconnecting]")
        killed.set()
        sender.join(60)
        status = until(browser, lambda: everything_scored(own, n_before + n_load), "all frames to be scored")
        assert identity_holds(status["streams"][STREAM])
        assert (status["streams"][STREAM]["dropped"], status["streams"][STREAM]["refused"]) == ({}, {})
        own.page.start()

        last = f"s:part-{n_before + n_load - 1:04d}"
        seen(browser, f"#last20 li[data-key='{last}']")
        kept = fetched(browser, f"/api/scores?stream={STREAM}&limit=200")["frames"]
        assert sorted(frame["key"] for frame in kept) == [f"s:part-{n:04d}" for n in range(n_before + n_load)]
        filled = until(browser, lambda: gaps(browser), "the gap")  # told after what fills it
        assert sum(n for n, _ in filled) > 0
        assert sum(n for _, n in filled) == 0


def causes(browser):
    return [alarm["cause"] for alarm in fetched(browser, "/api/alarms?open=1")["alarms"]]


def gaps(browser):
    told = fetched(browser, "/api/streams")["detector"]["gaps"]
    return [(gap["filled"], gap["lost"]) for gap in told if gap["topic"] == f"{STREAM}/score"]


def everything_scored(own, count):
    status = own.ask("status")
    return status if status["streams"][STREAM]["scored"] == count else None


def test_a_dead_detector_is_said_and_one_that_comes_back_goes_on(own, browser):
    with Line(own.server, f"{STREAM}-detector") as line:
        line.learn(2)
        log_in(browser, own.page, "viewer", f"/live?stream={line.stream}")
        seen(browser, "body[data-socket=open][data-detector=up]")
        with Screen(own.server, "-/status") as heart:
            for _ in range(8):  # while it lives nobody says otherwise
                heart.next()
                assert one(browser, "#banner").get_attribute("data-kind") != "detector"
                assert one(browser, "body").get_attribute("data-detector") == "up"
        own.server.kill()
        seen(browser, "body[data-detector=down]")
        banner = seen(browser, "#banner[data-kind=detector]")
        assert "detector" in banner.text
        assert "NO DETECTOR" in text_of(browser, "#verdict")
        until(browser, lambda: "detector" in causes(browser), "the alarm")  # the browser may notice first
        assert causes(browser).count("detector") == 1

        own.server.start()
        seen(browser, "body[data-detector=up]")
        with Line(own.server, line.stream) as camera:
            part = camera.show(frame_id="after the restart")
        seen(browser, f"#frame[data-key='{part.key}']")
        until(browser, lambda: not one(browser, "#banner").get_attribute("data-kind"), "the banner to go")
