"""A camera that stays live: a thread keeps its newest picture, and brings the camera back when it is lost."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from streamer.sources.device import Device, Picture, SourceLost

State = Literal["waiting", "live", "lost", "ended"]
"""`waiting`: not there yet; `lost`: was there, is tried again; `ended`: stopped, or failed for good."""

LOST_AFTER_S = 5.0
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 10.0
_READ_S = 0.2
_STOP_S = 2.0
"""How long `stop` waits for a camera to be let go of; one that does not answer is left to its time limits."""
_RATE_OF = 20
"""Pictures that the measured rate is of."""


@dataclass(frozen=True)
class SourceFigures:
    """How a camera is doing. Counts are since the start: read = sent + skipped + too_old, and one may wait.

    Attributes:
        name: its address without credentials.
        state: see `State`.
        since_ns: when that state began, since 1970.
        read: pictures that the camera gave.
        sent: those that were handed out.
        skipped: those that a newer one took the place of.
        too_old: those that were older than the age limit when their turn came.
        reconnects: how often the camera came back.
        age_ms: how old the last one handed out was then; None before the first.
        fps: pictures a second that the camera gives, over the last ones; 0 unless live.
        error: why it is not live, or was not last; "" where it always was.
        facts: of the device, see `Device.facts`.
    """

    name: str
    state: State = "waiting"
    since_ns: int = 0
    read: int = 0
    sent: int = 0
    skipped: int = 0
    too_old: int = 0
    reconnects: int = 0
    age_ms: float | None = None
    fps: float = 0.0
    error: str = ""
    facts: Mapping[str, int | float | str] = field(default_factory=dict)


class LiveReader:
    """Keeps the newest picture of a device; `with` starts and stops it.

    Args:
        device: opened, read and closed in a thread of its own.
        fps: pictures handed out a second at most; None for as many as come.
        max_age_s: pictures that are older when their turn comes are left out; None for no limit.
        lost_after_s: a camera that is silent for so long is closed and opened again.
    """

    def __init__(
        self,
        device: Device,
        *,
        fps: float | None = None,
        max_age_s: float | None = None,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        self.device, self._fps, self._max_age_s, self._lost_after_s = device, fps, max_age_s, lost_after_s
        self._changed = threading.Condition()
        self._figures = SourceFigures(device.name, since_ns=time.time_ns())
        self._newest: Picture | None = None
        self._arrivals: list[float] = []
        self._failed: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source {device.name}", daemon=True)
        self._due = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to look for the camera."""
        self._thread.start()

    def stop(self) -> None:
        """End `frames` at once, and let go of the camera."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def figures(self) -> SourceFigures:
        """How the camera is doing."""
        with self._changed:
            return replace(self._figures, fps=self._rate(), facts=dict(self.device.facts()))

    def frames(self) -> Iterator[Picture]:
        """Pictures until `stop`: at most `fps` a second, the newest each time, none twice, none too old.

        A camera that is not there yet, or not now, is waited for.

        Raises:
            StreamerError: the camera can never be opened.
        """
        while not self._stop.is_set():
            picture = self.take(3600.0)
            if picture is not None:
                yield picture

    def take(self, timeout_s: float) -> Picture | None:
        """The next picture of `frames`; None where its turn did not come in time, or after `stop`.

        Raises:
            StreamerError: the camera can never be opened.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            while not self._stop.is_set():
                if self._failed is not None:
                    raise self._failed
                now = time.monotonic()
                if self._newest is not None and now >= self._due and (picture := self._handed_out(now)):
                    return picture
                if now >= end:
                    return None
                wake = end if self._newest is None else min(end, self._due)
                self._changed.wait(max(0.0, wake - now))
        return None

    def _handed_out(self, now: float) -> Picture | None:
        """The newest picture, unless it is too old."""
        picture, self._newest = self._newest, None
        assert picture is not None  # noqa: S101 - who calls has looked
        age_s = (time.time_ns() - picture.capture_ns) / 1e9
        figures = self._figures
        if self._max_age_s is not None and age_s > self._max_age_s:
            self._figures = replace(figures, too_old=figures.too_old + 1)
            return None
        if self._fps is not None:
            # What came a little late does not put off the next one.
            next_due = self._due + 1.0 / self._fps
            self._due = next_due if next_due > now else now + 1.0 / self._fps
        self._figures = replace(figures, sent=figures.sent + 1, age_ms=1000.0 * age_s)
        return picture

    def _rate(self) -> float:
        if self._figures.state != "live" or len(self._arrivals) < 2:
            return 0.0
        span = self._arrivals[-1] - self._arrivals[0]
        return (len(self._arrivals) - 1) / span if span > 0 else 0.0

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        try:
            while not self._stop.is_set():
                before, wait_s = self._figures.read, 0.0
                try:
                    self.device.open()
                    self._read_on()
                except SourceLost as error:
                    self._is_lost(str(error))
                    wait_s = error.wait_s
                finally:
                    self.device.close()
                retry_s = FIRST_RETRY_S if self._figures.read > before else retry_s
                self._stop.wait(max(retry_s, wait_s))
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
        except BaseException as error:  # handed on to who takes the pictures
            self._end(error)
        else:
            self._end(None)

    def _read_on(self) -> None:
        last = time.monotonic()
        while not self._stop.is_set():
            picture = self.device.read(_READ_S)
            now = time.monotonic()
            if picture is not None:
                last = now
                self._came(picture, now)
            elif now - last >= self._lost_after_s and not self.device.may_be_silent:
                raise SourceLost(f"source: {self.device.name} is silent for {self._lost_after_s:g} s")

    def _came(self, picture: Picture, now: float) -> None:
        with self._changed:
            figures = self._figures
            if figures.state != "live":
                back = figures.state == "lost"
                figures = replace(
                    figures, state="live", since_ns=time.time_ns(), reconnects=figures.reconnects + back
                )
                self._arrivals = []
            skipped = figures.skipped + (self._newest is not None)
            self._figures = replace(figures, read=figures.read + 1, skipped=skipped)
            self._arrivals = [*self._arrivals[-_RATE_OF:], now]
            self._newest = picture
            self._changed.notify_all()

    def _is_lost(self, error: str) -> None:
        with self._changed:
            if self._figures.state == "live":
                self._figures = replace(self._figures, state="lost", since_ns=time.time_ns())
            self._figures = replace(self._figures, error=error)
            self._changed.notify_all()

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._failed = error
            text = self._figures.error if error is None else str(error)
            self._figures = replace(self._figures, state="ended", since_ns=time.time_ns(), error=text)
            self._changed.notify_all()
