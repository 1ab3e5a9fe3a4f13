"""A quick line on the live page: no alarm lost, a tab that does not grow (bench.page runs ten minutes)."""

import pytest
from browser_support import every, fetched, seen, until
from page_support import Line, key_of, log_in

pytestmark = pytest.mark.slow
STREAM = "quick"
ROUNDS, FRAMES, ALARMS = 3, 50, 5
GROWTH = 2_000_000
"""Bytes of heap that a round may take in the tab; leaked elements or pictures take more."""


def sizes(browser):
    """Bytes of the tab's heap without rubbish, and the elements on the page but for alarms."""
    browser.execute_cdp_cmd("HeapProfiler.enable", {})
    for _ in range(3):
        browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    browser.execute_cdp_cmd("Performance.enable", {})
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    heap = next(metric["value"] for metric in metrics if metric["name"] == "JSHeapUsedSize")
    return heap, len(every(browser, "body *:not(#alarms *)"))


def test_every_alarm_of_a_quick_line_is_shown_and_the_tab_does_not_grow(plant, browser):
    with Line(plant.server, STREAM) as line:
        line.learn()
        log_in(browser, plant.page, "operator", f"/live?stream={STREAM}")
        seen(browser, "body[data-socket=open]")
        held = []
        for _ in range(ROUNDS):
            sent = [line.send("good" if n % (FRAMES // ALARMS) else "stain")[0] for n in range(FRAMES)]
            for _ in sent:
                line.heard("score")
            seen(browser, f"#last20 li[data-key='{key_of(sent[-1])}']")
            held.append(sizes(browser))
        line.revised()
        alarms = {key_of(frame_id) for frame_id in line.anomalous}
        assert len(alarms) >= ROUNDS * ALARMS
        until(browser, lambda: alarms <= shown(browser), "every alarm in the list")
        kept = fetched(browser, f"/api/alarms?stream={STREAM}")["alarms"]
        assert {alarm["key"] for alarm in kept if alarm["cause"] == "anomalous"} == alarms
        (_, _), (heap, elements), (heap_after, elements_after) = held
        assert elements_after == elements
        assert heap_after - heap < GROWTH


def shown(browser):
    return {item.get_attribute("data-key") for item in every(browser, "#alarms li")}
