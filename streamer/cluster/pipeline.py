"""From the intake to backbones and on to lines: frames of a stream in order, streams beside each other.

A thread hands frames to the pool of backbones, as fast as that takes them. What a backbone made of a frame
waits for its stream's turn: of each stream one frame is at its line at a time, and at most `_OF_A_STREAM` are
on their way. So a slow line holds up its own stream alone, whose frames wait where they can be dropped.
"""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter_ns

import structlog

from streamer.cluster.pool import BackboneLostError, Extraction, Pool, PoolClosedError
from streamer.cluster.scoring import LineScoring
from streamer.cluster.start import LOST
from streamer.errors import WireError
from streamer.printable import printable
from streamer.progress import Progress
from streamer.server import picture_warnings
from streamer.server.intake import Intake
from streamer.server.logs import RateLimitedLog
from streamer.server.outcomes import Outcomes
from streamer.server.stream import QueuedFrame

log = structlog.get_logger()

_OF_A_STREAM = 4
"""Frames of a stream beyond the intake: one at its line, the others at backbones or extracted."""
_TRIES = 3
"""Times that a frame is extracted anew where what had it is gone."""
_JOBS = 4
_LOOK_S = 0.5
_PATIENCE_S = 60.0
"""For a backbone to come back, while the gate ends."""
_GONE: tuple[type[Exception], ...] = (BackboneLostError, *LOST)


@dataclass(eq=False)
class _UnderWay:
    queued: QueuedFrame
    taken_ns: int
    extraction: Extraction

    @property
    def queue_ms(self) -> float:
        return (self.taken_ns - self.queued.received_ns) / 1e6


class LinePipeline:
    """Frames of the intake through the pool to their lines.

    Args:
        intake: closed by whoever fills it; the pipeline ends when it is empty then.
        pool: started and stopped by the caller.
        scoring: takes each frame's tokens, in order.
        outcomes: told of frames that cannot be used.
        streams: that may be open at a time.
        progress: of the steps that its threads are in.
        failed: called if its thread dies.
        is_gone: whether nobody will answer any more.
    """

    def __init__(
        self,
        intake: Intake,
        pool: Pool,
        scoring: LineScoring,
        outcomes: Outcomes,
        streams: int,
        progress: Progress,
        failed: Callable[[BaseException], None],
        is_gone: Callable[[], bool],
    ) -> None:
        self._intake, self._pool, self._scoring = intake, pool, scoring
        self._outcomes, self._failed, self._is_gone = outcomes, failed, is_gone
        self.progress = progress
        self._log = RateLimitedLog()
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[_UnderWay]] = {}
        """Of each stream that is being worked on, what waits for its turn."""
        self._under_way = Counter[str]()
        self._dispatcher = threading.Thread(target=self._guard, name="dispatch", daemon=True)
        self._workers = ThreadPoolExecutor(streams, "line")
        self._jobs = ThreadPoolExecutor(_JOBS, "job")

    def start(self) -> None:
        """Begin to take frames."""
        self._dispatcher.start()

    def join(self) -> None:
        """Wait until everything accepted is scored, or dropped where no backbone comes back."""
        was_up = time.monotonic()
        while self._dispatcher.is_alive() or self._under_way:
            with self._changed:
                self._changed.wait(_LOOK_S)
            if self._is_gone():
                return
            was_up = time.monotonic() if self._pool.is_up() else was_up
            if time.monotonic() - was_up > _PATIENCE_S:
                log.error("backbones_gone", text="none came back while the gate ended; what waits is dropped")
                self._pool.stop()
                was_up = math.inf
        self._dispatcher.join()
        self._workers.shutdown()
        self._jobs.shutdown()

    def run_between_frames(self, job: Callable[[], None]) -> None:
        """Run something that asks lines: they keep frames and such jobs apart."""
        self._jobs.submit(self._run, job)

    def _run(self, job: Callable[[], None]) -> None:
        with self.progress.step("job"):
            job()

    def _guard(self) -> None:
        try:
            self._dispatch()
        except BaseException as error:
            log.exception("phase_died", phase="dispatch")
            self._failed(error)

    def _dispatch(self) -> None:
        while (queued := self._intake.take()) is not None:
            if self._intake.given_up(queued):
                self._outcomes.drop(queued, "stopping")
                self._intake.decoded(queued, in_time=False)
                continue
            taken_ns = perf_counter_ns()
            try:
                extraction = self._submit(queued)
            except PoolClosedError:
                self._outcomes.drop(queued, "stopping")
                self._intake.decoded(queued)
            else:
                self._enter(_UnderWay(queued, taken_ns, extraction))

    def _submit(self, queued: QueuedFrame) -> Extraction:
        extraction = self._pool.submit(queued)
        # Not only as its turn at the line comes: until then no frame of its stream is taken, and of all new
        # streams together one.
        extraction.when_done(lambda in_time: self._intake.decoded(queued, in_time=in_time))
        return extraction

    def _enter(self, item: _UnderWay) -> None:
        name = item.queued.stream.name
        with self._changed:
            self._under_way[name] += 1
            if self._under_way[name] >= _OF_A_STREAM:
                self._intake.hold(name)
            idle = name not in self._waiting
            self._waiting.setdefault(name, deque()).append(item)
        if idle:
            self._workers.submit(self._work, name)

    def _work(self, name: str) -> None:
        """Bring a stream's frames to its line, until none waits."""
        while True:
            with self._changed:
                if not self._waiting[name]:
                    del self._waiting[name]
                    return
                item = self._waiting[name].popleft()
            try:
                with self.progress.step("score", moves=True):
                    self._finish(item)
            except BaseException as error:  # not a frame's: nothing else would tell
                log.exception("phase_died", phase="line")
                self._failed(error)
            finally:
                self._left(name)

    def _left(self, name: str) -> None:
        with self._changed:
            self._under_way[name] -= 1
            if not self._under_way[name]:
                del self._under_way[name]
            self._changed.notify_all()
        self._intake.let(name)

    def _finish(self, item: _UnderWay) -> None:
        """Score a frame or refuse it."""
        queued = item.queued
        try:
            self._score(item)
        except PoolClosedError:
            self._outcomes.drop(queued, "stopping")
        except WireError as error:
            self._outcomes.refuse(queued, error.code, error.text)
        except Exception as error:
            self._log.warning("frame_failed", "internal", stream=queued.stream.name, exc_info=True)
            # What an actor raised, and not how Ray shows that.
            raised = getattr(error, "cause", None) or error
            text = f"{type(raised).__name__}: {' '.join(str(raised).split())[:200]}"
            self._outcomes.refuse(queued, "internal", printable(text))

    def _score(self, item: _UnderWay) -> None:
        queued, extraction = item.queued, item.extraction
        told = False
        for _ in range(_TRIES):
            try:
                extracted = extraction.wait()
                if not told and extracted.shape != (0, 0):  # else it was not decoded
                    picture_warnings.tell(self._outcomes, queued, extracted.warnings)
                    told = True
                if extracted.error is not None:
                    raise WireError(*extracted.error)
                self._scoring.score(queued, extracted, extraction.tokens, item.queue_ms)
                return
            except _GONE as lost:
                log.warning("tokens_lost", stream=queued.stream.name, error=type(lost).__name__)
            self.progress.renew()
            extraction = self._pool.submit(queued)
        raise WireError(
            "backbone_failed", f"the backbone's process died {_TRIES} times with this frame in it"
        )
