"""Drive the line at a rate with the live page open, and collect what was seen, heard and used."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bench.page import eyes
from bench.page.browser import Chromium
from bench.page.camera import DEFECT_EVERY, Camera, frame_id
from bench.page.eyes import Seen
from bench.page.line import STREAM, Line, running
from bench.page.watch import Heard, Watch, key_of
from streamer.errors import StreamerError

_UP_S = 120.0
_LOOK_S = 1.0
_ALARMS_S, _ALARMS = 60.0, 100
# So often, or once a camera has sent so many, are alarms read: the page's store tells the newest 200.
_WARM_UP = 40
_SMALL = {"backbone": {"image_size": 112}, "threshold": {"rule": "fixed", "value": 0.62}}
"""A quarter of the usual pixels: two cores must score ten frames a second and draw them beside it."""


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        minutes: how long frames come.
        rate: frames a second.
        sample_s: between two looks at memory.
    """

    minutes: float
    rate: float
    sample_s: float = 10.0

    @property
    def frames(self) -> int:
        """In all."""
        return max(1, round(self.minutes * 60 * self.rate))


@dataclass
class Sample:
    """At one moment: the tab after a collection of garbage, and the page's process."""

    at_s: float
    heap_mib: float
    nodes: float
    listeners: float
    rss_mib: float
    cpu_s: float


@dataclass
class Observed:
    """What was seen of one run, to be judged.

    Attributes:
        load: of the first, cold load of the page.
        heard: by a plain subscriber.
        seen: on the page.
        alarms: of the page's store, by id.
        samples: of memory and processor time, over the run.
        errors: lines in the browser's console.
        sent: frames, while the page was looked at.
    """

    load: dict[str, float] = field(default_factory=dict)
    heard: Heard = field(default_factory=Heard)
    seen: Seen = field(default_factory=Seen)
    alarms: dict[int, dict[str, Any]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sent: int = 0

    def take_alarms(self, browser: Chromium) -> None:
        """Add what the page's store holds of alarms: it tells the newest of them, so ask now and then."""
        address = f"/api/alarms?stream={quote(STREAM)}"
        said = browser.evaluate(f"fetch({json.dumps(address)}).then((answer) => answer.json())")
        self.alarms |= {alarm["id"]: alarm for alarm in said["alarms"]}


def measure(plan: Plan) -> Observed:
    """Run it.

    Raises:
        DataError: no browser.
        StreamerError: detector, page or camera do not work.
    """
    with ExitStack() as held:
        line = held.enter_context(running(_SMALL, cooldown_s=0.0))
        browser = held.enter_context(Chromium())
        watch = held.enter_context(Watch(line.endpoints["scores"], STREAM))
        watch.wait_up(_UP_S)
        _warm_up(line, watch)
        observed = Observed(heard=watch.heard, load=_open(browser, line))
        with Camera(line.endpoints["frames"], STREAM, plan.rate, plan.frames, first=_WARM_UP) as camera:
            _look_on(plan, line, browser, camera, observed)
        observed.sent = camera.sent
        _settle(browser, observed)
        observed.take_alarms(browser)
        observed.errors = browser.complaints()
    return observed


def _warm_up(line: Line, watch: Watch) -> None:
    """The first frame waits for compiled code, and the threshold for frames: neither is what is measured."""
    with Camera(line.endpoints["frames"], STREAM, fps=5.0, count=_WARM_UP) as camera:
        until(lambda: len(watch.heard.came) == _WARM_UP, "the first frames are not scored", camera)
    watch.heard.came.clear()


def _open(browser: Chromium, line: Line) -> dict[str, float]:
    """Sign in, then open the live page as for the first time; what that took."""
    browser.driver.get(line.page.logins["operator"])
    browser.before_each_page(eyes.SCRIPT)
    browser.forget_cache()
    browser.driver.get(f"{line.page.url}/live?stream={quote(STREAM)}")
    until(lambda: browser.text("#verdict") != "", "no verdict is shown")
    until(lambda: browser.first_load()["first_paint_ms"] is not None, "no first paint")
    load = browser.first_load()
    # Every frame is to be shown, and not only the alarm before it.
    browser.evaluate("document.querySelector('#hold:checked')?.click()")
    return load


def _look_on(plan: Plan, line: Line, browser: Chromium, camera: Camera, observed: Observed) -> None:
    began = time.monotonic()
    every_s = min(_ALARMS_S, _ALARMS * DEFECT_EVERY / plan.rate)
    next_sample, next_alarms = began, began + every_s
    while camera.is_alive():
        camera.join(_LOOK_S)
        observed.seen.take(browser)
        if time.monotonic() >= next_alarms:
            next_alarms += every_s
            observed.take_alarms(browser)
        if time.monotonic() >= next_sample:
            next_sample += plan.sample_s
            cpu_s, rss_mib = _usage(line.page.pid)
            at_s = time.monotonic() - began
            observed.samples.append(Sample(at_s, **browser.heap(), rss_mib=rss_mib, cpu_s=cpu_s))
    if camera.error is not None:
        raise camera.error


def _usage(pid: int) -> tuple[float, float]:
    """Seconds of processor time a process has used, and MiB of memory it holds."""
    import psutil  # noqa: PLC0415  (a developer's extra)

    process = psutil.Process(pid)
    times = process.cpu_times()
    return times.user + times.system, process.memory_info().rss / 2**20


def _settle(browser: Chromium, observed: Observed) -> None:
    """Wait until every frame is scored and the last one is on the page."""
    last = key_of(frame_id(_WARM_UP + observed.sent - 1))

    def settled() -> bool:
        observed.seen.take(browser)
        heard = observed.heard
        return len(heard.came) + heard.dropped >= observed.sent and last in observed.seen.verdict

    until(settled, f"{last} is not on the page")


def until(condition: Callable[[], bool], what: str, camera: Camera | None = None) -> None:
    """Wait for a condition.

    Raises:
        StreamerError: it does not come; `what` says so. Or the camera has given up.
    """
    end = time.monotonic() + _UP_S
    while not condition():
        if camera is not None and camera.error is not None:
            raise camera.error
        if time.monotonic() > end:
            raise StreamerError(f"page: {what} within {_UP_S:g} s")
        time.sleep(0.05)
