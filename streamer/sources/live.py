"""A camera that stays live: a thread keeps its newest picture, and brings the camera back when it is lost."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from streamer.errors import StreamerError
from streamer.sources.device import Device, Picture, SourceLost
from streamer.sources.newest import Newest, Outcome

State = Literal["waiting", "live", "lost", "ended"]
"""`waiting`: not there yet; `lost`: was there, is tried again; `ended`: stopped, or failed for good."""

LOST_AFTER_S = 5.0
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 10.0
_READ_S = 0.2
_STOP_S = 2.0
"""How long `stop` waits for a camera to be let go of; one that does not answer is left to its time limits."""


@dataclass(frozen=True)
class SourceFigures:
    """How a camera is doing. Counts are since the start, see `streamer.sources.newest.Counts`.

    Attributes:
        name: its address without credentials.
        state: see `State`.
        since_ns: when that state began, since 1970.
        read, sent, skipped, too_old, not_sent: pictures. read = the other four together, but for one that
            waits for its turn, and one that was offered and is not settled.
        given_up: of those that were sent: see `LiveReader.gave_up`.
        reconnects: how often the camera came back.
        age_ms: how old the last one handed out was then; None before the first.
        fps: pictures a second that the camera gives, over the last ones; 0 unless live.
        error: why it is not live, or was not last; "" where it always was.
        has_failed: it has ended for good, by that error, and not because it was stopped.
        facts: of the device, see `Device.facts`.
    """

    name: str
    state: State = "waiting"
    since_ns: int = 0
    read: int = 0
    sent: int = 0
    skipped: int = 0
    too_old: int = 0
    not_sent: int = 0
    given_up: int = 0
    reconnects: int = 0
    age_ms: float | None = None
    fps: float = 0.0
    error: str = ""
    has_failed: bool = False
    facts: Mapping[str, int | float | str] = field(default_factory=dict)


class LiveReader:
    """Keeps the newest picture of a device; `with` starts and stops it.

    Args:
        device: opened, read and closed in a thread of its own.
        fps: pictures handed out a second at most; None for as many as come.
        max_age_s: pictures that are older when their turn comes are left out; None for no limit.
        lost_after_s: a camera that is silent for so long is closed and opened again.

    With or without `max_age_s` a picture that no newer one takes the place of is handed out for an interval
    of the camera and a little only, see `streamer.sources.newest.Newest`.
    """

    def __init__(
        self,
        device: Device,
        *,
        fps: float | None = None,
        max_age_s: float | None = None,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        self.device, self._lost_after_s = device, lost_after_s
        self._changed = threading.Condition()
        self._figures = SourceFigures(device.name, since_ns=time.time_ns())
        self._newest = Newest(fps, max_age_s, lost_after_s)
        self._failed: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source {device.name}", daemon=True)

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
        with self._changed:
            self._stop.set()
            self._newest.end()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def figures(self) -> SourceFigures:
        """How the camera is doing."""
        with self._changed:
            newest, figures = self._newest, self._figures
            return replace(
                figures,
                **vars(newest.counts),
                age_ms=None if newest.age_s is None else 1000.0 * newest.age_s,
                fps=newest.rate() if figures.state == "live" else 0.0,
                facts=dict(self.device.facts()),
            )

    def frames(self) -> Iterator[Picture]:
        """Pictures until `stop`: at most `fps` a second, the newest each time, none twice, none too old.

        A camera that is not there yet, or not now, is waited for.

        Raises:
            StreamerError: the camera has given no picture, and can never be opened.
        """
        while not self._stop.is_set():
            picture = self.take(3600.0)
            if picture is not None:
                yield picture

    def take(self, timeout_s: float) -> Picture | None:
        """The next picture of `frames`; None where its turn did not come in time, or after `stop`.

        It is counted as sent.

        Raises:
            StreamerError: the camera has given no picture, and can never be opened.
        """
        picture = self.offer(timeout_s)
        self.settle("sent")
        return picture

    def offer(self, timeout_s: float) -> Picture | None:
        """As `take`, for who does not know yet whether it can be sent, and says so by `settle`.

        Raises:
            StreamerError: the camera has given no picture, and can never be opened.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            while not self._stop.is_set():
                if self._failed is not None:
                    raise self._failed
                now = time.monotonic()
                picture = self._newest.offer(now)
                if picture is not None or now >= end:
                    return picture
                due = self._newest.due
                self._changed.wait(max(0.0, (end if due is None else min(end, due)) - now))
        return None

    def settle(self, outcome: Outcome) -> None:
        """Say what became of the picture that was offered last: nothing where it is settled, or none was."""
        with self._changed:
            self._newest.settle(outcome)
            if self._stop.is_set():
                self._newest.end()

    def gave_up(self, count: int) -> None:
        """Say how many pictures that were sent are not waited for any more, all together.

        They were not acknowledged, and then too old to be sent again (`ReliablePublisher.given_up`).
        """
        with self._changed:
            self._figures = replace(self._figures, given_up=count)

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        try:
            while not self._stop.is_set():
                before, wait_s = self._newest.counts.read, 0.0
                try:
                    self.device.open()
                    self._read_on()
                except SourceLost as error:
                    self._is_lost(str(error))
                    wait_s = error.wait_s
                except StreamerError as error:
                    if self._newest.counts.read == 0:
                        raise
                    # It gave pictures with this address: another one is in its place, or it is not set yet.
                    self._is_lost(str(error))
                    wait_s = LONGEST_RETRY_S
                finally:
                    self.device.close()
                retry_s = FIRST_RETRY_S if self._newest.counts.read > before else retry_s
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
        age_s = (time.time_ns() - picture.capture_ns) / 1e9
        with self._changed:
            if self._stop.is_set():
                return
            figures = self._figures
            if figures.state != "live":
                back = figures.state == "lost"
                self._figures = replace(
                    figures, state="live", since_ns=time.time_ns(), reconnects=figures.reconnects + back
                )
                self._newest.connected()
            self._newest.came(picture, age_s, now)
            self._changed.notify_all()

    def _is_lost(self, error: str) -> None:
        with self._changed:
            if self._figures.state == "live":
                self._figures = replace(self._figures, state="lost", since_ns=time.time_ns())
            self._figures = replace(self._figures, error=error)
            self._newest.lost()
            self._changed.notify_all()

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._failed = error
            self._newest.end()
            text = self._figures.error if error is None else str(error)
            self._figures = replace(
                self._figures,
                state="ended",
                since_ns=time.time_ns(),
                error=text,
                has_failed=error is not None,
            )
            self._changed.notify_all()
